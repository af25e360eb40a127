"""``python -m facade`` writes the public modules; ``--check`` only tells which of them are out of date, and fails if any is."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Final

from facade.model import Module
from facade.parse import parse, parse_parts
from facade.render import Renderer

SDK: Final = Path(__file__).resolve().parent.parent / "cove"


def modules() -> list[Module]:
    """The asynchronous modules that offer something."""
    sources = {file.stem: file.read_text("utf-8") for file in sorted((SDK / "_async").glob("*.py"))}
    parts = {part.name: part for name, source in sources.items() if name.startswith("_") for part in parse_parts(name, source)}
    parsed = [parse(name, source, parts) for name, source in sources.items() if not name.startswith("_")]
    return [module for module in parsed if module.classes]


def rendered() -> dict[Path, str]:
    """Public file to content, not formatted."""
    parsed = modules()
    faces = {exposed.name: module.name for module in parsed for exposed in module.classes}
    return {SDK / f"{module.name}.py": Renderer(module, faces).source() for module in parsed}


def stale(file: Path, source: str) -> bool:
    """Whether ``file`` says something else than ``source``; layout does not count."""
    return not file.exists() or ast.dump(ast.parse(file.read_text("utf-8"))) != ast.dump(ast.parse(source))


def formatted(source: str) -> str:
    """``source`` as ruff lays it out."""
    for command in (["check", "--select", "I,F401", "--fix", "--quiet"], ["format", "--quiet"]):
        arguments = [sys.executable, "-m", "ruff", *command, "--stdin-filename", str(SDK / "generated.py"), "-"]
        source = subprocess.run(arguments, input=source, capture_output=True, text=True, check=True).stdout
    return source


def main(arguments: list[str]) -> int:
    """Write or check; the exit code."""
    sources = {file: formatted(source) for file, source in rendered().items()}
    old = [file for file, source in sources.items() if stale(file, source)]
    if arguments == ["--check"]:
        for file in old:
            print(f"{file.relative_to(SDK.parent)} is out of date: run `make facade`", file=sys.stderr)
        return 1 if old else 0
    if arguments:
        print(__doc__, file=sys.stderr)
        return 2
    for file in old:
        file.write_text(sources[file], "utf-8")
        print(f"wrote {file.relative_to(SDK.parent)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
