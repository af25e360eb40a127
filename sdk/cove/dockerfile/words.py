"""Cutting the text after an instruction's name into words. Quotes stay where they are; :mod:`cove.dockerfile.expand` removes them.

Source: the grammar of BuildKit's Dockerfile frontend. Every pattern is possessive or cannot fail late, so that time is linear.
"""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Final, NamedTuple

from cove.exception import InvalidError, RequestSizeError

WHITESPACE: Final = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)
"""Unicode's White_Space, which is not what ``str.isspace`` goes by: that counts the separators U+001C to U+001F too."""

GAP: Final = re.compile(r"[\t\v\f\r ]+")
"""What separates an instruction from its arguments, and words where quotes do not count."""

MAX_WORDS: Final = 10_000
"""In one instruction."""

_NOT_TEXT: Final = re.compile("[\0\ud800-\udfff]")
_HEREDOC: Final = re.compile(r"\d*<<(-?)([^<]+)")


@cache
def _pieces(escape: str) -> re.Pattern[str]:
    """Pieces of text: a gap, plain characters, a quoted string, an escaped character. Anything matches."""
    mark, space = re.escape(escape), re.escape(WHITESPACE)
    return re.compile(
        rf"""
        (?P<gap>[{space}]+)
        | [^{space}'"{mark}]+
        | (?P<single>'[^']*+(?:'|(?P<open_single>\Z)))
        | (?P<double>"(?:[^"{mark}]++|{mark}.)*+(?:"|(?P<open_double>{mark}?\Z)))
        | (?P<escaped>{mark}(?:.|\Z))
        """,
        re.VERBOSE | re.DOTALL,
    )


def split_quoted(text: str, escape: str) -> list[str]:
    """Words of ``text``, where whitespace in quotes or after the escape character does not separate.

    An open quote lasts to the end; a lone escape character at the end does not count.

    Raises:  RequestSizeError: more than ``MAX_WORDS``.
    """
    words: list[str] = []
    word: list[str] = []
    for piece in _pieces(escape).finditer(text):
        if piece.lastgroup == "gap":
            words += ["".join(word)] if word else []
            word = []
            _check_count(words)
        elif piece.lastgroup == "double" and piece["open_double"] is not None:
            word.append(piece[0].removesuffix(escape))
        elif piece[0] != escape:
            word.append(piece[0])
    return [*words, "".join(word)] if word else words


def split_plain(text: str) -> list[str]:
    """Words of ``text``, where nothing but whitespace counts.

    Raises:  RequestSizeError: more than ``MAX_WORDS``.
    """
    words = GAP.split(text, maxsplit=MAX_WORDS + 1) if text else []
    _check_count(words)
    return words


def _check_count(words: list[str]) -> None:
    if len(words) > MAX_WORDS:
        raise RequestSizeError(f"There are more than {MAX_WORDS} words in one instruction.", remedy="Use several, or a file.")


def parse_json(text: str) -> tuple[str, ...] | None:
    """The exec form: a JSON list of strings. None if ``text`` is not a JSON list, and so the shell form.

    Raises:  InvalidError: a list of something else.
    """
    if not text.startswith("["):
        return None
    try:
        value = json.loads(text, parse_constant=_refuse_constant, parse_int=str.__len__, parse_float=str.__len__)
    except RecursionError:
        value = [None]  # it nests, so it is not a list of strings
    except ValueError:
        return None
    if any(not isinstance(item, str) for item in value):
        raise InvalidError("The JSON list has an item that is not a string.", remedy='Put every item in double quotes: ["a", "1"].')
    check_text("".join(value))
    return tuple(value)


def check_text(text: str) -> None:
    """Raise InvalidError for what no file, argument or path can hold."""
    if _NOT_TEXT.search(text):
        raise InvalidError("There is a NUL or half a surrogate pair in the text.", remedy="Save the file as UTF-8 text.")


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


class HeredocMark(NamedTuple):
    """``<<EOF`` as it stands in a line."""

    name: str
    expands: bool
    strips_tabs: bool


def heredoc_mark(word: str) -> HeredocMark | None:
    """What ``word`` announces, if it is ``<<NAME``, ``<<-NAME`` or ``3<<NAME`` with or without quotes around the name."""
    match = _HEREDOC.fullmatch(word)
    name = _unquote(match[2]) if match else ""
    return HeredocMark(name, expands=name == match[2], strips_tabs=bool(match[1])) if match and name else None


def heredoc_marks(text: str) -> list[HeredocMark]:
    """The heredocs that ``text`` announces, in order. A line with an open quote has none."""
    quoted = (piece for piece in _pieces("\\").finditer(text) if piece.lastgroup in ("single", "double"))
    if any(piece["open_single"] is not None or piece["open_double"] is not None for piece in quoted):
        return []
    return [mark for word in split_quoted(text, "\\") if (mark := heredoc_mark(word))]


def _unquote(text: str) -> str:
    """``text`` without quotes and escapes."""
    parts: list[str] = []
    for piece in _pieces("\\").finditer(text):
        if piece.lastgroup == "single":
            parts.append(piece[0][1:-1])
        elif piece.lastgroup == "double":
            parts.append(re.sub(r'\\(["$\\])', r"\1", piece[0][1:-1]))
        else:
            parts.append(piece[0][1:] if piece[0].startswith("\\") else piece[0])
    return "".join(parts)
