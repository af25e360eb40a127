"""Patterns over relative paths: Go's ``filepath.Match`` for sources of COPY, and the same with ``**`` for ignore files.

``*`` and ``?`` stay within a component, ``[a-z]`` and ``[^a-z]`` are sets (never of the slash), a backslash makes the next
character literal. Patterns may come from strangers, so matching is linear: a pattern with more than two wildcards of open length, for
which a backtracking regular expression can take forever, is run as a set of states, one bit each.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache
from typing import Final

from cove.dockerfile.problems import cut
from cove.exception import InvalidError

MAX_PATTERN_CHARACTERS: Final = 4096
"""A path can be no longer on Linux."""

_MOST_BACKTRACKED: Final = 2


class IllegalPatternError(InvalidError, ValueError):
    """A pattern is malformed. A ValueError as well, which is what ``FilePatternMatcher`` is documented to raise."""


class _Kind(Enum):
    ONE = auto()
    """A character of a set."""
    STAR = auto()
    """Any number of characters but slashes."""
    DEEP = auto()
    """Any number of characters."""
    DIRECTORIES = auto()
    """Nothing, or anything that ends in a slash."""


@dataclass(frozen=True, slots=True)
class _Token:
    kind: _Kind
    regex: str
    """What it is as a regular expression."""


_STAR: Final = _Token(_Kind.STAR, "[^/]*")
_DEEP: Final = _Token(_Kind.DEEP, ".*")
_DIRECTORIES: Final = _Token(_Kind.DIRECTORIES, "(?:.*/)?")
_ANY: Final = _Token(_Kind.ONE, "[^/]")
_NOTHING: Final = _Token(_Kind.ONE, "(?!)")

_PIECE: Final = re.compile(r"(?P<deep>\*\*/?)|(?P<star>\*)|(?P<any>\?)|(?P<set>\[)|\\(?P<escaped>.)|(?P<plain>[^*?\[\\])", re.DOTALL)
_RANGE: Final = re.compile(r"(\\.|[^\\\]\-])(?:-(\\.|[^\\\]\-]))?", re.DOTALL)
_LITERAL_SUFFIX: Final = re.compile(r"\*\*([^/*?\[\]\\][^*?\[\]\\]*)")


def has_magic(pattern: str) -> bool:
    """Whether ``pattern`` is more than a literal path."""
    return any(character in pattern for character in "*?[\\")


@lru_cache(maxsize=256)
def compile_glob(pattern: str, *, deep: bool = False) -> Glob:
    """Get ``pattern`` ready. With ``deep``, ``**`` crosses slashes; without, it is a star like any other.

    Raises:  IllegalPatternError: an open set, an escape at the end, or more than ``MAX_PATTERN_CHARACTERS``.
    """
    if len(pattern) > MAX_PATTERN_CHARACTERS:
        raise IllegalPatternError(f"The pattern {cut(pattern)!r} is too long.", remedy="Use a shorter one.")
    return Glob(tuple(_tokens(pattern, deep=deep)))


class Glob:
    """A pattern that is ready to match."""

    def __init__(self, tokens: tuple[_Token, ...]) -> None:
        self.tokens = tokens
        open_ended = sum(token.kind is not _Kind.ONE for token in tokens)
        regex = "".join(token.regex for token in tokens) if open_ended <= _MOST_BACKTRACKED else None
        self._states = _States(tokens) if regex is None else None
        self._whole = None if regex is None else re.compile(regex, re.DOTALL)
        self._with_parents = None if regex is None else re.compile(f"{regex}(?:/.*)?", re.DOTALL)

    def matches(self, path: str) -> bool:
        """Whether the whole of ``path`` matches."""
        if self._states is not None:
            return self._states.matches(path)
        return self._whole is not None and self._whole.fullmatch(path) is not None

    def matches_with_parents(self, path: str) -> bool:
        """Whether ``path`` matches, or a directory above it."""
        if self._states is not None:
            return self._states.matches(path, or_parent=True)
        return self._with_parents is not None and self._with_parents.fullmatch(path) is not None


class _States:
    """A pattern as states, bit N for "the first N steps are matched"; each character moves all of them at once."""

    def __init__(self, tokens: tuple[_Token, ...]) -> None:
        self._steps: list[re.Pattern[str]] = []
        self._skip_one = self._skip_two = self._stay_in_name = self._stay = 0
        for token in tokens:
            self._add(token)
        self._final = 1 << len(self._steps)
        self._moves: dict[str, int] = {}

    def _add(self, token: _Token) -> None:
        bit = 1 << len(self._steps)
        if token.kind is _Kind.DIRECTORIES:  # one step to enter or skip it, one that stays and is left by a slash
            self._skip_one |= bit
            self._skip_two |= bit
            self._stay |= bit << 1
            self._steps += [re.compile("(?!)"), re.compile("/")]
            return
        self._skip_one |= bit if token.kind in (_Kind.STAR, _Kind.DEEP) else 0
        self._stay_in_name |= bit if token.kind is _Kind.STAR else 0
        self._stay |= bit if token.kind is _Kind.DEEP else 0
        self._steps.append(re.compile(token.regex if token.kind is _Kind.ONE else "(?!)", re.DOTALL))

    def matches(self, path: str, *, or_parent: bool = False) -> bool:
        states = self._closed(1)
        for character in path:
            if or_parent and character == "/" and states & self._final:
                return True
            stays = self._stay if character == "/" else self._stay | self._stay_in_name
            states = self._closed((states & stays) | ((states & self._moves_on(character)) << 1))
            if not states:
                return False
        return bool(states & self._final)

    def _moves_on(self, character: str) -> int:
        """The states that ``character`` takes one step further."""
        if character not in self._moves:
            self._moves[character] = sum(1 << index for index, step in enumerate(self._steps) if step.fullmatch(character))
        return self._moves[character]

    def _closed(self, states: int) -> int:
        """``states`` and those that are reached from them without a character."""
        while (more := states | ((states & self._skip_one) << 1) | ((states & self._skip_two) << 2)) != states:
            states = more
        return states


def _tokens(pattern: str, *, deep: bool) -> list[_Token]:
    if deep and (suffix := _LITERAL_SUFFIX.fullmatch(pattern)):  # "**name" means names that end so, in Docker too
        return [_DEEP, *(_literal(character) for character in suffix[1])]
    tokens: list[_Token] = []
    position = 0
    while position < len(pattern):
        match = _PIECE.match(pattern, position)
        if match is None:
            raise _malformed(pattern)
        position = match.end() if deep or not match["deep"] else position + 1
        if match["set"]:
            token, position = _set(pattern, position)
        elif deep and match["deep"]:
            token = _DIRECTORIES if position < len(pattern) else _DEEP
        else:
            token = _STAR if match["deep"] or match["star"] else _ANY if match["any"] else _literal(match["escaped"] or match["plain"])
        if not (token.kind is not _Kind.ONE and tokens and tokens[-1] is token):  # twice the same says nothing more
            tokens.append(token)
    return tokens


@lru_cache(maxsize=1024)
def _literal(character: str) -> _Token:
    return _Token(_Kind.ONE, re.escape(character))


def _set(pattern: str, position: int) -> tuple[_Token, int]:
    """The set whose ``[`` is before ``position``, and where it ends."""
    negated = pattern.startswith("^", position)
    position += negated
    ranges: list[str] = []
    while not (ranges and pattern.startswith("]", position)):
        match = _RANGE.match(pattern, position)
        if match is None:
            raise _malformed(pattern)
        low, high = match[1][-1], (match[2] or match[1])[-1]
        # A range from high to low is legal and holds nothing.
        ranges.append(f"{re.escape(low)}-{re.escape(high)}" if low <= high else "")
        position = match.end()
    members = "".join(ranges)
    if not members:
        return _ANY if negated else _NOTHING, position + 1
    return _Token(_Kind.ONE, f"(?!/)[{'^' if negated else ''}{members}]"), position + 1


def _malformed(pattern: str) -> IllegalPatternError:
    cause = f"The pattern {cut(pattern)!r} is malformed."
    return IllegalPatternError(cause, remedy="Close brackets, and write \\ before a character that is meant literally.")
