"""Go's ``filepath.Match``, which sources of COPY are matched with: ``*`` and ``?`` within a component, ``[a-z]``, ``[^a]``, escapes."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from cove.dockerfile.problems import cut
from cove.exception import InvalidError

MAX_PATTERN_CHARACTERS: Final = 4096
"""A path can be no longer on Linux."""

MAX_STARS: Final = 16
"""Runs of ``*`` in one component of a path; matching takes (length of the name) to the power of them at worst, less for real names."""

_TOKEN: Final = re.compile(r"(?P<stars>\*+)|(?P<any>\?)|(?P<set>\[)|\\(?P<escaped>.)|(?P<plain>[^*?\[\\])", re.DOTALL)
_RANGE: Final = re.compile(r"(\\.|[^\\\]\-])(?:-(\\.|[^\\\]\-]))?", re.DOTALL)


def has_magic(pattern: str) -> bool:
    """Whether ``pattern`` is more than a literal path."""
    return any(character in pattern for character in "*?[\\")


@lru_cache(maxsize=1024)
def translate(pattern: str) -> re.Pattern[str]:
    """A regular expression for whole paths that ``pattern`` matches.

    Raises:  InvalidError: malformed: an open bracket, an escape at the end, an empty set, or more than is sensible.
    """
    if len(pattern) > MAX_PATTERN_CHARACTERS:
        raise InvalidError(f"The pattern {cut(pattern)!r} is too long.", remedy="Use a shorter one.")
    if any(len(re.findall(r"\*+", component)) > MAX_STARS for component in pattern.split("/")):
        raise InvalidError(f"The pattern {cut(pattern)!r} has too many stars.", remedy="Use fewer.")
    parts: list[str] = []
    position = 0
    while position < len(pattern):
        match = _TOKEN.match(pattern, position)
        if match is None:
            raise _malformed(pattern)
        position = match.end()
        if match["set"]:
            part, position = translate_set(pattern, position)
        else:
            part = "[^/]*" if match["stars"] else "[^/]" if match["any"] else re.escape(match["escaped"] or match["plain"])
        parts.append(part)
    return re.compile("".join(parts), re.DOTALL)


def translate_set(pattern: str, position: int) -> tuple[str, int]:
    """The regular expression for the set whose ``[`` is before ``position``, and where it ends. As in Go, it may match a slash.

    Raises:  InvalidError: the set is malformed.
    """
    negated = pattern.startswith("^", position)
    position += negated
    ranges: list[str] = []
    while not (ranges and pattern.startswith("]", position)):
        match = _RANGE.match(pattern, position)
        if match is None:
            raise _malformed(pattern)
        low, high = match[1][-1], (match[2] or match[1])[-1]
        # A range from high to low is legal and matches nothing.
        ranges.append(f"{re.escape(low)}-{re.escape(high)}" if low <= high else "")
        position = match.end()
    members = "".join(ranges)
    if not members:
        return (".", position + 1) if negated else ("(?!)", position + 1)
    return f"[{'^' if negated else ''}{members}]", position + 1


def _malformed(pattern: str) -> InvalidError:
    cause = f"The pattern {cut(pattern)!r} is malformed."
    return InvalidError(cause, remedy="Close brackets, and write \\ before a character that is meant literally.")
