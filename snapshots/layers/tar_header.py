"""The 512-byte block that every tar member starts with: ustar as POSIX has it, and GNU's differences on reading. Pure.

Source: POSIX.1-2017, pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format".
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

from cove.exception import InvalidError

BLOCK_BYTES: Final = 512
END: Final = bytes(BLOCK_BYTES)
"""Two of these end an archive."""

_GNU_MAGIC: Final = b"ustar  \0"
_POSIX_MAGIC: Final = b"ustar\x0000"
_CHECKSUM: Final = slice(148, 156)
_BLANK_SUM: Final = 8 * ord(" ")


class Type(IntEnum):
    """The type flag, as its character's number."""

    V7_FILE = 0
    FILE = ord("0")
    HARD_LINK = ord("1")
    SYMLINK = ord("2")
    CHARACTER_DEVICE = ord("3")
    BLOCK_DEVICE = ord("4")
    DIRECTORY = ord("5")
    FIFO = ord("6")
    CONTIGUOUS_FILE = ord("7")
    GNU_LONG_LINK = ord("K")
    GNU_LONG_NAME = ord("L")
    GNU_SPARSE = ord("S")
    PAX_GLOBAL = ord("g")
    PAX = ord("x")


EXTENSIONS: Final = frozenset({Type.PAX, Type.PAX_GLOBAL, Type.GNU_LONG_LINK, Type.GNU_LONG_NAME})
"""Types of headers whose data say something of the member that follows."""


class Header(NamedTuple):
    """One header block, decoded. Numbers may be anything that 12 bytes can say, negative ones included."""

    name: bytes
    type: Type
    mode: int
    uid: int
    gid: int
    size_bytes: int
    mtime_s: int
    linkname: bytes
    major: int
    minor: int


def parse_header(block: bytes) -> Header:
    """Decode one block. Raises: InvalidError: its checksum is wrong, a number is none, or the type is unknown."""
    if sum(block) - sum(block[_CHECKSUM]) + _BLANK_SUM != _number(block[_CHECKSUM]):
        raise InvalidError("This is not a tar archive, or it is damaged: a header has a wrong checksum.")
    try:
        kind = Type(block[156])
    except ValueError:
        raise InvalidError(f"The archive has a member of the unknown type {bytes(block[156:157])!r}.") from None
    if kind in EXTENSIONS:  # every other header of our own archives: what else they say means nothing
        return Header(b"", kind, 0, 0, 0, _number(block[124:136]), 0, b"", 0, 0)
    magic = block[257:265]
    name = _text(block[0:100])
    if magic == _POSIX_MAGIC and block[345]:
        name = _text(block[345:500]) + b"/" + name
    is_device = kind in (Type.CHARACTER_DEVICE, Type.BLOCK_DEVICE) and magic in (_POSIX_MAGIC, _GNU_MAGIC)
    return Header(
        name=name,
        type=kind,
        mode=_number(block[100:108]),
        uid=_number(block[108:116]),
        gid=_number(block[116:124]),
        size_bytes=_number(block[124:136]),
        mtime_s=_number(block[136:148]),
        linkname=_text(block[157:257]),
        major=_number(block[329:337]) if is_device else 0,
        minor=_number(block[337:345]) if is_device else 0,
    )


def format_header(header: Header) -> bytes:
    """Encode one POSIX block. Every field must fit: what does not belongs in a PAX header before it, and 0 or a cut name here."""
    fields = (
        header.name.ljust(100, b"\0"),
        b"%07o\0" % header.mode,
        b"%07o\0" % header.uid,
        b"%07o\0" % header.gid,
        b"%011o\0" % header.size_bytes,
        b"%011o\0" % header.mtime_s,
        b" " * 8,
        bytes([header.type]),
        header.linkname.ljust(100, b"\0"),
        _POSIX_MAGIC,
        bytes(64),
        b"%07o\0" % header.major,
        b"%07o\0" % header.minor,
    )
    block = b"".join(fields).ljust(BLOCK_BYTES, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def padding(size_bytes: int) -> int:
    """Zeros after a member's data."""
    return -size_bytes % BLOCK_BYTES


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _number(field: bytes) -> int:
    """Octal digits, or GNU's base 256 for what they cannot hold."""
    if field[0] in (0x80, 0xFF):
        return int.from_bytes(field[1:], "big", signed=field[0] == 0xFF)
    digits = field.strip(b" \0")
    if not digits.isdigit():  # int() would take signs and underscores
        digits = field.partition(b"\0")[0].strip(b" ")
        if digits and not digits.isdigit():
            raise InvalidError("The archive is damaged: a header has a number that is none.")
    try:
        return int(digits or b"0", 8)
    except ValueError:
        raise InvalidError("The archive is damaged: a header has a number that is not octal.") from None
