"""From text to statements: directives, comments, continuation lines and heredocs. What a statement means is not known here.

Source: Dockerfile reference, "Format", "Parser directives" and "Here-documents".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from cove.dockerfile.flags import split_flags
from cove.dockerfile.model import Heredoc
from cove.dockerfile.problems import at_line
from cove.dockerfile.words import GAP, WHITESPACE, check_text, heredoc_marks, parse_json
from cove.exception import InvalidError, RequestSizeError

MAX_BYTES: Final = 1024 * 1024
MAX_LINES: Final = 50_000
MAX_HEREDOC_BYTES: Final = 256 * 1024
MAX_STATEMENT_CHARACTERS: Final = 128 * 1024
"""Linux takes no longer argument, so no shell could be given a longer command."""

MAX_STATEMENTS: Final = 2_000

_DIRECTIVE: Final = re.compile(r"#[\t\v\f\r ]*([a-zA-Z][a-zA-Z0-9]*)[\t\v\f\r ]*=(.*)")
_DIRECTIVES: Final = frozenset({"syntax", "escape", "check"})
_TAKES_HEREDOCS: Final = frozenset({"RUN", "COPY", "ADD"})


@dataclass(frozen=True, slots=True)
class Statement:
    """One instruction, cut into its parts.

    Attributes:
        keyword: in upper case.
        flags: the words that began with ``--``, without their quotes.
        rest: what follows the flags; continuation lines are joined.
    """

    keyword: str
    flags: tuple[str, ...]
    rest: str
    line: int
    original: str
    heredocs: tuple[Heredoc, ...] = ()


@dataclass(slots=True)
class Source:
    """The lines of a file, and how far they are read.

    Attributes:
        escape: the character that continues lines, as the directives have it.
        syntax: what the syntax directive names.
    """

    lines: list[str]
    position: int = 0
    escape: str = "\\"
    syntax: str | None = None
    _seen: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, text: str) -> Source:
        """Begin to read ``text``.

        Raises:
            RequestSizeError: more than ``MAX_BYTES`` or ``MAX_LINES``.
            InvalidError: not text.
        """
        if len(text) > MAX_BYTES or len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
            raise RequestSizeError(f"The Dockerfile has more than {MAX_BYTES} bytes.", remedy="Move data out of it, into files to COPY.")
        lines = text.removeprefix("\ufeff").removesuffix("\n").split("\n")
        if len(lines) > MAX_LINES:
            raise RequestSizeError(f"The Dockerfile has more than {MAX_LINES} lines.", remedy="Move data out of it, into files to COPY.")
        check_text(text)
        source = cls(lines)
        source._read_directives()
        return source

    def _read_directives(self) -> None:
        """Read the ``# name=value`` lines at the top; the first line that is none of them ends it."""
        for number, line in enumerate(self.lines, 1):
            match = _DIRECTIVE.fullmatch(line.strip(WHITESPACE))
            if match is None or match[1].lower() not in _DIRECTIVES or not match[2].strip(WHITESPACE):
                return
            with at_line(number, line):
                self._direct(match[1].lower(), match[2].strip(WHITESPACE))

    def _direct(self, name: str, value: str) -> None:
        if name in self._seen:
            raise InvalidError(f"There are two {name} directives.", remedy="Remove one.")
        self._seen.add(name)
        if name == "syntax":
            self.syntax = value
        elif name == "escape":
            if value not in ("\\", "`"):
                raise InvalidError(
                    "The escape character can only be a backslash or a backtick.", remedy="Write # escape=` or remove the line."
                )
            self.escape = value

    def statements(self) -> Iterator[Statement]:
        """The statements from here to the end.

        Raises:
            InvalidError: a heredoc does not end.
            RequestSizeError: too many statements, or a heredoc that is too large.
        """
        count = 0
        while self.position < len(self.lines):
            first = self.position
            text = self._joined()
            if not text:
                continue
            count += 1
            if count > MAX_STATEMENTS:
                raise RequestSizeError(f"There are more than {MAX_STATEMENTS} instructions.", remedy="Join RUN instructions with &&.")
            with at_line(first + 1, text):
                statement = self._statement(first, text)
            yield statement

    def _joined(self) -> str:
        """The next line with the lines that continue it; empty for a comment or an empty line."""
        parts: list[str] = []
        continues = True
        while continues and self.position < len(self.lines):
            line = self.lines[self.position].rstrip("\r")
            self.position += 1
            bare = line.lstrip(WHITESPACE)
            if bare.startswith("#") or (not bare and parts):
                if not parts:
                    return ""
                continue
            part, continues = self._without_continuation(line if parts else bare)
            parts.append(part)
        return "".join(parts)

    def _without_continuation(self, line: str) -> tuple[str, bool]:
        """The line without its last escape character, and whether it had one. Two of them are an escaped one."""
        bare = line.rstrip(" \t")
        if not bare.endswith(self.escape) or bare.endswith(self.escape * 2):
            return line, False
        return bare[:-1], True

    def _statement(self, first: int, text: str) -> Statement:
        if len(text) > MAX_STATEMENT_CHARACTERS:
            raise RequestSizeError(
                f"The instruction has more than {MAX_STATEMENT_CHARACTERS} characters.", remedy="COPY a script and run it."
            )
        keyword, *rest = GAP.split(text.strip(WHITESPACE), maxsplit=1)
        flags, arguments = split_flags(rest[0] if rest else "")
        heredocs = tuple(self._heredocs(text)) if keyword.upper() in _TAKES_HEREDOCS and not _is_json(arguments) else ()
        original = "\n".join(self.lines[first : self.position])
        return Statement(keyword.upper(), flags, arguments, first + 1, original, heredocs)

    def _heredocs(self, text: str) -> Iterator[Heredoc]:
        for mark in heredoc_marks(text) if "<<" in text else ():
            yield Heredoc(mark.name, self._body(mark.name, strips_tabs=mark.strips_tabs), mark.expands, mark.strips_tabs)

    def _body(self, name: str, *, strips_tabs: bool) -> str:
        first = self.position
        while self.position < len(self.lines):
            line = self.lines[self.position].rstrip("\r")  # in the body it stays
            self.position += 1
            if (line.lstrip("\t") if strips_tabs else line) == name:
                body = "".join(f"{line}\n" for line in self.lines[first : self.position - 1])
                if len(body.encode()) > MAX_HEREDOC_BYTES:
                    raise RequestSizeError(
                        f"The heredoc {name[:40]} has more than {MAX_HEREDOC_BYTES} bytes.", remedy="COPY a file instead."
                    )
                return body
        raise InvalidError(f"The heredoc {name[:40]} does not end.", remedy="Write its delimiter alone on a line after it.")


def _is_json(text: str) -> bool:
    return parse_json(text) is not None
