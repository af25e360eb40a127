"""Standard streams of this program become those of a process in a sandbox, until that ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import typer

from cove._async.container_process import _ContainerProcess
from cove._async.io_streams import _StreamReader, _StreamWriter
from cove._async.sandbox import _Sandbox
from cove.cli import _sandboxes, _terminal
from cove.exception import ConflictError, Error, ExecTimeoutError, NotFoundError
from cove.types import EXIT_TERMINATED, EXIT_TIMEOUT

STDIN: Final = 0
STDOUT: Final = 1
STDERR: Final = 2

_HANG_UP_S: Final = 2.0
"""How long leaving early tries to tell the process."""

_INTERRUPTED: Final = 128 + signal.SIGINT
_NO_LONGER_READS: Final = ("stdin_closed", "sandbox_ended")


def has_terminal() -> bool:
    """Whether somebody sits at this program: both its input and its output are a terminal."""
    return os.isatty(STDIN) and os.isatty(STDOUT)


async def run_in(
    sandbox: _Sandbox,
    command: Sequence[str],
    *,
    pty: bool | None,
    env: Mapping[str, str] = MappingProxyType({}),
    **options: Any,
) -> int:
    """Run ``command`` in ``sandbox`` with our standard streams, and return its exit code. If the sandbox ends under it, say why.

    Args:
        pty: on a terminal; None where we have one.
        options: more of ``Sandbox.exec``.
    """
    pty = has_terminal() if pty is None else pty
    terminal = {"TERM": os.environ.get("TERM", "xterm-256color")} if pty else {}
    process = await sandbox.exec(*command, text=False, pty=pty, env={**terminal, **env}, **options)
    exit_code = await attach(process, pty=pty)
    if exit_code == EXIT_TERMINATED and (reason := await _sandboxes.end_of(sandbox)):
        typer.echo(f"Error: {reason}", err=True)
    return exit_code


async def attach(process: _ContainerProcess[bytes], *, pty: bool) -> int:
    """Connect our standard streams to ``process`` until it ends, and return its exit code.

    With a ``pty`` the local terminal is raw and passes every key and its size on. Without, the first Ctrl-C goes to the process as SIGINT,
    the second kills it and leaves with 130. Leaving before its end for another reason (output that nobody reads, a signal) hangs it up.
    """
    with contextlib.ExitStack() as stack:
        if pty and os.isatty(STDIN):
            stack.enter_context(_terminal.raw(STDIN))
        interrupts = None if pty else stack.enter_context(_counted_interrupts())
        try:
            timeout = await _relay(process, interrupts)
        except BaseException:
            killed = interrupts is not None and interrupts.count > 1
            await _signal(process, signal.SIGKILL if killed else signal.SIGHUP)
            if killed:
                raise typer.Exit(_INTERRUPTED) from None
            raise
    if timeout is not None:
        typer.echo(f"Error: {timeout.cause}", err=True)
        return EXIT_TIMEOUT
    return process.returncode


async def _relay(process: _ContainerProcess[bytes], interrupts: _Interrupts | None) -> ExecTimeoutError | None:
    """Returns at the end of the process and of its output; the error if its end was its timeout. A terminal has no ``interrupts``."""
    timeout = None
    async with asyncio.TaskGroup() as group:
        inward = [group.create_task(_feed(process.stdin))]
        outward = [group.create_task(_copy(process.stdout, STDOUT))]
        if interrupts is not None:
            inward.append(group.create_task(_pass_on(interrupts, process)))
            outward.append(group.create_task(_copy(process.stderr, STDERR)))
        elif os.isatty(STDIN):
            inward.append(group.create_task(_follow_size(process)))
        try:
            await process.wait()
        except ExecTimeoutError as error:
            timeout = error
        await asyncio.wait(outward)
        for task in inward:
            task.cancel()
    return timeout


async def _feed(stdin: _StreamWriter) -> None:
    source = _terminal.Source(STDIN)
    try:
        while data := await source.read():
            stdin.write(data)
            await stdin.drain()
        stdin.write_eof()
        await stdin.drain()
    except ConflictError as error:
        if error.code not in _NO_LONGER_READS:
            raise


async def _copy(output: _StreamReader[bytes], descriptor: int) -> None:
    sink = _terminal.Sink(descriptor)
    async for data in output:
        await sink.write(data)


async def _follow_size(process: _ContainerProcess[bytes]) -> None:
    """Give the process's terminal the size of ours, now and whenever it changes."""
    changed = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGWINCH, changed.set)
    try:
        while True:
            changed.clear()
            try:
                await process.resize(*_terminal.size(STDIN))
            except ConflictError:
                return  # it has ended meanwhile
            await changed.wait()
    finally:
        loop.remove_signal_handler(signal.SIGWINCH)


class _Interrupts:
    """Counts Ctrl-C: the first is the process's, the second cancels the task that waits for it."""

    def __init__(self) -> None:
        self.count = 0
        self.came = asyncio.Event()
        self._task = asyncio.current_task()

    def interrupt(self) -> None:
        self.count += 1
        self.came.set()
        if self.count > 1 and self._task is not None:
            self._task.cancel()


@contextlib.contextmanager
def _counted_interrupts() -> Iterator[_Interrupts]:
    loop = asyncio.get_running_loop()
    interrupts = _Interrupts()
    loop.add_signal_handler(signal.SIGINT, interrupts.interrupt)
    try:
        yield interrupts
    finally:
        loop.remove_signal_handler(signal.SIGINT)


async def _pass_on(interrupts: _Interrupts, process: _ContainerProcess[bytes]) -> None:
    await interrupts.came.wait()
    with contextlib.suppress(ConflictError, NotFoundError):  # it has ended meanwhile
        await process.signal(signal.SIGINT, tree=True)


async def _signal(process: _ContainerProcess[bytes], number: signal.Signals) -> None:
    """On leaving: signal the process and all it has started, if it still runs and can be reached soon."""
    with contextlib.suppress(Error, TimeoutError):
        async with asyncio.timeout(_HANG_UP_S):
            await process.signal(number, tree=True)
