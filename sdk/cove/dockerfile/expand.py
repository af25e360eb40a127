"""``$VAR``, ``${VAR:-default}``, quotes and escapes, as in the words of most instructions. Not for what a shell will read.

Source: Dockerfile reference, "Environment replacement"; quoting as in POSIX shells, but that the escape character can be a backtick.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Final, NamedTuple

from cove.dockerfile.problems import cut, unsupported
from cove.dockerfile.words import WHITESPACE
from cove.exception import InvalidError

MAX_EXPANDED_CHARACTERS: Final = 256 * 1024
"""Of all values put into one text. ``ENV A=$A$A`` doubles a variable; forty of them would fill the memory."""

MAX_NESTING: Final = 32
"""Of ``${A:-${B:-…}}``."""

_NAME: Final = re.compile(r"[0-9]+|[^\W\d]\w*|[@*#?\-$!]")
_GAPS: Final = re.compile(f"([{re.escape(WHITESPACE)}]+)")
_OTHER_MODIFIERS: Final = frozenset("#%/^,:@!")
"""Those of shells, and of newer Docker."""

_MODIFIER: Final = re.compile(r":?[-+?]")


def expand(text: str, variables: Mapping[str, str], *, escape: str = "\\") -> str:
    """``text`` with variables replaced, and without quotes and escapes. A variable that is not set is empty.

    Raises:
        InvalidError: an open quote or brace, ``${VAR:?}`` without the variable, or values of over ``MAX_EXPANDED_CHARACTERS``.
        UnimplementedError: a modifier that works on patterns, such as ``${VAR%.*}``.
    """
    return "".join(piece.text for piece in _Expansion(text, variables, escape).run())


def expand_words(text: str, variables: Mapping[str, str], *, escape: str = "\\") -> tuple[str, ...]:
    """As :func:`expand`, then cut into words at whitespace that is neither quoted nor escaped, be it from a variable."""
    words: list[str] = []
    word: list[str] = []
    for piece in _Expansion(text, variables, escape).run():
        if piece.whole:
            word.append(piece.text)
            continue
        for part in _GAPS.split(piece.text):
            if part and part[0] in WHITESPACE:
                words.append("".join(word))
                word = []
            else:
                word.append(part)
    return tuple(found for found in [*words, "".join(word)] if found)


def expand_heredoc(text: str, variables: Mapping[str, str]) -> str:
    """``text``, the content of a file given in place, with variables replaced and escapes removed. Quotes stay."""
    return "".join(piece.text for piece in _Expansion(text, variables, "\\", quotes=False).run())


def used_variables(text: str, *, escape: str = "\\") -> frozenset[str]:
    """Names of the variables that the expansion of ``text`` looks at, whatever is set.

    Raises:  as :func:`expand`, but for what depends on values.
    """
    expansion = _Expansion(text, {}, escape, dry=True)
    expansion.run()
    return frozenset(expansion.used)


class _Piece(NamedTuple):
    """A part of the result. ``whole``: it was quoted or escaped, so its spaces do not separate words."""

    text: str
    whole: bool


@dataclass(slots=True)
class _Expansion:
    """One pass over ``text``. With ``dry`` nothing is replaced, and ``${VAR:?}`` never fails."""

    text: str
    variables: Mapping[str, str]
    escape: str
    quotes: bool = True
    dry: bool = False
    used: set[str] = field(default_factory=set)
    _position: int = 0
    _nesting: int = 0
    _looked_up: int = 0

    def run(self) -> list[_Piece]:
        return self._until("")

    def _until(self, stop: str) -> list[_Piece]:
        """Expand up to the unquoted character ``stop`` and step over it; up to the end if it is empty."""
        pieces: list[_Piece] = []
        while self._position < len(self.text):
            character = self.text[self._position]
            if character == stop:
                self._position += 1
                return pieces
            pieces.append(self._piece(character))
        if stop:
            raise InvalidError(f"A {stop} is missing in {cut(self.text)!r}.", remedy=f"Add it, or escape the $ with {self.escape}.")
        return pieces

    def _piece(self, character: str) -> _Piece:
        if character == "$":
            return _Piece(self._variable(), whole=False)
        if character == self.escape:
            self._position += 2
            return _Piece(self.text[self._position - 1 : self._position], whole=True)
        if self.quotes and character == "'":
            return _Piece(self._single_quoted(), whole=True)
        if self.quotes and character == '"':
            return _Piece(self._double_quoted(), whole=True)
        match = _plain(self.escape, quotes=self.quotes, brace=self._nesting > 0).match(self.text, self._position)
        found = match[0] if match else character
        self._position += len(found)
        return _Piece(found, whole=False)

    def _single_quoted(self) -> str:
        end = self.text.find("'", self._position + 1)
        if end < 0:
            raise self._open_quote("single")
        found = self.text[self._position + 1 : end]
        self._position = end + 1
        return found

    def _double_quoted(self) -> str:
        parts: list[str] = []
        self._position += 1
        while self._position < len(self.text):
            character = self.text[self._position]
            if character == '"':
                self._position += 1
                return "".join(parts)
            parts.append(self._variable() if character == "$" else self._quoted_text())
        raise self._open_quote("double")

    def _quoted_text(self) -> str:
        """Text in double quotes: the escape character escapes only what would be special there."""
        character = self.text[self._position]
        if character == self.escape:
            after = self.text[self._position + 1 : self._position + 2]
            escapes = bool(after) and after in ('"', "$", self.escape)
            self._position += 2 if escapes else 1
            return after if escapes else character
        match = _quoted(self.escape).match(self.text, self._position)
        found = match[0] if match else character
        self._position += len(found)
        return found

    def _open_quote(self, kind: str) -> InvalidError:
        return InvalidError(f"A {kind} quote is not closed in {cut(self.text)!r}.", remedy=f"Close it, or write {self.escape} before it.")

    def _variable(self) -> str:
        self._position += 1
        if self.text.startswith("{", self._position):
            self._position += 1
            return self._braced()
        name = self._name()
        return (self._get(name) or "") if name else "$"

    def _braced(self) -> str:
        name = self._name()
        if not name:
            raise InvalidError(f"There is no variable's name after ${{ in {cut(self.text)!r}.", remedy="Write ${NAME}.")
        if self.text.startswith("}", self._position):
            self._position += 1
            return self._get(name) or ""
        modifier = self._modifier()
        word = self._word()
        return self._modified(name, modifier, word)

    def _name(self) -> str:
        match = _NAME.match(self.text, self._position)
        self._position += len(match[0]) if match else 0
        return match[0] if match else ""

    def _modifier(self) -> str:
        match = _MODIFIER.match(self.text, self._position)
        if match is None:
            if self.text[self._position : self._position + 1] not in _OTHER_MODIFIERS:
                raise InvalidError(f"A }} is missing in {cut(self.text)!r}.", remedy=f"Add it, or escape the $ with {self.escape}.")
            what = f"The modifier {cut(self.text[self._position : self._position + 2])!r} of a variable"
            raise unsupported(what, instead="There are :-, -, :+, +, :? and ?; do the rest in a RUN.")
        self._position = match.end()
        return match[0]

    def _word(self) -> str:
        self._nesting += 1
        if self._nesting > MAX_NESTING:
            raise InvalidError(f"Variables nest deeper than {MAX_NESTING} levels.", remedy="Use an ARG or ENV for the inner ones.")
        word = "".join(piece.text for piece in self._until("}"))
        self._nesting -= 1
        return word

    def _modified(self, name: str, modifier: str, word: str) -> str:
        value = self._get(name)
        counts = value is not None and (value != "" or not modifier.startswith(":"))
        if modifier.endswith("+"):
            return word if counts else ""
        if not counts and modifier.endswith("?") and not self.dry:
            raise InvalidError(
                f"{cut(name)} is not set: {cut(word) or 'it must be'}.", remedy="Give it as a build argument, or set it with ENV."
            )
        if not counts:
            return word
        return value or ""

    def _get(self, name: str) -> str | None:
        self.used.add(name)
        value = self.variables.get(name)
        self._looked_up += len(value or "")
        if self._looked_up > MAX_EXPANDED_CHARACTERS:
            raise InvalidError(f"Variables grow to over {MAX_EXPANDED_CHARACTERS} characters.", remedy="Use shorter values.")
        return value


@cache
def _plain(escape: str, *, quotes: bool, brace: bool) -> re.Pattern[str]:
    """Characters that stand for themselves. ``quotes`` and ``brace``: whether these do not."""
    special = "$" + escape + "'\"" * quotes + "}" * brace
    return re.compile(f"[^{re.escape(special)}]+")


@cache
def _quoted(escape: str) -> re.Pattern[str]:
    return re.compile(rf"""[^$"{re.escape(escape)}]+""")
