"""Payloads of frames as typed values: what the host sends, and what it accepts from a guest. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import IntEnum, IntFlag
from typing import Final

import msgspec

from sandboxd.channel.fields import ProtocolViolation, Reader, Writer

PROTOCOL_VERSION: Final = 1
_EXEC_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")


class Op(IntEnum):
    """Operations of CALL streams."""

    STAT = 1
    LIST = 2
    MKDIR = 3
    REMOVE = 4
    RENAME = 5
    OPEN = 6
    READ = 7
    WRITE = 8
    SEEK = 9
    FSYNC = 10
    CLOSE = 11
    CHMOD = 12
    SYMLINK = 13
    SYNC = 15
    SET_HOSTNAME = 16


class Scope(IntEnum):
    """Whom a signal reaches."""

    PROCESS = 0
    TREE = 1


class ProcessFlag(IntFlag):
    PTY = 1
    NO_STDIN = 2


class WriteFlag(IntFlag):
    PARENTS = 1
    APPEND = 2


class ProcessRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What OPEN of a PROCESS stream asks for. ``env`` is the whole environment."""

    exec_id: str
    argv: Sequence[bytes]
    env: Mapping[str, str]
    cwd: str
    user: str = ""
    flags: ProcessFlag = ProcessFlag(0)
    rows: int = 0
    columns: int = 0
    timeout_ms: int = 0
    max_tasks: int = 0

    def encode(self) -> bytes:
        writer = Writer().text(self.exec_id).strings(self.argv).map_(self.env).text(self.cwd).text(self.user)
        writer.u8(self.flags).u16(self.rows).u16(self.columns).u64(self.timeout_ms).u32(self.max_tasks)
        return writer.done()


class ProcessExit(msgspec.Struct, frozen=True):
    """EVENT 1 of a PROCESS stream. ``code`` is an exit code, or the signal's number if ``signalled``."""

    signalled: bool
    code: int
    timed_out: bool
    ran_ms: int

    @classmethod
    def read(cls, reader: Reader) -> ProcessExit:
        cause, code, flags, ran_ms = reader.u8(), reader.i32(), reader.u8(), reader.u64()
        if cause > 1 or flags > 1 or not 0 <= code <= 255:
            raise ProtocolViolation(f"exit with cause {cause}, code {code}, flags {flags}")
        return cls(signalled=cause == 1, code=code, timed_out=bool(flags & 1), ran_ms=ran_ms)


class ProcessSeen(msgspec.Struct, frozen=True):
    """STATE: a process the guest knows, as told after a reset."""

    stream: int
    exec_id: str
    pid: int
    pty: bool
    stdin_closed: bool
    stdin_offset: int
    stdout_offset: int
    stderr_offset: int
    exit: ProcessExit | None

    @classmethod
    def read(cls, payload: bytes | memoryview) -> ProcessSeen:
        reader = Reader(payload)
        stream, exec_id, pid, flags = reader.u32(), reader.bytes_(), reader.u32(), reader.u8()
        stdin_offset, stdout_offset, stderr_offset = reader.u64(), reader.u64(), reader.u64()
        exited = ProcessExit.read(reader) if flags & 2 else None
        reader.end()
        if flags > 7 or not _EXEC_ID.fullmatch(exec_id) or stream == 0 or stream % 2:
            raise ProtocolViolation(f"process state with stream {stream}, flags {flags}")
        return cls(stream, exec_id.decode(), pid, bool(flags & 1), bool(flags & 4), stdin_offset, stdout_offset, stderr_offset, exited)


class Hello(msgspec.Struct, frozen=True):
    version: int
    max_payload: int
    states: int

    @classmethod
    def read(cls, payload: bytes | memoryview) -> Hello:
        reader = Reader(payload)
        hello = cls(reader.u32(), reader.u32(), reader.u32())
        reader.end()
        if hello.version != PROTOCOL_VERSION:
            raise ProtocolViolation(f"guest speaks protocol {hello.version}, not {PROTOCOL_VERSION}")
        return hello


class Stat(msgspec.Struct, frozen=True):
    """A file's facts; ``mode`` has the type bits."""

    mode: int
    uid: int
    gid: int
    size_bytes: int
    mtime_ns: int
    inode: int
    links: int

    @classmethod
    def read(cls, reader: Reader) -> Stat:
        return cls(reader.u32(), reader.u32(), reader.u32(), reader.u64(), reader.i64(), reader.u64(), reader.u32())


class Entry(msgspec.Struct, frozen=True):
    """One name in a directory listing."""

    name: bytes
    stat: Stat

    @classmethod
    def read(cls, reader: Reader) -> Entry:
        name = reader.bytes_()
        if not name or len(name) > 255 or b"/" in name or b"\0" in name:
            raise ProtocolViolation("a directory entry's name is not a name")
        return cls(name, Stat.read(reader))


class WatchEvent(msgspec.Struct, frozen=True):
    """A change below a watched path; ``type`` as in the protocol: 1 access, 2 create, 3 modify, 4 remove."""

    type: int
    paths: Sequence[bytes]
    overflow: bool = False

    @classmethod
    def read(cls, event: int, payload: bytes | memoryview) -> WatchEvent:
        reader = Reader(payload)
        if event == 2:
            reader.bytes_()
            reader.end()
            return cls(0, (), overflow=True)
        if event != 1:
            raise ProtocolViolation(f"watch event {event}")
        type_, paths = reader.u8(), reader.list_(Reader.bytes_)
        reader.end()
        if not 1 <= type_ <= 4 or not 1 <= len(paths) <= 2:
            raise ProtocolViolation(f"watch event of type {type_} with {len(paths)} paths")
        return cls(type_, tuple(paths))


class Peer(msgspec.Struct, frozen=True):
    """Who in the sandbox opened an API stream."""

    pid: int
    uid: int
    gid: int

    @classmethod
    def read(cls, payload: bytes | memoryview) -> Peer:
        reader = Reader(payload)
        peer = cls(reader.u32(), reader.u32(), reader.u32())
        reader.end()
        return peer
