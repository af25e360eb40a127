"""Output of a process on disk: the first bytes and the last bytes are kept, all are counted.

One spool is two sparse files beside each other: ``<name>.head`` holds offsets below ``head_bytes``; ``<name>.tail`` starts with the total
count (8 bytes, little-endian) and goes on as a ring of ``tail_bytes`` for everything later. Neither exists before it is needed. A writer is
never blocked by a reader, and a full disk costs output, not the process.
"""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

_TOTAL: Final = struct.Struct("<Q")

CHUNK_BYTES: Final = 256 * 1024
"""Largest piece that :meth:`Spool.read` returns."""


class Spool:
    """One output stream.

    Args:
        path: without suffix; its directory exists.
        head_bytes, tail_bytes: how much is kept of the beginning and of the end.
    """

    def __init__(self, path: Path, *, head_bytes: int, tail_bytes: int) -> None:
        self._head_path = path.with_name(path.name + ".head")
        self._tail_path = path.with_name(path.name + ".tail")
        self._head_bytes = head_bytes
        self._tail_bytes = tail_bytes
        self._head_fd = -1
        self._tail_fd = -1
        self._lost = (0, 0)
        self._changed: list[asyncio.Future[None]] = []
        self.ended = False
        """No more output will come."""
        self.total = self._stored_total()
        """Bytes of output so far, dropped ones included."""

    def _stored_total(self) -> int:
        try:
            with self._tail_path.open("rb") as tail:
                return int(_TOTAL.unpack(tail.read(_TOTAL.size))[0])
        except (FileNotFoundError, struct.error):
            pass
        try:
            return self._head_path.stat().st_size
        except FileNotFoundError:
            return 0

    # --- writing ---------------------------------------------------------------------------------------------------------------------

    def append(self, offset: int, data: bytes | memoryview) -> None:
        """Take output that starts at ``offset``.

        Bytes already here are skipped (a guest sends again after a reset); a gap is counted as dropped. Never raises for a full disk: what
        does not fit is dropped and counted.
        """
        view = memoryview(data)
        if offset < self.total:
            view = view[self.total - offset :]
        elif offset > self.total:
            self._lose(offset)
        if not len(view):
            return
        try:
            self._store(view)
        except OSError:
            self._lose(self.total + len(view))
        else:
            self.total += len(view)
        self._wake()

    def _lose(self, until: int) -> None:
        """Count bytes that are not kept. Adjacent losses are one; of several, what lies between is given up too."""
        start = self._lost[0] if self._lost[1] else self.total
        self._lost = (start, until)
        self.total = until

    def _store(self, view: memoryview) -> None:
        in_head = max(0, min(len(view), self._head_bytes - self.total))
        if in_head:
            if self._head_fd < 0:
                self._head_fd = os.open(self._head_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            _write_all(self._head_fd, view[:in_head], self.total)
        rest = view[in_head:]
        if not len(rest):
            return
        if self._tail_fd < 0:
            self._tail_fd = os.open(self._tail_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        end = self.total + len(view)
        kept = rest[-self._tail_bytes :]
        at = end - len(kept)
        while len(kept):
            place = (at - self._head_bytes) % self._tail_bytes
            piece = kept[: self._tail_bytes - place]
            _write_all(self._tail_fd, piece, _TOTAL.size + place)
            at += len(piece)
            kept = kept[len(piece) :]
        os.pwrite(self._tail_fd, _TOTAL.pack(end), 0)

    def end(self) -> None:
        """Nothing follows; readers that follow come to their end."""
        self.ended = True
        self._wake()

    def close(self) -> None:
        """Give the descriptors back; the files stay and can be read again. Idempotent."""
        for fd in (self._head_fd, self._tail_fd):
            if fd >= 0:
                os.close(fd)
        self._head_fd = self._tail_fd = -1

    def remove(self) -> None:
        """Forget the output. Idempotent."""
        self.close()
        self._head_path.unlink(missing_ok=True)
        self._tail_path.unlink(missing_ok=True)

    # --- reading ---------------------------------------------------------------------------------------------------------------------

    def read(self, offset: int, max_bytes: int = CHUNK_BYTES) -> tuple[int, bytes]:
        """The first kept bytes at or after ``offset``.

        Returns: where they start (beyond ``offset`` if bytes between were dropped) and the bytes; empty if there are none yet.
        """
        lost_from, lost_until = self._lost
        if lost_from <= offset < lost_until:
            offset = lost_until
        if offset >= self.total:
            return offset, b""
        known = lost_from if offset < lost_from else self.total
        if offset < self._head_bytes:
            data = _read_file(self._head_path, min(max_bytes, min(self._head_bytes, known) - offset), offset)
            if data:
                return offset, data
        start = max(offset, self._head_bytes, self.total - self._tail_bytes)
        place = (start - self._head_bytes) % self._tail_bytes
        size = min(max_bytes, self.total - start, self._tail_bytes - place)
        return start, _read_file(self._tail_path, size, _TOTAL.size + place)

    async def follow(self, offset: int) -> AsyncIterator[tuple[int, bytes]]:
        """Pieces from ``offset`` on, as they come, until :meth:`end`."""
        while True:
            start, data = self.read(offset)
            if data:
                offset = start + len(data)
                yield start, data
            elif self.ended:
                return
            else:
                offset = max(offset, start)
                await self.changed()

    async def changed(self) -> None:
        """Return at the next append or end."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._changed.append(future)
        try:
            await future
        finally:
            if future in self._changed:
                self._changed.remove(future)

    def _wake(self) -> None:
        waiting, self._changed = self._changed, []
        for future in waiting:
            if not future.done():
                future.set_result(None)


def _write_all(fd: int, view: memoryview, offset: int) -> None:
    while len(view):
        written = os.pwrite(fd, view, offset)
        view = view[written:]
        offset += written


def _read_file(path: Path, size: int, offset: int) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return b""
    try:
        return os.pread(fd, size, offset)
    finally:
        os.close(fd)
