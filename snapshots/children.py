"""Child processes without asyncio's: waited for by their pidfd, with files in memory for what they write."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator


async def ended(pid: int) -> None:
    """Return when a process has ended. Raises: ProcessLookupError: there is none."""
    pidfd = os.pidfd_open(pid)
    try:
        await pidfd_ended(pidfd)
    finally:
        os.close(pidfd)


async def pidfd_ended(pidfd: int) -> None:
    """Return when the process behind a pidfd has ended. Several may wait, each on a descriptor of its own."""
    loop = asyncio.get_running_loop()
    gone = asyncio.Event()
    loop.add_reader(pidfd, gone.set)
    try:
        await gone.wait()
    finally:
        loop.remove_reader(pidfd)


@contextlib.contextmanager
def memory_file(name: str) -> Iterator[int]:
    """A file that is on no disk, for the block; ``name`` is for who looks at the process's descriptors."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)
