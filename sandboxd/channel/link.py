"""Moves bytes between the daemon and one guest over two FIFOs. Knows nothing of frames."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

PIPE_BYTES: Final = 1024 * 1024
"""Capacity asked for each FIFO: the system-wide limit for unprivileged users, and enough for four full frames."""

SHORT_READ_BYTES: Final = 64 * 1024
"""Taken from the guest at once while little comes."""

LOW_WATER_BYTES: Final = 512 * 1024
"""Unwritten bytes below which :meth:`Link.drained` lets bulk senders go on."""


class Fifos:
    """The two FIFOs of one guest, opened read-write so that neither side's death closes them.

    Source: fifo(7): a FIFO opened O_RDWR never blocks and never reports a hang-up (Linux).
    """

    def __init__(self, directory: Path) -> None:
        self.to_guest_path = directory / "to-guest"
        self.from_guest_path = directory / "from-guest"
        self.to_guest = -1
        self.from_guest = -1

    @classmethod
    def of(cls, *, to_guest: int, from_guest: int) -> Fifos:
        """Wrap descriptors that are open already; they become this object's to close."""
        fifos = cls(Path("/nonexistent"))
        fifos.to_guest, fifos.from_guest = to_guest, from_guest
        return fifos

    def make(self) -> None:
        """Create both; they must not exist."""
        os.mkfifo(self.to_guest_path, 0o600)
        os.mkfifo(self.from_guest_path, 0o600)

    def open(self) -> None:
        flags = os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC
        self.to_guest = os.open(self.to_guest_path, flags)
        self.from_guest = os.open(self.from_guest_path, flags)
        for fd in (self.to_guest, self.from_guest):
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def close(self) -> None:
        """Close both; idempotent. The FIFOs stay."""
        for fd in (self.to_guest, self.from_guest):
            if fd >= 0:
                os.close(fd)
        self.to_guest = self.from_guest = -1


class Link:
    """Non-blocking transport over open :class:`Fifos`.

    Args:
        receive: called with every chunk from the guest. An exception from it stops the reading and goes to ``failed``.
        failed: called once with what broke the link.
    """

    def __init__(self, fifos: Fifos, receive: Callable[[bytes], None], failed: Callable[[Exception], None]) -> None:
        self._fifos = fifos
        self._receive = receive
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._unwritten: deque[memoryview] = deque()
        self._unwritten_bytes = 0
        self._read_bytes = SHORT_READ_BYTES
        self._waiting_for_room = False
        self._closed = False
        self._when_drained: list[Callable[[], None]] = []
        self._drained = asyncio.Event()
        self._drained.set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._loop.add_reader(fifos.from_guest, self._on_readable)

    def write(self, data: bytes) -> None:
        """Queue bytes; what the FIFO takes at once goes out at once."""
        if self._closed or not data:
            return
        self._unwritten.append(memoryview(data))
        self._unwritten_bytes += len(data)
        if not self._waiting_for_room:
            self._on_writable()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Nothing is received during the block; what comes waits in the FIFO."""
        self._loop.remove_reader(self._fifos.from_guest)
        try:
            yield
        finally:
            if not self._closed:
                self._loop.add_reader(self._fifos.from_guest, self._on_readable)

    def replace_unwritten(self, data: bytes) -> None:
        """Drop what is still queued and write ``data`` instead (a reset)."""
        self._unwritten.clear()
        self._unwritten_bytes = 0
        self.write(data)

    async def drained(self) -> None:
        """Return when little is queued (or the link is closed): bulk senders wait here between frames."""
        await self._drained.wait()

    @property
    def crowded(self) -> bool:
        """Whether so much is queued that bulk senders should wait."""
        return self._unwritten_bytes >= LOW_WATER_BYTES

    def call_when_drained(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once, when nothing is queued any more; for senders that are no coroutines."""
        self._when_drained.append(callback)

    async def flushed(self) -> None:
        """Return when everything written so far is in the FIFO, where it outlives the daemon (or the link is closed)."""
        await self._empty.wait()

    def close(self) -> None:
        """Stop moving bytes; idempotent. The FIFOs stay open: they are their owner's to close."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._fifos.from_guest)
        if self._waiting_for_room:
            self._loop.remove_writer(self._fifos.to_guest)
        self._unwritten.clear()
        self._when_drained.clear()
        self._drained.set()
        self._empty.set()

    def _on_readable(self) -> None:
        try:
            data = os.read(self._fifos.from_guest, self._read_bytes)
            # Room for a megabyte costs more than a short message itself: it grows and shrinks with what comes.
            self._read_bytes = PIPE_BYTES if len(data) == self._read_bytes else SHORT_READ_BYTES
            self._receive(data)
        except BlockingIOError:
            return
        except Exception as error:
            self.close()
            self._failed(error)

    def _on_writable(self) -> None:
        while self._unwritten:
            head = self._unwritten[0]
            try:
                written = os.write(self._fifos.to_guest, head)
            except BlockingIOError:
                self._wait_for_room()
                return
            except OSError as error:
                self.close()
                self._failed(error)
                return
            self._unwritten_bytes -= written
            if written == len(head):
                self._unwritten.popleft()
            else:
                self._unwritten[0] = head[written:]
        if self._waiting_for_room:
            self._waiting_for_room = False
            self._loop.remove_writer(self._fifos.to_guest)
        self._drained.set()
        self._empty.set()
        waiting, self._when_drained = self._when_drained, []
        for callback in waiting:
            callback()

    def _wait_for_room(self) -> None:
        if not self._waiting_for_room:
            self._waiting_for_room = True
            self._loop.add_writer(self._fifos.to_guest, self._on_writable)
        self._empty.clear()
        if self._unwritten_bytes < LOW_WATER_BYTES:
            self._drained.set()
        else:
            self._drained.clear()
