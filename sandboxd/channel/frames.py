"""Frames: a header of 20 bytes and a payload. Pure."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final, NamedTuple

from sandboxd.channel.fields import ProtocolViolation

MAX_PAYLOAD: Final = 262_144
INITIAL_WINDOW: Final = 262_144
MARKER_BYTES: Final = 32
PREAMBLE: Final = b"COVE GUEST V1\r\n\0"

_HEADER: Final = struct.Struct("<IIBBHQ")
HEADER_BYTES: Final = _HEADER.size


class FrameType(IntEnum):
    HELLO = 0x01
    RESET = 0x02
    STATE = 0x03
    PING = 0x04
    PONG = 0x05
    OPEN = 0x10
    REPLY = 0x11
    DATA = 0x12
    EOF = 0x13
    ACK = 0x14
    CONTROL = 0x15
    EVENT = 0x16
    CLOSE = 0x17


class Kind(IntEnum):
    """What a stream carries (channel of OPEN)."""

    PROCESS = 1
    CALL = 2
    FILE_READ = 3
    FILE_WRITE = 4
    TAR_EXTRACT = 5
    TAR_CREATE = 6
    WATCH = 7
    DIAL = 8
    API = 16


class Frame(NamedTuple):
    stream: int
    type: int
    channel: int
    offset: int
    payload: bytes | memoryview


def encode(type_: FrameType, stream: int, channel: int = 0, offset: int = 0, payload: bytes | memoryview = b"") -> bytes:
    """One frame as bytes. The caller keeps ``payload`` within MAX_PAYLOAD."""
    return _HEADER.pack(len(payload), stream, type_, channel, 0, offset) + payload


def split(data: bytes) -> tuple[list[Frame], int]:
    """Take the complete frames off the front of ``data``.

    Returns: the frames, their payloads being views into ``data``, and how many bytes they took.
    Raises:  ProtocolViolation: a length over MAX_PAYLOAD or a reserved field that is not 0.
    """
    frames: list[Frame] = []
    view = memoryview(data)
    at, size = 0, len(data)
    while size - at >= HEADER_BYTES:
        length, stream, type_, channel, reserved, offset = _HEADER.unpack_from(view, at)
        if length > MAX_PAYLOAD:
            raise ProtocolViolation(f"frame of {length} bytes")
        if reserved:
            raise ProtocolViolation(f"reserved field is {reserved}")
        end = at + HEADER_BYTES + length
        if end > size:
            break
        frames.append(Frame(stream, type_, channel, offset, view[at + HEADER_BYTES : end]))
        at = end
    return frames, at
