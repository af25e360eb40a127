"""Moves the content of files between descriptors: whole, with the holes it has."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator, Sequence
from typing import Final

from snapshots.layers.sparse import Extent, find_extents, may_have_holes

CHUNK_BYTES: Final = 2**20
_FICLONE: Final = 0x40049409
"""Source: linux/fs.h."""
_CANNOT_SHARE: Final = frozenset({errno.ENOTSUP, errno.EXDEV, errno.EINVAL, errno.ENOTTY})


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
            view = view or next(views, view)
            if not view:
                raise OSError(errno.EIO, "there are less data than extents")
            piece, view = view[:length], view[length:]
            write_at(fd, piece, offset)
            offset, length = offset + len(piece), length - len(piece)


def copy_content(source: int, target: int) -> None:
    """Give the empty file ``target`` the content of ``source``: shared where the file system can, with its holes in any case."""
    status = os.fstat(source)
    try:
        fcntl.ioctl(target, _FICLONE, source)
        return
    except OSError as error:
        if error.errno not in _CANNOT_SHARE:
            raise
    extents = find_extents(source, status.st_size) if may_have_holes(status) else [Extent(0, status.st_size)]
    write_extents(target, _views(source, extents), extents, status.st_size)


def _views(fd: int, extents: Sequence[Extent]) -> Iterator[memoryview]:
    """The extents' data in pieces, each good until the next one is asked for. Ends early where the file does."""
    buffer = memoryview(bytearray(CHUNK_BYTES))
    for offset, length in extents:
        while length and (count := os.preadv(fd, [buffer[: min(length, CHUNK_BYTES)]], offset)):
            yield buffer[:count]
            offset, length = offset + count, length - count


def same_content(first: int, second: int) -> bool:
    """Whether two files, of one size, hold the same bytes. Memory: 2 MiB."""
    buffers = memoryview(bytearray(CHUNK_BYTES)), memoryview(bytearray(CHUNK_BYTES))
    offset = 0
    while True:
        counts = [_fill(fd, buffer, offset) for fd, buffer in zip((first, second), buffers, strict=True)]
        if counts[0] != counts[1] or buffers[0][: counts[0]] != buffers[1][: counts[0]]:
            return False
        if counts[0] < CHUNK_BYTES:
            return True
        offset += CHUNK_BYTES


def _fill(fd: int, buffer: memoryview, offset: int) -> int:
    """Read until ``buffer`` is full or the file ends. Returns: the bytes read."""
    filled = 0
    while filled < len(buffer) and (count := os.preadv(fd, [buffer[filled:]], offset + filled)):
        filled += count
    return filled
