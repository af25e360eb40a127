"""The generator of the public modules: what is checked in is what it writes, and it refuses what it cannot express."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

SDK = Path(__file__).parents[3] / "sdk"

SOURCE = '''
"""Things."""
from __future__ import annotations
from collections.abc import AsyncIterator, Collection
from typing import Literal, overload
from cove._async.base import Exposed

Alias = str | int

class _Part(Exposed):
    """A part."""

class _Thing(Exposed, constructor=True):
    """A thing."""
    def __init__(self, name: Alias = "x", *, part: _Part | None = None) -> None:
        """Make one."""
    def _hidden(self) -> None: ...
    def plain(self, parts: Collection[_Part]) -> _Part | None:
        """No I/O."""
    @property
    def first(self) -> _Part:
        """The first part."""
    async def work(self, *words: str, part: _Part) -> list[_Part]:
        """I/O."""
    def parts(self) -> AsyncIterator[_Part]:
        """Over time."""
    @overload
    async def get(self, raw: Literal[True]) -> bytes: ...
    @overload
    async def get(self, raw: Literal[False]) -> str: ...
    async def get(self, raw: bool) -> bytes | str:
        """Either."""

class Helper:
    """Not offered."""
'''


@pytest.fixture
def generator(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SDK))
    import facade.render

    return facade.render


def render(generator: ModuleType, source: str) -> str:
    from facade.parse import parse

    module = parse("things", source)
    faces = {exposed.name: "things" for exposed in module.classes}
    rendered: str = generator.Renderer(module, faces).source()
    ast.parse(rendered)
    return rendered


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "facade", *arguments], cwd=cwd, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the generator and of what it reads and writes."""
    shutil.copytree(SDK / "facade", tmp_path / "facade")
    shutil.copytree(SDK / "cove" / "_async", tmp_path / "cove" / "_async")
    for file in (SDK / "cove").glob("*.py"):
        shutil.copy(file, tmp_path / "cove")
    return tmp_path


def test_what_is_checked_in_is_current() -> None:
    result = run("--check", cwd=SDK)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.timeout(90)  # three programs, on a busy machine
def test_what_is_out_of_date_is_named_and_written_again(copy: Path) -> None:
    file, original = copy / "cove" / "sandbox.py", (SDK / "cove" / "sandbox.py").read_text()
    file.write_text(original.replace("raise_on_termination: bool = True", "raise_on_termination: bool = False"))
    (copy / "cove" / "secret.py").unlink()
    result = run("--check", cwd=copy)
    assert result.returncode == 1
    assert "cove/sandbox.py" in result.stderr
    assert "cove/secret.py" in result.stderr
    assert "cove/app.py" not in result.stderr
    assert run(cwd=copy).returncode == 0
    assert ast.dump(ast.parse(file.read_text())) == ast.dump(ast.parse(original))
    assert run("--check", cwd=copy).returncode == 0


def test_layout_alone_is_not_out_of_date(copy: Path) -> None:
    file = copy / "cove" / "secret.py"
    file.write_text(file.read_text() + "\n\n# a comment\n")
    assert run("--check", cwd=copy).returncode == 0


def test_unknown_options_are_refused(copy: Path) -> None:
    assert run("--nonsense", cwd=copy).returncode == 2


def test_every_kind_of_member(generator: ModuleType) -> None:
    text = render(generator, SOURCE)
    assert "class Thing(Face)" in text
    assert "part: Part | None=None" in text
    assert "attach(self, _Thing(name, part=unwrap(part, _Part)))" in text
    assert "result: Part | None = wrap_optional(self._impl.plain(unwrap_all(parts, _Part)))" in text
    assert "result: list[Part] = wrap_all(await self._impl.work(*words, part=unwrap(part, _Part)))" in text
    assert "return Iteration(self._impl.parts(), wrapped=True)" in text
    assert text.count("async def aio") == text.count("def __call__") == 2
    assert "_hidden" not in text
    assert "Helper" not in text
    assert "from cove._async.things import Alias" in text


PARTS = '''
from __future__ import annotations
from pathlib import Path
from typing import TYPE_CHECKING
from cove._async.base import Part
if TYPE_CHECKING:
    from cove._async.things import _Whole

Names = list[str]

class Reading(Part):
    def read(self, path: Path, names: Names, **others: int) -> _Whole:
        """From a part."""
    def _hidden(self) -> None: ...

class NoPart:
    def not_this(self) -> None: ...
'''

WHOLE = '''
"""Things."""
from cove._async._reading import Reading
from cove._async.base import Exposed

class _Whole(Reading, Exposed):
    """A whole."""
    def own(self) -> int:
        """Its own."""
'''


def test_a_face_has_the_methods_of_its_parts(generator: ModuleType) -> None:
    from facade.parse import parse, parse_parts

    parts = {part.name: part for part in parse_parts("_reading", PARTS)}
    module = parse("things", WHOLE, parts)
    text: str = generator.Renderer(module, {"_Whole": "things"}).source()
    ast.parse(text)
    assert "class Whole(Face):" in text
    assert "def read(self, path: Path, names: Names, **others: int) -> Whole:" in text
    assert "result: Whole = wrap(self._impl.read(path, names, **others))" in text
    assert "from pathlib import Path" in text
    assert "from cove._async._reading import Names" in text
    assert "return self._impl.own()" in text
    assert "_hidden" not in text
    assert "not_this" not in text


@pytest.mark.parametrize(
    "signature",
    [
        "(self) -> dict[str, _Part]",
        "(self) -> tuple[_Part, int]",
        "(self, parts: dict[str, _Part]) -> None",
        "(self, x: _Part | int) -> None",
    ],
)
def test_what_it_cannot_express_is_refused_by_name(generator: ModuleType, signature: str) -> None:
    source = SOURCE + f"\nclass _Other(Exposed):\n    async def strange{signature}:\n        ...\n"
    with pytest.raises(ValueError, match="_Part"):
        render(generator, source)
