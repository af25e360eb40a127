"""Sparse files: where a file has data, how an archive says so, and the same read back.

Written is GNU's PAX format 1.0: the map stands before the data, so it may be of any length, and a reader that does not know it still sees
a plain file. Read are also 0.1 and the old GNU header. Source: GNU tar manual, "Storing Sparse Files".
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from cove.exception import InvalidError
from snapshots.layers.limits import MAX_EXTENTS
from snapshots.layers.pax import parse_number
from snapshots.layers.tar_header import BLOCK_BYTES, padding

_DAMAGED: Final = "The archive is damaged: the map of a sparse file is malformed."
_OLD_FIRST: Final = (386, 4)
_OLD_MORE: Final = (0, 21)
_OLD_ENTRY_BYTES: Final = 24
_MAP_BYTES_PER_NUMBER: Final = 21

Read = Callable[[int], bytes]


class Extent(NamedTuple):
    """A piece of a file that is no hole."""

    offset: int
    length: int


def find_extents(fd: int, size_bytes: int) -> Sequence[Extent]:
    """Where ``fd`` has data, as its file system tells; an empty piece at the end of a file that ends in a hole, for GNU tar's sake.

    Beyond ``MAX_EXTENTS`` pieces, the rest is one that has the holes as zeros.
    """
    extents: list[Extent] = []
    position = 0
    while position < size_bytes:
        try:
            start = os.lseek(fd, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            extents.append(Extent(size_bytes, 0))
            break
        last = len(extents) == MAX_EXTENTS - 1
        position = size_bytes if last else min(os.lseek(fd, start, os.SEEK_HOLE), size_bytes)
        if start < position:
            extents.append(Extent(start, position - start))
    return extents


def may_have_holes(status: os.stat_result) -> bool:
    """False where the file's blocks cover it, which saves looking."""
    return status.st_blocks * 512 < status.st_size


def format_map(extents: Sequence[Extent]) -> bytes:
    """The map that stands before the data, padded to whole blocks."""
    numbers = (len(extents), *(number for extent in extents for number in extent))
    text = b"".join(b"%d\n" % number for number in numbers)
    return text + bytes(padding(len(text)))


def read_map(read: Read) -> Sequence[Extent]:
    """Read a map of format 1.0 from the start of a member's data, whole blocks of it."""
    text = b""

    def number() -> int:
        nonlocal text
        while b"\n" not in text:
            if len(text) > _MAP_BYTES_PER_NUMBER:
                raise InvalidError(_DAMAGED)
            text += read(BLOCK_BYTES)
        digits, _, text = text.partition(b"\n")
        return parse_number(digits)

    count = number()
    if count > MAX_EXTENTS:
        raise InvalidError(f"The archive has a sparse file of more than {MAX_EXTENTS} pieces.")
    return [Extent(number(), number()) for _ in range(count)]


def parse_map(value: bytes) -> Sequence[Extent]:
    """The map of format 0.1, ``GNU.sparse.map``."""
    numbers = [parse_number(digits) for digits in value.split(b",")]
    if len(numbers) % 2:
        raise InvalidError(_DAMAGED)
    return [Extent(*pair) for pair in zip(numbers[::2], numbers[1::2], strict=True)]


def read_old_map(header: bytes, read: Read) -> tuple[Sequence[Extent], int]:
    """The map in an old GNU header and the blocks that follow it. Returns: the extents and the file's real size."""
    extents = _old_entries(header, *_OLD_FIRST)
    real_size, more = _octal(header[483:495]), header[482]
    while more:
        block = read(BLOCK_BYTES)
        extents += _old_entries(block, *_OLD_MORE)
        more = block[504]
        if len(extents) > MAX_EXTENTS:
            raise InvalidError(f"The archive has a sparse file of more than {MAX_EXTENTS} pieces.")
    return extents, real_size


def _old_entries(block: bytes, start: int, count: int) -> list[Extent]:
    fields = (block[start + n * _OLD_ENTRY_BYTES : start + (n + 1) * _OLD_ENTRY_BYTES] for n in range(count))
    return [Extent(_octal(field[:12]), _octal(field[12:])) for field in fields if field[0]]


def _octal(field: bytes) -> int:
    if field[0] & 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0")
    try:
        return int(digits, 8) if digits.isdigit() else 0
    except ValueError:
        raise InvalidError(_DAMAGED) from None


def check_extents(extents: Sequence[Extent], *, stored_bytes: int, real_bytes: int) -> None:
    """Raises: InvalidError: pieces overlap, lie beyond the file's end, or are not as long as what the archive has of them."""
    ordered = all(first.offset + first.length <= second.offset for first, second in pairwise(extents))
    inside = not extents or extents[-1].offset + extents[-1].length <= real_bytes
    if not ordered or not inside or sum(extent.length for extent in extents) != stored_bytes:
        raise InvalidError(_DAMAGED)


def pax_fields(records: Mapping[bytes, bytes]) -> tuple[bytes | None, int | None]:
    """The real name and size of a sparse file in PAX form; None where the records do not tell."""
    size = records.get(b"GNU.sparse.realsize") or records.get(b"GNU.sparse.size")
    return records.get(b"GNU.sparse.name"), None if size is None else parse_number(size)
