"""The local side of a command that runs elsewhere: standard streams without threads, and the terminal's raw mode and size.

Nothing here changes the descriptors' blocking mode: they are shared with the shell that started us.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import select
import termios
import tty
from collections.abc import Callable, Iterator
from typing import Final

READ_BYTES: Final = 256 * 1024
_WRITE_BYTES: Final = select.PIPE_BUF
"""A descriptor that is ready for writing takes this much without blocking; one that is slow must not stop us from reading input."""

_GONE: Final = (errno.EIO, errno.EBADF)
"""Errors of a terminal that was closed, and of a program started without standard input: both are an end of input."""


class Source:
    """Input from a descriptor of any kind."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    async def read(self) -> bytes:
        """What there is now, or comes next; empty at the end. May be cancelled without loss."""
        while True:
            try:
                await _ready(self._descriptor, select.POLLIN)
                return os.read(self._descriptor, READ_BYTES)
            except BlockingIOError:
                continue
            except OSError as error:
                if error.errno in _GONE:
                    return b""
                raise


class Sink:
    """Output to a descriptor of any kind. Several tasks may write; each write stays together."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._writing = asyncio.Lock()

    async def write(self, data: bytes) -> None:
        """Return when all of ``data`` is written.

        Raises:  BrokenPipeError: nobody reads any more.
        """
        async with self._writing:
            left = memoryview(data)
            while left:
                await _ready(self._descriptor, select.POLLOUT)
                with contextlib.suppress(BlockingIOError):
                    left = left[os.write(self._descriptor, left[:_WRITE_BYTES]) :]


def size(descriptor: int) -> tuple[int, int]:
    """Rows and columns of the terminal; 24 x 80 where it does not know (a serial line), since a program cannot do with none."""
    found = os.get_terminal_size(descriptor)
    return found.lines or 24, found.columns or 80


@contextlib.contextmanager
def raw(descriptor: int) -> Iterator[None]:
    """Every key goes through as bytes in the block: no echo, no signals, no lines. Afterwards the terminal is as before."""
    before = termios.tcgetattr(descriptor)
    try:
        tty.setraw(descriptor, termios.TCSANOW)  # keep what was typed ahead
        yield
    finally:
        with contextlib.suppress(termios.error):  # a terminal that is gone needs nothing
            termios.tcsetattr(descriptor, termios.TCSANOW, before)


async def _ready(descriptor: int, event: int) -> None:
    """Wait until an operation would not block, or would fail. Regular files always are: only those that are not reach the event loop."""
    poller = select.poll()
    poller.register(descriptor, event)
    if poller.poll(0):
        return
    loop = asyncio.get_running_loop()
    reads = event == select.POLLIN
    add, remove = (loop.add_reader, loop.remove_reader) if reads else (loop.add_writer, loop.remove_writer)
    ready = loop.create_future()
    add(descriptor, _settle(ready))
    try:
        await ready
    finally:
        remove(descriptor)


def _settle(future: asyncio.Future[None]) -> Callable[[], None]:
    return lambda: None if future.done() else future.set_result(None)
