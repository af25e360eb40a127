"""Processes in a sandbox."""

from __future__ import annotations

import asyncio
import shutil
import signal as signals
from typing import Final, Generic, TypeVar

from cove import _printing
from cove._async.base import Exposed
from cove._async.io_streams import _StreamReader, _StreamWriter
from cove._outputs import Assembler
from cove._transport.connection import Connection
from cove._transport.data import DataPlane
from cove._transport.methods import PROCESS_RESIZE, PROCESS_SIGNAL, PROCESS_WAIT
from cove.exception import ExecTimeoutError, InvalidError
from cove.stream_type import StreamType
from cove.wire import data_pb2

T = TypeVar("T", bound=str | bytes)

POLL_S: Final = 50.0
"""How long one question for the end of something stays open at the server."""

LINK_MARGIN_S: Final = 15.0
"""How much later than asked an answer may come before the connection counts as dead."""

_ENDED: Final = frozenset(
    {
        data_pb2.PROCESS_STATE_EXITED,
        data_pb2.PROCESS_STATE_SIGNALED,
        data_pb2.PROCESS_STATE_TIMED_OUT,
        data_pb2.PROCESS_STATE_LOST,
    }
)


class _ContainerProcess(Exposed, Generic[T]):
    """A process in a sandbox, started by ``Sandbox.exec`` or found again by ``Sandbox.process``."""

    def __init__(
        self,
        plane: DataPlane,
        status: data_pb2.ProcessStatus,
        assembler: type[Assembler[T]],
        *,
        stdout: StreamType = StreamType.PIPE,
        stderr: StreamType = StreamType.PIPE,
    ) -> None:
        self._plane = plane
        self._status = status
        self._stdout = _StreamReader(plane, status.exec_id, 1, assembler(), kind=stdout)
        self._stderr = _StreamReader(plane, status.exec_id, 2, assembler(), kind=stderr)
        self._stdin = _StreamWriter(plane, status.exec_id, offset=status.stdin_offset)
        self._printers: list[asyncio.Task[None]] = []

    @property
    def exec_id(self) -> str:
        """The process's id, for ``Sandbox.process``."""
        return self._status.exec_id

    @property
    def stdout(self) -> _StreamReader[T]:
        """Its standard output."""
        return self._stdout

    @property
    def stderr(self) -> _StreamReader[T]:
        """Its standard error; empty for a process on a terminal, which has one output."""
        return self._stderr

    @property
    def stdin(self) -> _StreamWriter:
        """Its standard input."""
        return self._stdin

    @property
    def returncode(self) -> int:
        """The exit code: 128 + n after signal n, 124 after its own timeout, 137 if the sandbox ended under it.

        Raises:  InvalidError: it is not known yet.
        """
        if self._status.state not in _ENDED:
            raise InvalidError("The process is not known to have ended.", remedy="Call wait() or poll() first.")
        return self._status.exit_code

    async def wait(self) -> int:
        """Wait for the end of the process and return its exit code. What goes to ``StreamType.STDOUT`` is printed by then.

        Raises:
            ExecTimeoutError: the process reached its timeout and was killed. Its output so far can still be read; ``returncode`` is 124.
        """
        while self._status.state not in _ENDED:
            await self._ask(POLL_S)
        if self._printers:
            await asyncio.wait(self._printers)
        if self._status.state == data_pb2.PROCESS_STATE_TIMED_OUT:
            raise self._timed_out()
        return self._status.exit_code

    async def poll(self) -> int | None:
        """The exit code if the process has ended, None while it runs."""
        if self._status.state not in _ENDED:
            await self._ask(0.0)
        return self._status.exit_code if self._status.state in _ENDED else None

    async def signal(self, signal: int, tree: bool = False) -> None:
        """Send a signal.

        Args:
            signal: such as ``signal.SIGTERM``; numbers are Linux's.
            tree: send it to everything that the process has started as well.
        Raises:
            ConflictError: the process has ended.
        """
        if not isinstance(signal, int) or not 1 <= signal <= 64:
            raise InvalidError(f"{signal!r} is not a signal.", remedy=f"Pass a number, such as signal.SIGTERM ({int(signals.SIGTERM)}).")
        request = data_pb2.ProcessSignalRequest(sandbox_id=self._plane.sandbox_id, exec_id=self.exec_id, signal=int(signal), tree=tree)
        await self._plane.call(PROCESS_SIGNAL, request)

    async def resize(self, rows: int, columns: int) -> None:
        """Change the size of the process's terminal.

        Raises:  InvalidError: not a size, or the process has no terminal.
        """
        request = data_pb2.ProcessResizeRequest(sandbox_id=self._plane.sandbox_id, exec_id=self.exec_id, pty=terminal_size(rows, columns))
        await self._plane.call(PROCESS_RESIZE, request)

    def _print(self, connection: Connection) -> None:
        """Start printing what goes to the client's standard output. The connection owns the tasks, ``wait`` waits for them."""
        for reader in (self._stdout, self._stderr):
            if reader._kind is StreamType.STDOUT:
                work = _printing.print_output(reader._raw())
                self._printers.append(connection.errand(work, what=f"printing output of {self.exec_id}"))

    async def _ask(self, timeout_s: float) -> None:
        request = data_pb2.ProcessWaitRequest(sandbox_id=self._plane.sandbox_id, exec_id=self.exec_id, timeout_s=timeout_s)
        self._status = await self._plane.call(PROCESS_WAIT, request, deadline_s=timeout_s + LINK_MARGIN_S)

    def _timed_out(self) -> ExecTimeoutError:
        status = self._status
        return ExecTimeoutError(
            f"The process reached its timeout of {status.timeout_s:g} s and was killed.",
            remedy="Its output so far can be read from stdout and stderr.",
            context={
                "exec_id": status.exec_id,
                "timeout_s": f"{status.timeout_s:g}",
                "stdout_bytes": str(status.stdout_bytes),
                "stderr_bytes": str(status.stderr_bytes),
            },
        )


def local_terminal_size() -> data_pb2.PtySize:
    """The size of the client's terminal, or 24 x 80 where there is none."""
    size = shutil.get_terminal_size()
    return terminal_size(size.lines, size.columns)


def terminal_size(rows: int, columns: int) -> data_pb2.PtySize:
    """The wire's form of a terminal's size.

    Raises:  InvalidError: not between 1 and 65,535.
    """
    for number in (rows, columns):
        if not isinstance(number, int) or not 1 <= number <= 65_535:
            raise InvalidError(f"{rows!r} x {columns!r} is not the size of a terminal.", remedy="Give rows and columns from 1 to 65535.")
    return data_pb2.PtySize(rows=rows, columns=columns)
