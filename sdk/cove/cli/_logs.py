"""``cove sandbox logs``: what the main process wrote, and the sandbox's own log."""

from __future__ import annotations

import asyncio
from typing import Final, NamedTuple

from cove._async.client import connection_of
from cove._async.sandbox import _Sandbox
from cove._transport.methods import PROCESS_OUTPUT
from cove._transport.plane import Stream
from cove.cli._terminal import Sink
from cove.exception import ServiceError
from cove.types import MAIN_EXEC_ID, ExecId
from cove.wire import data_pb2

SYSTEM_EXEC_ID: Final = ExecId("system")
"""Under this id the log of a sandbox made with ``verbose=True`` is read."""


class Log(NamedTuple):
    """One stream of a sandbox, and where it goes here."""

    exec_id: ExecId
    fd: int
    sink: Sink


async def print_logs(sandbox: _Sandbox, *, follow: bool) -> None:
    """Everything that is kept; with ``follow`` also what comes, until the sandbox ends. Only standard output goes to standard output."""
    output, errors = Sink(1), Sink(2)
    logs = (Log(SYSTEM_EXEC_ID, 1, errors), Log(MAIN_EXEC_ID, 1, output), Log(MAIN_EXEC_ID, 2, errors))
    if not follow:
        for log in logs:
            await _print(sandbox, log, errors, follow=False)
        return
    async with asyncio.TaskGroup() as group:
        for log in logs:
            group.create_task(_print(sandbox, log, errors, follow=True))


async def _print(sandbox: _Sandbox, log: Log, errors: Sink, *, follow: bool) -> None:
    offset = 0

    def request() -> data_pb2.ProcessOutputRequest:
        return data_pb2.ProcessOutputRequest(sandbox_id=sandbox.object_id, exec_id=log.exec_id, fd=log.fd, offset=offset, follow=follow)

    stream = Stream(connection_of(None).data_plane(sandbox.object_id), PROCESS_OUTPUT, request)
    ended = False
    while not ended:
        chunk = await stream.read()
        if chunk is None:
            if not follow:
                return
            await stream.cut(ServiceError("The log stopped before its end."))
            continue
        if chunk.data and chunk.offset > offset:
            await errors.write(f"[cove: {chunk.offset - offset} bytes of output were dropped here]\n".encode())
        data = chunk.data[max(0, offset - chunk.offset) :]
        offset = max(offset, chunk.offset + len(chunk.data))
        await log.sink.write(data)
        ended = chunk.eof
