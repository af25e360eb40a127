"""Follows the requests of an HTTP/1 connection, so that each of them, not the first alone, names an allowed host. Pure.

Only what every server understands in the same way gets through: where two could disagree on where a request ends, or on whom it is for,
one of them would see a request that nobody has looked at. Source: RFC 9112 (2.2, 3.2, 6, 11.2), RFC 9110 (7.2, 7.8, 9.3.6).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum, auto
from typing import Final, NamedTuple

MAX_HEAD: Final = 65_536
"""Bytes of request line and header; servers take 8 to 64 KB."""
_MAX_LINE: Final = 8_192
"""Bytes of a chunk's size or a trailer."""

_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST_LINE: Final = re.compile(rb"(?P<method>" + _TOKEN + rb") (?P<target>[\x21-\x7e\x80-\xff]+) HTTP/1\.(?P<minor>[01])")
_HEADER: Final = re.compile(rb"(?P<name>" + _TOKEN + rb"):(?P<value>[\x20-\x7e\x80-\xff\t]*)")
_CHUNK_SIZE: Final = re.compile(rb"(?P<size>[0-9A-Fa-f]{1,15})[ \t]*(;[\x20-\x7e\x80-\xff\t]*)?")
_AUTHORITY: Final = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?#@]*@)?(?P<host>[^/?#@]*)")
_HOST: Final = re.compile(r"(?P<name>[^:\[\]@/?#\s]*|\[[0-9A-Fa-f:.]+\])(:[0-9]{0,5})?")


class MalformedError(Exception):
    """A request that two servers could read differently."""


class _State(Enum):
    HEAD = auto()
    BODY = auto()
    CHUNK_SIZE = auto()
    CHUNK = auto()
    CHUNK_END = auto()
    TRAILER = auto()
    SWITCHING = auto()
    """A request to speak something else was sent; what comes next depends on the answer."""
    OPAQUE = auto()


class _Head(NamedTuple):
    hosts: tuple[str, ...]
    length: int | None
    """None: chunked."""
    switches: bytes
    """How the answer begins after which HTTP is over; empty: it is not."""


class HttpRequests:
    """The client's side of one connection. What it sends goes through :meth:`feed`."""

    def __init__(self, check: Callable[[str], None]) -> None:
        """``check``: called with each host that a request is for, before anything of the request gets through; raises to refuse it."""
        self._check = check
        self._state = _State.HEAD
        self._buffer = bytearray()
        self._searched = 0
        """Bytes of the buffer that hold no end of a head, so that one that comes byte by byte is not searched as often."""
        self._left = 0
        self._switches = b""

    @property
    def is_waiting(self) -> bool:
        """Whether bytes are held back for more of their kind to come; not for long, with an honest client."""
        return bool(self._buffer) and self._state is not _State.SWITCHING

    @property
    def is_switching(self) -> bool:
        """Whether the server's next words decide; :meth:`answered` wants them."""
        return self._state is _State.SWITCHING

    @property
    def is_over(self) -> bool:
        """Whether everything gets through from here on."""
        return self._state is _State.OPAQUE

    def feed(self, data: bytes) -> bytes:
        """What may go to the server by now. Raises: MalformedError, and what ``check`` raises."""
        if self._state is _State.BODY and not self._buffer and len(data) <= self._left:
            self._left -= len(data)
            self._end_of_body()
            return data
        self._buffer += data
        out = bytearray()
        while step := self._step():
            out += step
        if len(self._buffer) > MAX_HEAD + 4:
            raise MalformedError("a head, or what follows a request to switch, of that size")
        return bytes(out)

    def answered(self, data: bytes) -> bytes:
        """The server's first words after a request to switch. Returns: what may go to the server now. Raises: as :meth:`feed`."""
        self._state = _State.OPAQUE if data.startswith(self._switches) else _State.HEAD
        return self.feed(b"")

    # --- one piece after the other ---------------------------------------------------------------------------------------------------

    def _step(self) -> bytes:
        """The next piece that may go on; empty: it takes more bytes first."""
        match self._state:
            case _State.HEAD:
                return self._take_head()
            case _State.BODY | _State.CHUNK:
                piece = self._cut(min(self._left, len(self._buffer)))
                self._left -= len(piece)
                self._end_of_body()
                return piece
            case _State.CHUNK_SIZE:
                return self._take_chunk_size()
            case _State.CHUNK_END:
                line = self._take_line()
                if line and line != b"\r\n":
                    raise MalformedError("a chunk is longer than it said")
                self._state = _State.CHUNK_SIZE if line else self._state
                return line
            case _State.TRAILER:
                return self._take_trailer()
            case _State.SWITCHING:
                return b""
            case _State.OPAQUE:
                return self._cut(len(self._buffer))

    def _end_of_body(self) -> None:
        if self._left == 0:
            self._state = _State.HEAD if self._state is _State.BODY else _State.CHUNK_END

    def _take_head(self) -> bytes:
        if self._buffer[:2] == b"\r\n":  # empty lines between requests are passed over by servers
            return self._cut(2)
        end = self._buffer.find(b"\r\n\r\n", max(0, self._searched - 3))
        self._searched = len(self._buffer)
        if end < 0:
            return b""
        if end > MAX_HEAD:
            raise MalformedError("a head of that size")
        piece = self._cut(end + 4)
        head = _parse_head(piece[:-4])
        for host in head.hosts:
            self._check(host)
        self._switches = head.switches
        if head.switches:
            self._state = _State.SWITCHING
        elif head.length is None:
            self._state = _State.CHUNK_SIZE
        elif head.length:
            self._state, self._left = _State.BODY, head.length
        return piece

    def _take_chunk_size(self) -> bytes:
        line = self._take_line()
        if line:
            found = _CHUNK_SIZE.fullmatch(line[:-2])
            if not found:
                raise MalformedError("not the size of a chunk")
            self._left = int(found["size"], 16)
            self._state = _State.CHUNK if self._left else _State.TRAILER
        return line

    def _take_trailer(self) -> bytes:
        line = self._take_line()
        if line == b"\r\n":
            self._state = _State.HEAD
        elif line and not _HEADER.fullmatch(line[:-2]):
            raise MalformedError("not a trailer")
        return line

    def _take_line(self) -> bytes:
        end = self._buffer.find(b"\n", 0, _MAX_LINE)
        if end < 0:
            if len(self._buffer) >= _MAX_LINE:
                raise MalformedError("a line of that size")
            return b""
        if self._buffer[end - 1 : end] != b"\r":
            raise MalformedError("a line ends in half a line break")
        return self._cut(end + 1)

    def _cut(self, size: int) -> bytes:
        piece = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._searched = 0
        return piece


def _parse_head(head: bytes) -> _Head:
    first, *rest = head.split(b"\r\n")
    request = _REQUEST_LINE.fullmatch(first)
    if not request:
        raise MalformedError("not a request line of HTTP/1")
    headers = [_parse_header(line) for line in rest]
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) > 1 or (not hosts and request["minor"] == b"1"):
        raise MalformedError("not exactly one Host")
    length = _body_length(headers)
    if length is None and request["minor"] == b"0":
        raise MalformedError("chunks, in HTTP/1.0")
    return _Head(
        hosts=tuple(host for host in (*map(_host_name, hosts), _target_host(request["method"], request["target"])) if host),
        length=length,
        switches=_switches(request["method"], headers) if length == 0 else b"",
    )


def _parse_header(line: bytes) -> tuple[bytes, bytes]:
    header = _HEADER.fullmatch(line)
    if not header:
        raise MalformedError("not a header")
    return header["name"].lower(), header["value"].strip(b" \t")


def _body_length(headers: list[tuple[bytes, bytes]]) -> int | None:
    """Bytes of the body; None: chunked."""
    lengths = [value for name, value in headers if name == b"content-length"]
    codings = [value.lower() for name, value in headers if name == b"transfer-encoding"]
    if codings:
        if lengths or codings != [b"chunked"]:
            raise MalformedError("not one way to tell the length of a body")
        return None
    if len(lengths) > 1 or (lengths and not re.fullmatch(rb"[0-9]{1,18}", lengths[0])):
        raise MalformedError("not one length of a body")
    return int(lengths[0]) if lengths else 0


def _switches(method: bytes, headers: list[tuple[bytes, bytes]]) -> bytes:
    """How the answer begins after which the connection is no longer HTTP/1; empty: that was not asked for.

    HTTP/2 without TLS is not among it: its requests name hosts that nobody here reads.
    """
    if method == b"CONNECT":
        return b"HTTP/1.1 2"
    upgrades = b",".join(value.lower() for name, value in headers if name == b"upgrade")
    return b"HTTP/1.1 101" if upgrades and b"h2c" not in upgrades else b""


def _target_host(method: bytes, target: bytes) -> str:
    """The host in a request's target, which servers prefer to the header; empty: it has none."""
    if method == b"CONNECT":
        return _host_name(target)
    if target.startswith(b"/") or target == b"*":
        return ""
    authority = _AUTHORITY.match(target)
    if not authority:
        raise MalformedError("not a target")
    return _host_name(authority["host"])


def _host_name(value: bytes) -> str:
    """``host[:port]`` without the port."""
    found = _HOST.fullmatch(value.decode("latin-1"))
    if not found:
        raise MalformedError("not a host")
    return found["name"]
