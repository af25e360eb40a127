"""Moves the content of files between descriptors: whole, with the holes it has."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Final

from snapshots.layers.sparse import Extent

CHUNK_BYTES: Final = 2**20


def write_all(fd: int, data: memoryview) -> None:
    """write(2) until all is written."""
    while data:
        data = data[os.write(fd, data) :]


def write_at(fd: int, data: memoryview, offset: int) -> None:
    """pwrite(2) until all is written."""
    while data:
        written = os.pwrite(fd, data, offset)
        data, offset = data[written:], offset + written


def write_extents(fd: int, views: Iterator[memoryview], extents: Sequence[Extent], size_bytes: int) -> None:
    """Write the extents' data, which ``views`` has one after the other, and leave holes between and after them."""
    os.ftruncate(fd, size_bytes)
    view = memoryview(b"")
    for offset, length in extents:
        while length:
            view = view or next(views)
            piece, view = view[:length], view[length:]
            write_at(fd, piece, offset)
            offset, length = offset + len(piece), length - len(piece)
