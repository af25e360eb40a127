"""How messages to and from the kernel are put together: headers and attributes. Pure. Source: netlink(7), linux/netlink.h."""

from __future__ import annotations

import os
import struct
from collections.abc import Collection, Iterator
from typing import Final

HEADER: Final = struct.Struct("=IHHII")
"""Length, type, flags, sequence number, port."""
REQUEST: Final = 0x1
ACK: Final = 0x4
EXCLUSIVE: Final = 0x200
DUMP: Final = 0x300
CREATE: Final = 0x400
ERROR: Final = 2
DONE: Final = 3
RECEIVE_BYTES: Final = 1 << 18

_ATTRIBUTE: Final = struct.Struct("=HH")
_TYPE_BITS: Final = 0x3FFF
"""The two above say that the value is nested, or in network byte order."""


def message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """A whole message."""
    return HEADER.pack(HEADER.size + len(body), kind, REQUEST | flags, sequence, 0) + body + bytes(-len(body) % 4)


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded to a multiple of four bytes."""
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def c_string(value: str) -> bytes:
    return value.encode() + b"\0"


def split(datagram: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """(type, flags, sequence number, body) of every message; what is cut short or malformed ends it."""
    offset = 0
    while offset + HEADER.size <= len(datagram):
        length, kind, flags, sequence, _ = HEADER.unpack_from(datagram, offset)
        if length < HEADER.size or offset + length > len(datagram):
            return
        yield kind, flags, sequence, datagram[offset + HEADER.size : offset + length]
        offset += (length + 3) & ~3


def find_attributes(body: bytes, offset: int, wanted: Collection[int]) -> dict[int, bytes]:
    """Values of the ``wanted`` attributes that are in ``body`` from ``offset`` on."""
    return {kind: value for kind, value in _attributes(body, offset) if kind in wanted}


def _attributes(body: bytes, offset: int) -> Iterator[tuple[int, bytes]]:
    while offset + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, offset)
        yield kind & _TYPE_BITS, body[offset + _ATTRIBUTE.size : offset + length]
        offset += (max(length, _ATTRIBUTE.size) + 3) & ~3


def error_of(body: bytes) -> OSError | None:
    """What an ERROR message says; None if it is an acknowledgement."""
    (code,) = struct.unpack_from("=i", body)
    return OSError(-code, os.strerror(-code)) if code else None
