"""What local files, modules and Dockerfiles come to on the wire."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cove
from cove._async.image import _Image
from cove._image.definition import define
from cove._image.hashes import Hashes
from cove.dockerfile import parse_commands
from cove.dockerfile.copy_rules import Entry, FileKind, place
from cove.dockerfile.model import Copy
from cove.dockerfile.scope import Scope
from cove.exception import InvalidError, ModuleNotMountable, NotFoundError, RequestSizeError, UnimplementedError
from cove.wire import image_pb2
from tests.support.image_definitions import context, defined, last, layers, write

OWN = f"{sys.version_info.major}.{sys.version_info.minor}"
EMPTY_SHA = hashlib.sha256(b"").digest()

BASE = _Image.debian_slim("3.12")
UNTYPED: Any = BASE
CLASS: Any = _Image


def test_a_file_keeps_its_mode_and_gets_its_name(here: Path) -> None:
    write(here, run_sh="#!/bin/sh")
    (here / "run.sh").chmod(0o750)
    (here / "link").symlink_to("run.sh")
    assert layers(BASE.add_local_file("~/run.sh", "/opt/")) == [['COPY ["file", "/opt/run.sh"]']]
    assert layers(BASE.add_local_file("run.sh", "/o p/$x'", copy=True)) == [['COPY ["file", "/o p/\\\\$x\\\\\'"]']]
    assert context(BASE.add_local_file("link", "/x"))["file"].mode == stat.S_IFREG | 0o750
    with pytest.raises(InvalidError, match="add_local_dir"):
        defined(BASE.add_local_file(here, "/x"))
    with pytest.raises(NotFoundError, match="nothing"):
        defined(BASE.add_local_file("nothing", "/x"))


def test_a_tree_comes_as_it_is(here: Path) -> None:
    write(here, t__a_txt="1", t__sub__b="")
    (here / "t/sub/b").chmod(0o755)
    (here / "t/sub").chmod(0o700)
    (here / "t/rel").symlink_to("sub/b")
    (here / "t/out").symlink_to("/etc/passwd")
    (here / "t/empty").mkdir()
    os.mkfifo(here / "t/pipe")
    image = BASE.add_local_dir("t", "/data")
    assert layers(image) == [['COPY ["tree", "/data/"]']]
    files = context(image)
    assert sorted(files) == ["tree", "tree/a.txt", "tree/empty", "tree/out", "tree/rel", "tree/sub", "tree/sub/b"]
    assert files["tree/sub"].mode == stat.S_IFDIR | 0o700
    assert files["tree/sub/b"] == image_pb2.ContextFile(path=b"tree/sub/b", mode=stat.S_IFREG | 0o755, sha256=EMPTY_SHA)
    assert (stat.S_IFMT(files["tree/rel"].mode), files["tree/rel"].link_target) == (stat.S_IFLNK, b"sub/b")
    assert files["tree/out"].link_target == b"/etc/passwd"
    with pytest.raises(NotFoundError, match="not a directory"):
        defined(BASE.add_local_dir("t/a.txt", "/x"))


@pytest.mark.parametrize(
    "ignore",
    [
        ["**/*.log", "skip"],
        cove.FilePatternMatcher("**/*.log", "skip"),
        ~cove.FilePatternMatcher("keep", "sub/*.txt"),
        lambda path: path.suffix == ".log" or path.is_relative_to("skip"),
        lambda path: path.is_file() and path.stat().st_size == 3,
    ],
)
def test_what_is_ignored_stays_here(here: Path, ignore: Any) -> None:
    write(here, t__keep="", t__sub__a_txt="", t__sub__x_log="log", t__skip__y="yyy")
    found = {path for path, file in context(BASE.add_local_dir("t", "/x", ignore=ignore)).items() if stat.S_ISREG(file.mode)}
    assert found == {"tree/keep", "tree/sub/a.txt"}


def test_python_source(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(here))
    write(here, imgmod_py="", imgpkg____init___py="", imgpkg__sub__m_py="", imgpkg__data_json="{}", imgpkg__sub__m_pyc="")
    (here / "imgpkg/__init__.py").touch()
    for hidden in ("imgpkg/.git/x.py", "imgpkg/__pycache__/y.py", "imgpkg/.z.py"):
        (here / hidden).parent.mkdir(exist_ok=True)
        (here / hidden).touch()
    image = BASE.add_local_python_source("imgmod", "imgpkg")
    importable = "ENV PYTHONPATH=/root${PYTHONPATH:+:$PYTHONPATH}"
    assert layers(image) == [['COPY ["module0", "/root/imgmod.py"]', 'COPY ["module1.0", "/root/imgpkg/"]', importable]]
    files = [path for path, file in context(image).items() if stat.S_ISREG(file.mode)]
    assert "module1.0/sub/m.py" in files
    assert not [path for path in files if ".git" in path or "__pycache__" in path or ".z" in path or "json" in path or "pyc" in path]
    with_data = context(BASE.add_local_python_source("imgpkg", ignore=["sub"]))
    assert "module0.0/data.json" in with_data
    assert "module0.0/sub" not in with_data
    small = context(BASE.add_local_python_source("imgpkg", ignore=lambda path: path.stat().st_size > 1))
    assert "module0.0/data.json" not in small


@pytest.mark.parametrize("name", ["no_such_module_anywhere", "sys", "no_such.sub"])
def test_modules_that_cannot_be_added(name: str) -> None:
    with pytest.raises(ModuleNotMountable):
        defined(BASE.add_local_python_source(name))


def copied(image: _Image) -> dict[str, str]:
    """Where the last layer's COPYs put things, by the builder's rules: target to path in the context."""
    layer, kinds = last(image), {stat.S_IFREG: FileKind.FILE, stat.S_IFDIR: FileKind.DIRECTORY, stat.S_IFLNK: FileKind.LINK}
    entries = [Entry(file.path.decode(), kinds[stat.S_IFMT(file.mode)], file.link_target.decode()) for file in layer.context]
    found: dict[str, str] = {}
    for instruction in parse_commands(list(layer.commands)):
        if isinstance(instruction, Copy):
            expanded = Scope(env={"x": "wrong"}).expanded(instruction)
            placed = place(expanded, entries, workdir="/w", is_directory=lambda path: path in ("/", "/root", "/opt"))
            found |= {one.target: one.source for one in placed}
    return found


def test_files_arrive_where_they_shall(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(here))
    write(here, run_sh="", t__a="", t__sub__b="", imgplace____init___py="", r_txt="x")
    (here / "imgplace/__init__.py").touch()
    (here / "t/link").symlink_to("a")
    assert copied(BASE.add_local_file("run.sh", "/opt/")) == {"/opt/run.sh": "file"}
    assert copied(BASE.add_local_file("run.sh", "/opt/$x 'y' \\*[z]")) == {"/opt/$x 'y' \\*[z]": "file"}
    tree = {"/data/a": "tree/a", "/data/link": "tree/link", "/data/sub": "tree/sub", "/data/sub/b": "tree/sub/b"}
    assert copied(BASE.add_local_dir("t", "/data")).items() >= tree.items()
    assert copied(BASE.add_local_dir("t", "/")).items() >= {"/a": "tree/a", "/sub/b": "tree/sub/b"}.items()
    assert copied(BASE.add_local_python_source("imgplace"))["/root/imgplace/__init__.py"] == "module0.0/__init__.py"
    assert copied(BASE.pip_install_from_requirements("r.txt")) == {"/.cove/requirements.txt": "requirements.txt"}


def test_nothing_can_follow_files_that_come_last(here: Path) -> None:
    write(here, a="")
    image = BASE.add_local_file("a", "/a").add_local_dir(here, "/d")
    assert len(layers(image)) == 2
    calls: list[Callable[[], _Image]] = [
        lambda: image.run_commands("x"),
        lambda: image.env({"A": "1"}),
        lambda: image.workdir("/x"),
        lambda: image.add_local_file("a", "/b", copy=True),
        lambda: image.run_function(print),
    ]
    for call in calls:
        with pytest.raises(InvalidError, match="copy=True"):
            call()
    assert len(layers(BASE.add_local_file("a", "/a", copy=True).run_commands("x").add_local_dir(here, "/d"))) == 3


def test_a_dockerfile_brings_what_it_copies_and_no_more(here: Path) -> None:
    write(
        here,
        Dockerfile="ARG V\nFROM debian:12 AS build\nCOPY src/*.c lib /src/\nFROM scratch AS unused\nCOPY huge /\n"
        "FROM build\nCOPY ./go.mod /x\n",
        src__a_c="a", src__b_h="b", lib__l__m="m", go_mod="g", huge="h", other="o",
    )  # fmt: skip
    image = _Image.from_dockerfile("Dockerfile", build_args={"V": "1"}, add_python="3.12")
    definition = defined(image).definition
    assert definition.WhichOneof("base") is None
    first, second = definition.layers
    assert list(first.commands) == [(here / "Dockerfile").read_text()]
    assert [file.path.decode() for file in first.context] == ["go.mod", "lib", "lib/l", "lib/l/m", "src/a.c"]
    assert dict(first.build_args) == {"V": "1"}
    assert "3.12" in second.commands[0]


def test_dockerignore(here: Path) -> None:
    write(here, Dockerfile="FROM x\nCOPY . /\n", a_txt="", b_txt="", d__a_txt="")
    image = _Image.from_dockerfile("Dockerfile")
    assert set(context(image)) >= {"a.txt", "b.txt", "d/a.txt", "Dockerfile"}
    (here / ".dockerignore").write_text("*.txt\n.dockerignore\nDockerfile*\n")
    assert set(context(image)) == {"d", "d/a.txt"}
    (here / "Dockerfile.dockerignore").write_text("# mine\n**/a.txt\n!d/a.txt\nDockerfile*\n.docker*")
    assert set(context(image)) == {"b.txt", "d", "d/a.txt"}
    assert set(context(_Image.from_dockerfile("Dockerfile", ignore=["d", "*ocker*"]))) == {"a.txt", "b.txt"}
    assert "Dockerfile" in context(_Image.from_dockerfile("Dockerfile", ignore=[]))
    assert set(context(BASE.dockerfile_commands("COPY *.txt /"))) == set()


def test_dockerfile_commands_with_context(here: Path, tmp_path: Path) -> None:
    write(here, c__data__x="x", c__data__y_tmp="y", extra="e")
    image = BASE.dockerfile_commands("COPY data /data", "COPY e /e", context_dir="c", context_files={"/e": "~/extra"}, ignore=["**/*.tmp"])
    assert set(context(image)) == {"data", "data/x", "e"}
    outside = BASE.dockerfile_commands("COPY ../x /")
    with pytest.raises(InvalidError, match="context"):
        defined(outside)


def test_only_what_is_copied_is_looked_at(here: Path) -> None:
    write(here, a__x="", secret__y="")
    (here / "a/loop").symlink_to(here)
    looked_at: list[str] = []

    def ignore(path: Path) -> bool:
        looked_at.append(str(path))
        return False

    image = BASE.dockerfile_commands("COPY a/x a/*.none /", ignore=ignore)
    assert set(context(image)) == {"a/x"}
    assert not [path for path in looked_at if path.startswith("secret")]


def test_dockerfiles_that_cannot_be_read(here: Path) -> None:
    with pytest.raises(NotFoundError, match="Dockerfile"):
        defined(_Image.from_dockerfile("Dockerfile"))
    for content, error in (
        (b"\xff", InvalidError),
        (b"FROM x\n" + b"#" * 2**20, RequestSizeError),
        (b"FROM x\nVOLUME /x", UnimplementedError),
    ):
        (here / "Dockerfile").write_bytes(content)
        with pytest.raises(error):
            define(_Image.from_dockerfile("Dockerfile")._recipe, python="3.11")


def test_too_many_files(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(here, t__a="", t__b="")
    monkeypatch.setattr("cove._image.definition.MAX_DEFINITION_BYTES", 100)
    with pytest.raises(RequestSizeError, match="add_local_dir"):
        defined(BASE.add_local_dir("t", "/x"))


def test_hashes_follow_the_files(tmp_path: Path) -> None:
    hashes, file = Hashes(), tmp_path / "x"
    file.write_bytes(b"1")
    assert hashes.of(file)[0] == hashlib.sha256(b"1").digest()
    file.write_bytes(b"2")  # perhaps within the clock's tick
    assert hashes.of(file)[0] == hashlib.sha256(b"2").digest()
    os.utime(file, ns=(0, 0))
    assert hashes.of(file) == (hashlib.sha256(b"2").digest(), 1)
    (key,) = hashes._kept
    hashes._kept[key] = b"kept", 1
    assert hashes.of(file)[0] == b"kept"
    os.utime(file, ns=(0, 1))
    assert hashes.of(file)[0] == hashlib.sha256(b"2").digest()
