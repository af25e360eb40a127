"""Heads of requests and responses, parsed strictly. Pure.

What two parsers could understand differently is refused: that is how requests are smuggled. So no bare CR or LF, no folded lines, no space
before a colon, no control characters, one Host, and lengths that say one thing (see ``bodies``).

Source: RFC 9112; where it lets a recipient choose between repairing and refusing, this refuses.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

MAX_HEAD_BYTES: Final = 32 * 1024
MAX_FIELDS: Final = 128
HEAD_END: Final = b"\r\n\r\n"

_REQUEST_LINE: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}) ([\x21-\x7e]{1,16384}) HTTP/1\.([01])")
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: ([\t\x20-\x7e\x80-\xff]*))?")
_FIELD: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]{1,256}):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*")
_TARGET: Final = re.compile(rb"/[^#]*")
_HOST: Final = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")


class Malformed(Exception):
    """A message that is refused. ``status`` is what a client is answered with; ``text`` says why."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.text, self.status = text, status


class Field(NamedTuple):
    """One header field, its name spelled as it came, its value without the space around it."""

    name: bytes
    value: bytes


class RequestHead(NamedTuple):
    method: bytes
    target: bytes
    """In origin form: it begins with a slash."""
    minor: int
    """Of the version: 0 or 1."""
    fields: Sequence[Field]


class ResponseHead(NamedTuple):
    minor: int
    status: int
    reason: bytes
    fields: Sequence[Field]


def parse_request(head: bytes) -> RequestHead:
    """A request's head, without the empty line at its end.

    Raises:  Malformed.
    """
    line, fields = _split(head)
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise Malformed("The request line is malformed.")
    method, target, minor = match[1], match[2], int(match[3])
    if method == b"CONNECT":
        raise Malformed("CONNECT is not served here.", 405)
    if not _TARGET.fullmatch(target):
        raise Malformed("The request target is not a path.")
    hosts = values(fields, b"host")
    if len(hosts) > 1 or (minor == 1 and not hosts) or not all(map(_HOST.fullmatch, hosts)):
        raise Malformed("The request does not name one host.")
    return RequestHead(method, target, minor, fields)


def parse_response(head: bytes) -> ResponseHead:
    """A response's head, without the empty line at its end.

    Raises:  Malformed.
    """
    line, fields = _split(head)
    match = _STATUS_LINE.fullmatch(line)
    if match is None:
        raise Malformed("The status line is malformed.", 502)
    return ResponseHead(int(match[1]), int(match[2]), match[3] or b"", fields)


def parse_field(line: bytes) -> Field:
    """Raises:  Malformed."""
    match = _FIELD.fullmatch(line)
    if match is None:
        raise Malformed("A header field is malformed.")
    return Field(match[1], match[2])


def values(fields: Sequence[Field], name: bytes) -> list[bytes]:
    """All values of a field. ``name`` in small letters."""
    return [value for key, value in fields if key.lower() == name]


def tokens(fields: Sequence[Field], name: bytes) -> list[bytes]:
    """The members of a field that is a list of words, in small letters."""
    return [word for value in values(fields, name) for part in value.split(b",") if (word := part.strip(b" \t").lower())]


def _split(head: bytes) -> tuple[bytes, list[Field]]:
    line, *rest = head.split(b"\r\n")
    if len(rest) > MAX_FIELDS:
        raise Malformed(f"There are more than {MAX_FIELDS} header fields.", 431)
    return line, [parse_field(field) for field in rest]
