"""The data plane: processes of a sandbox, for its clients. Files are in ``file_plane``."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from typing import Final

from cove.exception import InvalidError, RequestSizeError
from cove.types import MAIN_EXEC_ID
from cove.wire import data_pb2, data_pb2_grpc
from sandboxd.node import Node
from sandboxd.processes import Process
from sandboxd.sandbox import NOTES_EXEC_ID, Sandbox
from sandboxd.service.auth import Gate
from sandboxd.service.convert import check_pty, process_request, process_status, wait_s
from sandboxd.service.edge import Context, authorization, streaming, unary
from sandboxd.service.file_plane import FilePlane
from sandboxd.service.network_plane import NetworkPlane
from sandboxd.spool import CHUNK_BYTES, Spool

OnProcess = (
    data_pb2.ProcessGetRequest
    | data_pb2.ProcessWaitRequest
    | data_pb2.ProcessOutputRequest
    | data_pb2.ProcessInputRequest
    | data_pb2.ProcessSignalRequest
    | data_pb2.ProcessResizeRequest
)

MAX_WAIT_S: Final = 60.0
MAX_INPUT_BYTES: Final = 1024 * 1024


class DataPlaneService(FilePlane, NetworkPlane, data_pb2_grpc.DataPlaneServicer):
    """cove.v1.DataPlane."""

    def __init__(self, node: Node, gate: Gate) -> None:
        self._node = node
        self._gate = gate

    def _sandbox(self, sandbox_id: str, context: Context) -> Sandbox:
        """The sandbox that the call may act on. Raises: AuthError, PermissionDeniedError, NotFoundError."""
        self._gate.client(authorization(context), sandbox_id)
        return self._node.get(sandbox_id)

    async def _process(self, request: OnProcess, context: Context) -> tuple[Sandbox, Process]:
        """The process that the call names; the main one, and any that comes with a memory, is waited for while the sandbox starts.

        Raises: NotFoundError.
        """
        sandbox = self._sandbox(request.sandbox_id, context)
        if request.exec_id == MAIN_EXEC_ID and sandbox.entry.command:
            await sandbox.wait_booted()
        else:
            await sandbox.wait_remembered()
        return sandbox, sandbox.processes.get(request.exec_id)

    @unary
    async def ProcessStart(self, request: data_pb2.ProcessStartRequest, context: Context) -> data_pb2.ProcessStatus:
        sandbox = self._sandbox(request.sandbox_id, context)
        if request.exec_id == MAIN_EXEC_ID:
            raise InvalidError(f"The process id {MAIN_EXEC_ID!r} is the main process's.", remedy="Choose another.")
        guest = await sandbox.guest()
        request_hash = hashlib.blake2s(request.SerializeToString(deterministic=True)).hexdigest()
        process = await sandbox.processes.start(guest, process_request(request, sandbox), request_hash)
        sandbox.note(f"Sandbox exec started: {b' '.join(process.started.argv).decode('utf-8', 'replace')}")
        return process_status(process)

    @unary
    async def ProcessList(self, request: data_pb2.ProcessListRequest, context: Context) -> data_pb2.ProcessListResponse:
        sandbox = self._sandbox(request.sandbox_id, context)
        await sandbox.wait_remembered()
        shown = [process for process in sandbox.processes if process.live or request.include_ended]
        return data_pb2.ProcessListResponse(processes=[process_status(process) for process in shown])

    @unary
    async def ProcessGet(self, request: data_pb2.ProcessGetRequest, context: Context) -> data_pb2.ProcessStatus:
        return process_status((await self._process(request, context))[1])

    @unary
    async def ProcessWait(self, request: data_pb2.ProcessWaitRequest, context: Context) -> data_pb2.ProcessStatus:
        _, process = await self._process(request, context)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s(request.timeout_s, MAX_WAIT_S)):
                await process.wait_ended()
        return process_status(process)

    @streaming
    async def ProcessOutput(self, request: data_pb2.ProcessOutputRequest, context: Context) -> AsyncIterator[data_pb2.OutputChunk]:
        sandbox = self._sandbox(request.sandbox_id, context)
        if request.exec_id == MAIN_EXEC_ID and not await sandbox.has_main():
            yield data_pb2.OutputChunk(eof=True)
            return
        spool, pty = await self._output(request, context)
        offset = request.offset
        attached = sandbox.timers.activity() if request.follow and pty else contextlib.nullcontext()
        with attached:
            if request.follow:
                async for start, data in spool.follow(offset):
                    offset = start + len(data)
                    yield data_pb2.OutputChunk(offset=start, data=data)
            else:
                while (piece := spool.read(offset, CHUNK_BYTES))[1]:
                    offset = piece[0] + len(piece[1])
                    yield data_pb2.OutputChunk(offset=piece[0], data=piece[1])
        if spool.ended:
            yield data_pb2.OutputChunk(offset=max(offset, spool.total), eof=True)

    async def _output(self, request: data_pb2.ProcessOutputRequest, context: Context) -> tuple[Spool, bool]:
        """The spool to read, and whether it is a terminal's."""
        if request.exec_id == NOTES_EXEC_ID:
            return self._sandbox(request.sandbox_id, context).notes, False
        _, process = await self._process(request, context)
        return process.spool(request.fd), process.started.pty

    @unary
    async def ProcessInput(self, request: data_pb2.ProcessInputRequest, context: Context) -> data_pb2.ProcessInputResponse:
        if len(request.data) > MAX_INPUT_BYTES:
            raise RequestSizeError(f"Input of {len(request.data)} bytes in one call.", remedy=f"Send at most {MAX_INPUT_BYTES} at a time.")
        sandbox, process = await self._process(request, context)
        sandbox.timers.touch()
        if process.live:
            await sandbox.guest()
        offset = await process.write(request.offset, request.data, eof=request.eof)
        return data_pb2.ProcessInputResponse(offset=offset)

    @unary
    async def ProcessSignal(self, request: data_pb2.ProcessSignalRequest, context: Context) -> data_pb2.ProcessSignalResponse:
        sandbox, process = await self._process(request, context)
        if not 1 <= request.signal <= 64:
            raise InvalidError(f"There is no signal {request.signal}.", remedy="Give a number from 1 to 64.")
        sandbox.processes.signal(await sandbox.guest(), process.exec_id, request.signal, tree=request.tree)
        return data_pb2.ProcessSignalResponse()

    @unary
    async def ProcessResize(self, request: data_pb2.ProcessResizeRequest, context: Context) -> data_pb2.ProcessResizeResponse:
        sandbox, process = await self._process(request, context)
        rows, columns = check_pty(request.pty)
        sandbox.processes.resize(await sandbox.guest(), process.exec_id, rows, columns)
        return data_pb2.ProcessResizeResponse()
