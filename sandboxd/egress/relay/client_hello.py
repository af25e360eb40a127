"""The server name in the first message of TLS. Pure.

Source: RFC 8446, 4.1.2 and 5.1 (ClientHello, records), RFC 6066, 3 (server name). What is behind the first ClientHello is encrypted or
the server's own affair; with encrypted ClientHello, the name is the one of the outer.
"""

from __future__ import annotations

import struct
from typing import Final

HANDSHAKE: Final = 0x16
"""First byte of a connection that begins with TLS."""
MAX_HELLO: Final = 16_384
"""Bytes of a ClientHello, records' headers included: post-quantum keys take 2 KB, session tickets some more."""

_CLIENT_HELLO: Final = 1
_SERVER_NAME: Final = 0
_HOST_NAME: Final = 0
_RECORD: Final = struct.Struct("!BHH")
_MAX_RECORD: Final = 2**14

ALERT: Final = 0x15
_FATAL, _ACCESS_DENIED = 2, 49


class MalformedError(Exception):
    """Begins like TLS, and is none."""


class IncompleteError(Exception):
    """More bytes are needed."""


def refusal() -> bytes:
    """What a server says that will not talk to this client; programs show it as "access denied". Source: RFC 8446, 6.2."""
    return _RECORD.pack(ALERT, 0x0303, 2) + bytes([_FATAL, _ACCESS_DENIED])


def server_name(data: bytes | bytearray) -> str:
    """The name that the connection ``data`` begins is for, as it was written; empty: it names none.

    Raises:  IncompleteError: not yet to be said. MalformedError: it is no ClientHello, or one that servers understand differently.
    """
    hello = _Fields(_handshake(data))
    hello.take(2 + 32)  # version, random
    hello.take(hello.number(1))  # session
    hello.take(hello.number(2))  # ciphers
    hello.take(hello.number(1))  # compression
    if not hello.left():
        return ""
    extensions = _Fields(hello.take(hello.number(2)))
    if hello.left():
        raise MalformedError("bytes after the extensions")
    names: list[str] = []
    while extensions.left():
        kind = extensions.number(2)
        content = extensions.take(extensions.number(2))
        if kind == _SERVER_NAME:
            names.append(_host_name(content))
    if len(names) > 1:
        raise MalformedError("two server names")
    return names[0] if names else ""


def _host_name(content: bytes) -> str:
    fields = _Fields(content)
    entries = _Fields(fields.take(fields.number(2)))
    kind, name = entries.number(1), entries.take(entries.number(2))
    if kind != _HOST_NAME or entries.left() or fields.left():
        raise MalformedError("not one host name")
    try:
        return name.decode("ascii")
    except UnicodeDecodeError:
        raise MalformedError("not a host name") from None


def _handshake(data: bytes | bytearray) -> bytes:
    """The ClientHello's body, put together from the records it is spread over."""
    message, at = b"", 0
    while True:
        if len(data) < at + _RECORD.size:
            raise IncompleteError
        kind, version, length = _RECORD.unpack_from(data, at)
        if kind != HANDSHAKE or version >> 8 != 3 or not 0 < length <= _MAX_RECORD:
            raise MalformedError("not a handshake record")
        at += _RECORD.size
        message += bytes(data[at : at + length])
        if message and message[0] != _CLIENT_HELLO:
            raise MalformedError("not a ClientHello")
        if len(message) >= 4:
            size = int.from_bytes(message[1:4], "big")
            if size > MAX_HELLO:
                raise MalformedError("a ClientHello of that size")
            if len(message) >= 4 + size:
                return message[4 : 4 + size]
        at += length


class _Fields:
    """Reads fields in order."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, size: int) -> bytes:
        if size > self.left():
            raise MalformedError("a field runs past its end")
        self._at += size
        return self._data[self._at - size : self._at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")
