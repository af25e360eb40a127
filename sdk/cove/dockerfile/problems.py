"""The errors of this package, and how they come to know their line.

Functions that look at a part of a line raise without a line number; whoever holds the line adds it with :func:`at_line`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from cove.exception import InvalidError, RequestSizeError, UnimplementedError

QUOTED_CHARACTERS: Final = 120
"""How much of a line an error shows."""


def cut(text: str) -> str:
    """The first line of ``text``, at most ``QUOTED_CHARACTERS`` of it."""
    line, newline, _ = text.strip()[: QUOTED_CHARACTERS + 1].partition("\n")
    return f"{line[:QUOTED_CHARACTERS]}…" if newline or len(line) > QUOTED_CHARACTERS else line


@contextmanager
def at_line(line: int, text: str) -> Iterator[None]:
    """Add line number and text to the errors of this package that pass through."""
    try:
        yield
    except (InvalidError, RequestSizeError, UnimplementedError) as error:
        if "line" in error.context:
            raise
        cause = f"Dockerfile line {line}: {error.cause} The line: `{cut(text)}`."
        raise type(error)(cause, remedy=error.remedy, context={**error.context, "line": str(line)}) from error


def unsupported(what: str, *, instead: str) -> UnimplementedError:
    """``what`` is a part of the Dockerfile language that cove does not have."""
    return UnimplementedError(f"{what} is not supported.", remedy=instead)
