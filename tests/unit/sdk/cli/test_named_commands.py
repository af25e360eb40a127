"""Commands that errors, help and documentation tell people to run: every one of them is there."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import typer.main

from cove.cli import build_app

PROJECT: Final = Path(__file__).parents[4]
SOURCES: Final = ("router", "sandboxd", "snapshots", "policies", "sdk/cove", "examples", "docs", "README.md", "Makefile")
NAMED: Final = re.compile(r"(?:`|^    |^\$ |\$\(|\$\(BIN\)/|\.venv/bin/|\| )cove ((?:[a-z][a-z-]*)(?: [a-z][a-z-]+)?)", re.MULTILINE)


def files() -> Iterator[Path]:
    for source in (PROJECT / name for name in SOURCES):
        yield from [source] if source.is_file() else [*source.rglob("*.py"), *source.rglob("*.md")]


@functools.cache
def program() -> Any:
    return typer.main.get_command(build_app([]))


def is_command(words: list[str]) -> bool:
    command = program()
    for word in words:
        if not hasattr(command, "commands"):
            return True  # the word is an argument
        command = command.commands.get(word)
        if command is None:
            return False
    return True


@pytest.mark.parametrize("words", ["up", "sandbox list", "snapshot diff"])
def test_known_commands_are_known(words: str) -> None:
    assert is_command(words.split())


@pytest.mark.parametrize("words", ["node list", "sandbox frobnicate", "nothing"])
def test_others_are_not(words: str) -> None:
    assert not is_command(words.split())


def test_every_command_that_is_named_is_there() -> None:
    named = {(file.relative_to(PROJECT), match[1]) for file in files() for match in NAMED.finditer(file.read_text())}
    assert len(named) > 40
    assert sorted((str(file), words) for file, words in named if not is_command(words.split())) == []
