"""The ``.env`` format: ``NAME=value`` lines, comments, quotes, ``export``. Pure. Variables in values are not expanded."""

from __future__ import annotations

import re
from typing import Final

from cove.exception import InvalidError

_LINE: Final = re.compile(
    r"""
    [ \t]* (?:export[ \t]+)? (?P<name>[A-Za-z_][A-Za-z0-9_.]*) [ \t]* = [ \t]*
    (?: '(?P<single>[^']*)' | "(?P<double>(?:[^"\\]|\\.)*)" | (?P<plain>(?!['"])[^\n]*?) )
    [ \t]* (?:(?<=[\s'"])\#[^\n]*)? (?:\r?\n|\Z)
    """,
    re.VERBOSE | re.DOTALL,
)
_BLANK: Final = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\r?\n|\Z)")
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED: Final = {"n": "\n", "r": "\r", "t": "\t"}


def parse(text: str, *, source: str) -> dict[str, str]:
    """The assignments in ``text``; of two for one name the later wins.

    Raises:  InvalidError: naming ``source`` and the line, not its content.
    """
    variables: dict[str, str] = {}
    position = 0
    while position < len(text):
        if blank := _BLANK.match(text, position):
            position = blank.end()
            continue
        match = _LINE.match(text, position)
        if match is None:
            line = text.count("\n", 0, position) + 1
            raise InvalidError(f"Line {line} of {source} is not an assignment.", remedy="Write NAME=value, and close quotes.")
        variables[match["name"]] = _value(match)
        position = match.end()
    return variables


def _value(match: re.Match[str]) -> str:
    if match["double"] is not None:
        return _ESCAPE.sub(lambda escape: _ESCAPED.get(escape[1], escape[1]), match["double"])
    return match["single"] if match["single"] is not None else match["plain"].rstrip()
