"""How long a message's body is, and its bytes, checked and framed anew as they pass. Pure.

A chunked body goes on in chunks of our own making: chunk extensions and trailers, which nobody checks, end here.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final

from router.ingress.http.heads import Malformed, RequestHead, ResponseHead, parse_field, tokens, values

MAX_SIZE_LINE: Final = 256
MAX_TRAILERS: Final = 8 * 1024

_LENGTH: Final = re.compile(rb"[0-9]{1,18}")
_SIZE_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?")


class Framing(Enum):
    """Where a body ends, if not after a number of bytes."""

    CHUNKED = "chunked"
    UNTIL_CLOSE = "until close"


Length = int | Framing


def request_length(head: RequestHead) -> Length:
    """How long a request's body is. Raises: Malformed: that is not certain."""
    length = _length(head)
    return 0 if length is None else length


def response_length(head: ResponseHead, method: bytes) -> Length:
    """How long the body of a response to ``method`` is. Raises: Malformed: that is not certain."""
    length = _length(head)
    if method == b"HEAD" or head.status < 200 or head.status in (204, 304):
        return 0
    return Framing.UNTIL_CLOSE if length is None else length


def _length(head: RequestHead | ResponseHead) -> Length | None:
    status = 400 if isinstance(head, RequestHead) else 502
    lengths, codings = values(head.fields, b"content-length"), values(head.fields, b"transfer-encoding")
    if codings:
        if lengths or head.minor == 0 or len(codings) > 1 or tokens(head.fields, b"transfer-encoding") != [b"chunked"]:
            raise Malformed("It is not certain where the body ends.", status)
        return Framing.CHUNKED
    if not lengths:
        return None
    if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
        raise Malformed("The Content-Length is not one number.", status)
    return int(lengths[0])


class Body:
    """Takes the bytes after a head, gives those to send on.

    Args:
        length: as the head says.
        plain: give a chunked body without chunks, for a reader that does not know them.
    """

    def __init__(self, length: Length, *, plain: bool = False) -> None:
        self._left = length if isinstance(length, int) else 0
        self._chunks = _Chunks(plain=plain) if length is Framing.CHUNKED else None
        self._endless = length is Framing.UNTIL_CLOSE
        self.done = length == 0

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """The bytes to send on, and those behind the body's end.

        Raises:  Malformed: what was given before is all there is of it.
        """
        if self._endless:
            return data, b""
        if self._chunks is not None:
            sent, rest = self._chunks.feed(data)
            self.done = self._chunks.done
            return sent, rest
        taken = data[: self._left] if len(data) > self._left else data
        self._left -= len(taken)
        self.done = self._left == 0
        return taken, data[len(taken) :]

    def ends_well(self) -> bool:
        """Whether the body may end with the connection now."""
        return self.done or self._endless


class _Chunks:
    """The chunked coding (RFC 9112, section 7.1)."""

    def __init__(self, *, plain: bool) -> None:
        self._plain = plain
        self._line = b""
        self._left = 0
        self._after = False
        """The line end after a chunk's bytes comes next."""
        self._trailers = -1
        """Bytes of trailers so far; below 0 before the last chunk."""
        self.done = False

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        sent: list[bytes] = []
        at = 0
        while at < len(data) and not self.done:
            if self._left:
                piece = data[at : at + self._left]
                at += len(piece)
                self._left -= len(piece)
                self._after = self._left == 0
                sent.append(piece if self._plain else b"%x\r\n%b\r\n" % (len(piece), piece))
            else:
                at = self._take_line(data, at)
        if self.done and not self._plain:
            sent.append(b"0\r\n\r\n")
        return b"".join(sent), data[at:]

    def _take_line(self, data: bytes, at: int) -> int:
        """Take one line, as far as it has come. Returns: where the rest begins."""
        end = data.find(b"\n", at)
        stop = len(data) if end < 0 else end + 1
        self._line += data[at:stop]
        if len(self._line) > (MAX_SIZE_LINE if self._trailers < 0 else MAX_TRAILERS):
            raise Malformed("A line of the chunked body is too long.")
        if end >= 0:
            line, self._line = self._line, b""
            if not line.endswith(b"\r\n"):
                raise Malformed("A line of the chunked body ends in a bare line feed.")
            self._on_line(line[:-2])
        return stop

    def _on_line(self, line: bytes) -> None:
        if self._after:
            if line:
                raise Malformed("A chunk is longer than it says.")
            self._after = False
        elif self._trailers >= 0:
            self._on_trailer(line)
        else:
            match = _SIZE_LINE.fullmatch(line)
            if match is None:
                raise Malformed("The size of a chunk is malformed.")
            self._left = int(match[1], 16)
            if not self._left:
                self._trailers = 0

    def _on_trailer(self, line: bytes) -> None:
        if not line:
            self.done = True
            return
        parse_field(line)
        self._trailers += len(line)
        if self._trailers > MAX_TRAILERS:
            raise Malformed("The trailers are too long.", 431)
