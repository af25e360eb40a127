"""The ``--name=value`` words between an instruction's name and its arguments."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from cove.dockerfile.words import WHITESPACE
from cove.exception import InvalidError

_SPACE: Final = re.escape(WHITESPACE)
_FLAG: Final = re.compile(
    rf"""[{_SPACE}]*+(?P<word>--(?:[^{_SPACE}'"\\]++|'(?:[^'\\]|\\.)*+(?:'|\\?\Z)|"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|\\(?:.|\Z))*+)""", re.DOTALL
)
_QUOTING: Final = re.compile(r"""\\(.)|\\\Z|'((?:[^'\\]|\\.)*+)(?:'|\\?\Z)|"((?:[^"\\]|\\.)*+)(?:"|\\?\Z)""", re.DOTALL)


def split_flags(text: str) -> tuple[tuple[str, ...], str]:
    """The flags at the start of ``text``, quotes removed, and what follows them. A lone ``--`` ends them."""
    flags: list[str] = []
    position = 0
    while match := _FLAG.match(text, position):
        position = match.end()
        flag = _unquoted(match["word"])
        if flag == "--":
            break
        flags.append(flag)
    return tuple(flags), text[position:].strip(WHITESPACE)


def _unquoted(text: str) -> str:
    """A backslash escapes any character, in quotes of both kinds too, whatever the escape directive says."""

    def plain(match: re.Match[str]) -> str:
        quoted = match[2] if match[2] is not None else match[3]
        return (match[1] or "") if quoted is None else re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL)

    return _QUOTING.sub(plain, text)


class Flags:
    """The flags of one statement; each is taken once, and none may be left.

    Raises (all methods):  InvalidError: unknown, repeated, or without the value it needs.
    """

    def __init__(self, words: Sequence[str], known: Sequence[str], *, many: Sequence[str] = ()) -> None:
        """``known`` may come once, those of them in ``many`` any number of times. Names are without dashes."""
        self._values: dict[str, list[str | None]] = {}
        for word in words:
            name, equals, value = word[2:].partition("=")
            self._check(name, known, many)
            self._values.setdefault(name, []).append(value if equals else None)

    def _check(self, name: str, known: Sequence[str], many: Sequence[str]) -> None:
        if name not in known:
            there_are = ", ".join(f"--{flag}" for flag in known) or "none"
            raise InvalidError(f"There is no flag --{name[:40]} here.", remedy=f"Flags that this instruction has: {there_are}.")
        if name in self._values and name not in many:
            raise InvalidError(f"The flag --{name} is given twice.", remedy="Remove one.")

    def text(self, name: str) -> str | None:
        """The value of a flag; None if it is not given."""
        values = self.texts(name)
        return values[0] if values else None

    def texts(self, name: str) -> tuple[str, ...]:
        """The values of a flag that may come several times."""
        values = tuple(value for value in self._values.get(name, ()) if value)
        if len(values) != len(self._values.get(name, ())):
            raise InvalidError(f"The flag --{name} has no value.", remedy=f"Write --{name}=VALUE without spaces.")
        return values

    def switch(self, name: str) -> bool | None:
        """A flag that is on by being there, or says ``=true`` or ``=false``; None if it is not given."""
        if name not in self._values:
            return None
        value = self._values[name][0]
        if value not in (None, "true", "false"):
            raise InvalidError(f"The flag --{name} takes true or false.", remedy=f"Write --{name} or leave it out.")
        return value != "false"
