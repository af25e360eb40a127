# Written by `make facade` from cove/_async/container_process.py and its parts: change those, not this.
# It has every method of theirs with signature and documentation, for callers that block and that await: hence its length.
"""Processes in a sandbox."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic

from cove._async.container_process import T, _ContainerProcess
from cove._dual import Face, method, wrap

if TYPE_CHECKING:
    from cove.io_streams import StreamReader, StreamWriter


class ContainerProcess(Face, Generic[T]):
    """A process in a sandbox, started by ``Sandbox.exec`` or found again by ``Sandbox.process``."""

    __slots__ = ()
    _impl: _ContainerProcess[T]

    @property
    def exec_id(self) -> str:
        """The process's id, for ``Sandbox.process``."""
        return self._impl.exec_id

    @property
    def stdout(self) -> StreamReader[T]:
        """Its standard output."""
        result: StreamReader[T] = wrap(self._impl.stdout)
        return result

    @property
    def stderr(self) -> StreamReader[T]:
        """Its standard error; empty for a process on a terminal, which has one output."""
        result: StreamReader[T] = wrap(self._impl.stderr)
        return result

    @property
    def stdin(self) -> StreamWriter:
        """Its standard input."""
        result: StreamWriter = wrap(self._impl.stdin)
        return result

    @property
    def returncode(self) -> int:
        """The exit code: 128 + n after signal n, 124 after its own timeout, 137 if the sandbox ended under it.

        Raises:  InvalidError: it is not known yet.
        """
        return self._impl.returncode

    @method
    async def wait(self) -> int:
        """Wait for the end of the process and return its exit code. What goes to ``StreamType.STDOUT`` is printed by then.

        Raises:
            ExecTimeoutError: the process reached its timeout and was killed. Its output so far can still be read; ``returncode`` is 124.
        """
        return await self._impl.wait()

    @method
    async def poll(self) -> int | None:
        """The exit code if the process has ended, None while it runs."""
        return await self._impl.poll()

    @method
    async def signal(self, signal: int, tree: bool = False) -> None:
        """Send a signal.

        Args:
            signal: such as ``signal.SIGTERM``; numbers are Linux's.
            tree: send it to everything that the process has started as well.
        Raises:
            ConflictError: the process has ended.
        """
        await self._impl.signal(signal, tree)

    @method
    async def resize(self, rows: int, columns: int) -> None:
        """Change the size of the process's terminal.

        Raises:  InvalidError: not a size, or the process has no terminal.
        """
        await self._impl.resize(rows, columns)


__all__ = ["ContainerProcess"]
