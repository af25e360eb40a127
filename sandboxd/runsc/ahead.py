"""runsc commands that are started ahead of the moment at which they act, while the container still runs.

A runsc process needs some 20 ms before it looks at its arguments: its packages come up, and the kernel takes 10 ms of that to register
a memory barrier. A command whose log is a FIFO stands at opening it, after all of that and before it has looked at any container;
opening the FIFO's other end lets it go.

A command that stands there outlives a daemon that dies: :func:`end_left_behind` is for the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

from sandboxd import programs

SUFFIX: Final = ".gate"
"""Of the FIFOs' names."""

WAITS_S: Final = 3600.0
"""At most so long a command waits to be let go: what is written out before a sandbox is stopped can take minutes."""

_LOG_BYTES: Final = 2**20
"""What a command can say before somebody has to read it; of interest is what it writes to stderr."""


class Ahead:
    """A command that is up, or comes up, and waits."""

    def __init__(self, fifo: Path, finished: asyncio.Task[programs.Finished]) -> None:
        self._fifo, self._finished = fifo, finished

    async def go(self, *, timeout_s: float) -> programs.Finished:
        """Let it act, to its end. Raises: TimeoutError, OSError."""
        fd = os.open(self._fifo, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _LOG_BYTES)
            async with asyncio.timeout(timeout_s):
                return await asyncio.shield(self._finished)
        finally:
            os.close(fd)


@contextlib.asynccontextmanager
async def started_ahead(argv: Sequence[str], fifo: Path) -> AsyncIterator[Ahead]:
    """Start a command whose log is ``fifo``, which is made; at the end of the block both are gone, whether it went or not.

    Raises:  OSError.
    """
    os.mkfifo(fifo, 0o600)
    finished = asyncio.create_task(programs.capture(argv, timeout_s=WAITS_S), name=fifo.name)
    try:
        yield Ahead(fifo, finished)
    finally:
        finished.cancel()
        await asyncio.wait({finished})
        if not finished.cancelled():
            finished.exception()  # whoever let it go was told
        fifo.unlink()


def end_left_behind(directory: Path) -> None:
    """End commands that stand at FIFOs in ``directory``, and remove these. What went on its way already is left to its end.

    Blocks; milliseconds. Nobody may start commands ahead there meanwhile. Raises: OSError.
    """
    for fifo in [path for path in directory.iterdir() if path.suffix == SUFFIX]:
        for pid in _pids():
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                _end_if_it_stands_at(fifo, pid)
        fifo.unlink()


def _end_if_it_stands_at(fifo: Path, pid: int) -> None:
    """Nobody but the caller could let it go, so what is seen of it stays true until it is killed. Raises: as it ends by itself."""
    process = Path(f"/proc/{pid}")
    pidfd = os.pidfd_open(pid)
    try:
        words = (process / "cmdline").read_bytes().split(b"\0")
        if f"--log={fifo}".encode() in words and not _has_open(process, fifo.stat()):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    finally:
        os.close(pidfd)


def _has_open(process: Path, file: os.stat_result) -> bool:
    """Raises: FileNotFoundError: the process is gone."""
    for opened in (process / "fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile: it is still coming up
            if os.path.samestat(opened.stat(), file):
                return True
    return False


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
