"""Runs other programs from the daemon: quickly, bounded in time, and never left behind.

``asyncio.create_subprocess_exec`` on uvloop forks, which costs a daemon with 100 MB of memory 10 to 30 ms with its loop stopped;
``subprocess.Popen`` uses vfork (1 ms). What is waited for here is the process's pidfd.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import Sequence
from typing import Final, NamedTuple

from snapshots.children import ended, memory_file

MAX_OUTPUT_BYTES: Final = 1024 * 1024
"""Of what a captured program wrote, this much is looked at."""

NICENESS: Final = 10
"""Programs yield to the daemon: however many containers come up, it goes on answering."""


class Finished(NamedTuple):
    """A program that has ended. ``code`` is negative for a signal, as subprocess has it."""

    code: int
    stdout: bytes
    stderr: bytes


async def run(
    argv: Sequence[str], *, timeout_s: float, stdin: int = subprocess.DEVNULL, stdout: int = subprocess.DEVNULL, stderr: int
) -> int:
    """Run a program to its end; descriptors are the caller's.

    Returns: its exit code, negative for a signal.
    Raises:  TimeoutError: it was killed. OSError: it cannot be started. On cancellation it is killed, too.
    """
    process = subprocess.Popen(  # noqa: ASYNC220  # vfork: the block is the point
        argv, stdin=stdin, stdout=stdout, stderr=stderr, process_group=0
    )
    try:
        os.setpriority(os.PRIO_PROCESS, process.pid, NICENESS)
        async with asyncio.timeout(timeout_s):
            await ended(process.pid)
    finally:
        with contextlib.suppress(ProcessLookupError):
            if process.poll() is None:
                process.kill()
        process.wait()  # at most the time a killed process needs to die
    return process.returncode


async def capture(argv: Sequence[str], *, timeout_s: float) -> Finished:
    """Run a program to its end with empty input, keeping what it writes. Raises: as :func:`run`."""
    with memory_file("stdout") as stdout, memory_file("stderr") as stderr:
        code = await run(argv, timeout_s=timeout_s, stdout=stdout, stderr=stderr)
        return Finished(code, os.pread(stdout, MAX_OUTPUT_BYTES, 0), os.pread(stderr, MAX_OUTPUT_BYTES, 0))
