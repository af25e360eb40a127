"""Runs a program so that nothing of it outlives the call: no process, however it forked, and no mount."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from cove.exception import Error

KEPT_LINES: Final = 12
"""Last lines of a failed program's output that its error carries."""

_KEPT_CHARACTERS: Final = 900
_LINE_LIMIT: Final = 64 * 1024

Progress = Callable[[str], None]


def contained_argv(argv: Sequence[str], *, network: bool = True) -> list[str]:
    """``argv`` in mount and process namespaces that die with the caller, however that dies; with ``network`` off also in an empty netns."""
    namespaces = ["--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc", *([] if network else ["--net"])]
    return ["setpriv", "--pdeathsig", "KILL", "unshare", *namespaces, "--", *argv]


def ignore(line: str) -> None:
    """Progress that nobody wants to see."""


async def run_contained(
    argv: Sequence[str],
    *,
    failure: type[Error],
    what: str = "",
    progress: Progress = ignore,
    network: bool = True,
    env: Mapping[str, str] | None = None,
    stdin: int = asyncio.subprocess.DEVNULL,
) -> None:
    """Run ``argv`` as root, each line of its output to ``progress``. When the call is cancelled, all of it is killed first.

    Args:    what: how the error calls it; the program's name when left out.

    Raises:  ``failure``: it exited with another status than 0, or could not be started.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *contained_argv(argv, network=network),
            env=env,
            stdin=stdin,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=_LINE_LIMIT,
        )
    except FileNotFoundError as error:
        raise failure("setpriv and unshare are not installed.", remedy="Install the package util-linux.") from error
    last: deque[str] = deque(maxlen=KEPT_LINES)
    try:
        async for line in _lines(process):
            last.append(line)
            progress(line)
        code = await process.wait()
    finally:
        if process.returncode is None:
            await asyncio.shield(_kill(process))
    if code:
        said = "\n".join(last)[-_KEPT_CHARACTERS:] or f"it said nothing and exited with status {code}"
        raise failure(f"{what or Path(argv[0]).name} failed: {said}")


async def _kill(process: asyncio.subprocess.Process) -> None:
    """Kill the namespace's first process, which kills all others. unshare(1) ends after them; its own death would not wait."""
    try:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    except FileNotFoundError:
        children = []
    with contextlib.suppress(ProcessLookupError):
        os.kill(int(children[0]) if children else process.pid, signal.SIGKILL)
    await process.wait()


async def _lines(process: asyncio.subprocess.Process) -> AsyncIterator[str]:
    """Output by lines; an endless line comes in pieces."""
    assert process.stdout is not None
    while True:
        try:
            line = await process.stdout.readuntil(b"\n")
        except asyncio.IncompleteReadError as end:
            line = end.partial
        except asyncio.LimitOverrunError as overrun:
            line = await process.stdout.readexactly(overrun.consumed)
        if not line:
            return
        yield line.decode("utf-8", "replace").rstrip("\r\n")
