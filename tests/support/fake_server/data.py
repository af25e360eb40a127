"""The fake node: processes. A few commands do something by themselves; all others wait for the test."""

from __future__ import annotations

from collections.abc import AsyncIterator

from cove.exception import AlreadyExistsError, ConflictError, ConnectionError, InvalidError, NotFoundError
from cove.wire import common_pb2, data_pb2, data_pb2_grpc, network_pb2
from tests.support.fake_server.edge import check_bearer, streaming, unary
from tests.support.fake_server.files import FakeFiles
from tests.support.fake_server.world import Process, Sandbox, World


class FakeData(FakeFiles, data_pb2_grpc.DataPlaneServicer):
    """cove.v1.DataPlane."""

    def __init__(self, world: World) -> None:
        self.world = world

    def check(self, metadata: dict[str, str | bytes]) -> None:
        check_bearer(self.world, metadata.get("authorization"))

    @unary
    async def ProcessStart(self, request: data_pb2.ProcessStartRequest) -> data_pb2.ProcessStatus:
        sandbox = self.sandbox(request.sandbox_id)
        if sandbox.info.status.state == common_pb2.SANDBOX_STATE_STOPPED:
            raise ConflictError("The sandbox has ended.", code="sandbox_ended")
        content = request.SerializeToString(deterministic=True)
        if request.exec_id in sandbox.processes:
            if sandbox.processes[request.exec_id].request != content:
                raise AlreadyExistsError("Another process has this id.")
            return sandbox.processes[request.exec_id].status
        if request.argv[0] == b"missing":
            raise InvalidError("exec: no such file", code="exec_failed", context={"errno": "2"})
        status = data_pb2.ProcessStatus(
            exec_id=request.exec_id, state=data_pb2.PROCESS_STATE_RUNNING, argv=request.argv, timeout_s=request.timeout_s, pid=7
        )
        process = sandbox.processes[request.exec_id] = Process(status, content)
        _perform(process, [arg.decode("utf-8", "replace") for arg in request.argv])
        return data_pb2.ProcessStatus(exec_id=request.exec_id, state=data_pb2.PROCESS_STATE_RUNNING, argv=request.argv)

    @unary
    async def ProcessList(self, request: data_pb2.ProcessListRequest) -> data_pb2.ProcessListResponse:
        processes = self.sandbox(request.sandbox_id).processes.values()
        return data_pb2.ProcessListResponse(processes=[process.status for process in processes if request.include_ended or process.running])

    @unary
    async def ProcessGet(self, request: data_pb2.ProcessGetRequest) -> data_pb2.ProcessStatus:
        process = self.process(request.sandbox_id, request.exec_id)
        process.status.stdin_offset = len(process.stdin)
        return process.status

    @unary
    async def ProcessWait(self, request: data_pb2.ProcessWaitRequest) -> data_pb2.ProcessStatus:
        process = self.process(request.sandbox_id, request.exec_id)
        if request.timeout_s and process.running:
            await process.changed.wait(request.timeout_s)
        return process.status

    @streaming
    async def ProcessOutput(self, request: data_pb2.ProcessOutputRequest) -> AsyncIterator[data_pb2.OutputChunk]:
        output = self.process(request.sandbox_id, request.exec_id).outputs[request.fd]
        offset, sent, token = request.offset, 0, self.world.token
        while True:
            start, data = output.piece(offset, self.world.chunk_bytes)
            if data:
                check_bearer(self.world, f"Bearer {token}")  # also in mid-stream
                if sent == self.world.cut_after:
                    if self.world.end_early:
                        return
                    raise ConnectionError("cut")
                yield data_pb2.OutputChunk(offset=start, data=data)
                offset, sent = start + len(data), sent + 1
            elif output.ended:
                yield data_pb2.OutputChunk(offset=max(offset, len(output.data)), eof=True)
                return
            elif not request.follow:
                return
            else:
                await output.changed.wait()

    @unary
    async def ProcessInput(self, request: data_pb2.ProcessInputRequest) -> data_pb2.ProcessInputResponse:
        process = self.process(request.sandbox_id, request.exec_id)
        if not process.running or process.status.stdin_closed:
            raise ConflictError("The process does not read any more.", code="stdin_closed")
        if request.offset > len(process.stdin):
            raise InvalidError("gap", code="out_of_range", context={"expected_offset": str(len(process.stdin))})
        fresh = request.data[len(process.stdin) - request.offset :]
        process.stdin += fresh
        if process.status.argv[0] == b"cat":
            process.write(fresh)
        if request.eof:
            process.status.stdin_closed = True
            if process.status.argv[0] == b"cat":
                process.end()
        return data_pb2.ProcessInputResponse(offset=len(process.stdin))

    @unary
    async def ProcessSignal(self, request: data_pb2.ProcessSignalRequest) -> data_pb2.ProcessSignalResponse:
        process = self.process(request.sandbox_id, request.exec_id)
        process.signals.append((request.signal, request.tree))
        process.end(128 + request.signal, data_pb2.PROCESS_STATE_SIGNALED)
        return data_pb2.ProcessSignalResponse()

    @unary
    async def ProcessResize(self, request: data_pb2.ProcessResizeRequest) -> data_pb2.ProcessResizeResponse:
        self.process(request.sandbox_id, request.exec_id).sizes.append((request.pty.rows, request.pty.columns))
        return data_pb2.ProcessResizeResponse()

    @streaming
    async def NetworkLog(self, request: network_pb2.NetworkLogRequest) -> AsyncIterator[network_pb2.NetworkLogChunk]:
        sandbox, sent = self.sandbox(request.sandbox_id), 0
        for record in sorted(sandbox.network, key=lambda record: record.cursor):
            if record.cursor > request.cursor and not (self.world.cut_after and sent == self.world.cut_after):
                sent += 1
                yield network_pb2.NetworkLogChunk(records=[record])
        if self.world.cut_after and sent == self.world.cut_after:
            raise ConnectionError("the line was cut")

    @unary
    async def NetworkGet(self, request: network_pb2.NetworkGetRequest) -> network_pb2.NetworkSummary:
        sandbox = self.sandbox(request.sandbox_id)
        used = [record for record in sandbox.network if record.verdict == network_pb2.NETWORK_VERDICT_ALLOWED]
        return network_pb2.NetworkSummary(
            policy=sandbox.spec.network,
            cidrs=[f"{record.address}/32" for record in used if not record.name],
            domains=[record.name for record in used if record.name],
            allowed=len(used),
            denied=len(sandbox.network) - len(used),
        )

    def sandbox(self, sandbox_id: str) -> Sandbox:
        if sandbox_id not in self.world.sandboxes:
            raise NotFoundError(f"There is no sandbox {sandbox_id!r}.")
        return self.world.sandboxes[sandbox_id]

    def process(self, sandbox_id: str, exec_id: str) -> Process:
        processes = self.sandbox(sandbox_id).processes
        if exec_id not in processes:
            raise NotFoundError(f"There is no process {exec_id!r}.")
        return processes[exec_id]


def _perform(process: Process, argv: list[str]) -> None:
    match argv:
        case ["true"]:
            process.end()
        case ["false"]:
            process.end(1)
        case ["echo", *words]:
            process.write(" ".join(words).encode() + b"\n")
            process.end()
