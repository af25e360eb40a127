"""Constants and payloads of docs/guest-protocol.md, for the plain host side in ``guest_driver``: written from the page alone."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

PREAMBLE: Final = b"COVE GUEST V1\r\n\0"
HEADER: Final = struct.Struct("<IIBBHQ")
MAX_PAYLOAD: Final = 262_144
INITIAL_WINDOW: Final = 262_144
WINDOW: Final = 1 << 20
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

HELLO, RESET, STATE, PING, PONG = 0x01, 0x02, 0x03, 0x04, 0x05
OPEN, REPLY, DATA, EOF, ACK, CONTROL, EVENT, CLOSE = 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17
PROCESS, CALL, FILE_READ, FILE_WRITE, TAR_EXTRACT, TAR_CREATE, WATCH, DIAL, API = 1, 2, 3, 4, 5, 6, 7, 8, 16


def text(value: str | bytes) -> bytes:
    """A ``str`` field."""
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<I", len(data)) + data


def list_(values: Iterable[str | bytes]) -> bytes:
    """A ``list<str>`` field."""
    items = [text(value) for value in values]
    return struct.pack("<I", len(items)) + b"".join(items)


def map_(values: Mapping[str, str]) -> bytes:
    """A ``map`` field."""
    return struct.pack("<I", len(values)) + b"".join(text(key) + text(value) for key, value in values.items())


class Fields:
    """Takes fields from the front of a payload; :meth:`end` insists that it is consumed."""

    def __init__(self, payload: bytes) -> None:
        self._payload = payload
        self._position = 0

    def take(self, layout: str) -> tuple[int, ...]:
        """Integers, in :mod:`struct` letters."""
        values = struct.unpack_from("<" + layout, self._payload, self._position)
        self._position += struct.calcsize("<" + layout)
        return values

    def text(self) -> bytes:
        (length,) = self.take("I")
        data = self._payload[self._position : self._position + length]
        assert len(data) == length
        self._position += length
        return data

    def more(self) -> bool:
        return self._position < len(self._payload)

    def end(self) -> None:
        assert not self.more(), self._payload[self._position :]


@dataclass(frozen=True)
class Frame:
    kind: int
    stream: int
    channel: int
    offset: int
    payload: bytes


@dataclass(frozen=True)
class Stat:
    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    inode: int
    links: int

    @classmethod
    def read(cls, fields: Fields) -> Stat:
        return cls(*fields.take("IIIQqQI"))


@dataclass(frozen=True)
class Exit:
    """EVENT 1 of a process, or the end of its STATE."""

    killed: bool
    number: int
    timed_out: bool
    took_ms: int

    @property
    def succeeded(self) -> bool:
        return (self.killed, self.number, self.timed_out) == (False, 0, False)

    @classmethod
    def read(cls, fields: Fields) -> Exit:
        cause, number, flags, took_ms = fields.take("BiBQ")
        return cls(cause == 1, number, bool(flags & 1), took_ms)


@dataclass(frozen=True)
class State:
    """A process as HELLO's STATE frames tell it."""

    stream: int
    exec_id: str
    pid: int
    pty: bool
    stdin_closed: bool
    stdin_taken: int
    held: tuple[int, int]
    exit: Exit | None

    @classmethod
    def read(cls, payload: bytes) -> State:
        fields = Fields(payload)
        (stream,) = fields.take("I")
        exec_id = fields.text().decode()
        pid, flags, stdin_taken, stdout, stderr = fields.take("IBQQQ")
        exit_ = Exit.read(fields) if flags & 2 else None
        fields.end()
        return cls(stream, exec_id, pid, bool(flags & 1), bool(flags & 4), stdin_taken, (stdout, stderr), exit_)


class GuestFailure(OSError):
    """A REPLY or error EVENT: errno and the guest's text."""


def failure(fields: Fields, number: int) -> GuestFailure:
    message = fields.text().decode()
    fields.end()
    return GuestFailure(number, message)


@dataclass
class Exec:
    """A started process and what it wrote so far."""

    stream: int
    pid: int
    output: dict[int, bytearray] = field(default_factory=lambda: {1: bytearray(), 2: bytearray()})
    ended: set[int] = field(default_factory=set)
    exit: Exit | None = None

    @property
    def stdout(self) -> bytes:
        return bytes(self.output[1])

    @property
    def stderr(self) -> bytes:
        return bytes(self.output[2])
