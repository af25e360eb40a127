"""The process behind a terminal: started once, whoever asks, and reached at its node."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncGenerator, Callable
from typing import Final

from cove.exception import AlreadyExistsError, ConflictError, NotFoundError
from cove.types import SandboxId
from cove.wire import control_pb2, data_pb2
from router.changes import Changes
from router.db.protocol import Database
from router.db.records import SandboxRecord, TerminalRecord
from router.node_client import NodeClient
from router.node_sandbox import NodeSandbox
from router.nodes import NodeTable
from router.terminal.messages import Exited, Size

STDOUT: Final = 1
"""A terminal has one output."""

SANDBOX_END_S: Final = 5.0
"""How long the news that the sandbox has ended may be behind the process's."""

ENVIRONMENT: Final = {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
"""What the page's terminal can do."""

_ENDED: Final = {
    data_pb2.PROCESS_STATE_SIGNALED: "The command was killed by a signal.",
    data_pb2.PROCESS_STATE_TIMED_OUT: "The command ran into its timeout.",
    data_pb2.PROCESS_STATE_LOST: "The sandbox ended.",
}


class Connections:
    """What is needed to reach any terminal's process; one instance per router."""

    def __init__(self, db: Database, nodes: NodeTable, client: NodeClient, changes: Changes, *, clock: Callable[[], float]) -> None:
        self.db, self.clock, self._changes = db, clock, changes
        self._nodes, self._client = nodes, client

    async def sandbox(self, sandbox_id: SandboxId) -> NodeSandbox:
        """Raises: NotFoundError: it is kept no longer."""
        record = await self._record(sandbox_id)
        return await self._client.sandbox(self._nodes.get(record.node_id), sandbox_id)

    async def end_of(self, sandbox_id: SandboxId) -> str:
        """How a sandbox ended that is known to have, for people; empty if the news does not come."""
        with self._changes.watch(sandbox_id) as changed, contextlib.suppress(TimeoutError, NotFoundError):
            async with asyncio.timeout(SANDBOX_END_S):
                while (record := await self._record(sandbox_id)).observed.reason is None:
                    await changed.wait()
                    changed.clear()
            return f"{record.observed.reason.replace('_', ' ')}: {record.observed.message}"
        return ""

    async def _record(self, sandbox_id: SandboxId) -> SandboxRecord:
        record = await self.db.sandboxes.get(sandbox_id)
        if record is None:
            raise NotFoundError(f"The sandbox {sandbox_id} is no longer kept.")
        return record


class TerminalProcess:
    """One terminal's process. All methods raise cove.exception.Error."""

    def __init__(self, record: TerminalRecord, connections: Connections) -> None:
        self._record, self._connections = record, connections
        self._was_started = record.started_at > 0

    async def open(self, size: Size) -> data_pb2.ProcessStatus:
        """Start it if nobody has; how it is. One that has ended and is forgotten is not started again."""
        sandbox = await self._sandbox()
        if self._was_started:
            return await sandbox.process(self._record.exec_id)
        try:
            status = await sandbox.start_process(self._request(size))
        except AlreadyExistsError:  # the id is this terminal's alone: started with another size, by who did not live to write it down
            status = await sandbox.process(self._record.exec_id)
        await self._connections.db.terminals.started(self._record.terminal_id, self._connections.clock())
        self._was_started = True
        return status

    def _request(self, size: Size) -> data_pb2.ProcessStartRequest:
        asked = control_pb2.TerminalCreateRequest.FromString(self._record.request)
        return data_pb2.ProcessStartRequest(
            exec_id=self._record.exec_id,
            argv=asked.argv,
            env=ENVIRONMENT,
            workdir=asked.workdir,
            user=asked.user,
            pty=data_pb2.PtySize(rows=size.rows, columns=size.columns),
        )

    async def output(self, offset: int) -> AsyncGenerator[data_pb2.OutputChunk, None]:
        """Output from ``offset`` on, to its end or to where the connection was cut: then without a last chunk with ``eof``."""
        sandbox = await self._sandbox()
        async with contextlib.aclosing(sandbox.output_from(self._record.exec_id, STDOUT, offset)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def write(self, offset: int, data: bytes) -> int:
        """Write input at ``offset``; the next offset."""
        return await (await self._sandbox()).write_input(self._record.exec_id, offset, data)

    async def resize(self, size: Size) -> None:
        """A process that has ended does not mind."""
        with contextlib.suppress(ConflictError):
            await (await self._sandbox()).resize(self._record.exec_id, data_pb2.PtySize(rows=size.rows, columns=size.columns))

    async def wait(self) -> Exited:
        """Wait for the end: the exit code, and how it came to it."""
        status = await (await self._sandbox()).wait(self._record.exec_id)
        text = _ENDED.get(status.state, "")
        if status.state == data_pb2.PROCESS_STATE_LOST:
            text = f"{text} {await self._connections.end_of(self._record.sandbox_id)}".strip()
        return Exited(exit_code=status.exit_code, text=text)

    async def hang_up(self) -> None:
        """What closing a terminal does: SIGHUP to the process and all that it has started. A no-op if it does not run."""
        with contextlib.suppress(ConflictError, NotFoundError):
            await (await self._sandbox()).signal(self._record.exec_id, signal.SIGHUP)

    async def _sandbox(self) -> NodeSandbox:
        return await self._connections.sandbox(self._record.sandbox_id)
