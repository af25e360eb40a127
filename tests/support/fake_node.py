"""A node without sandboxes: the Node service on a real socket, keeping the contract of node.proto, with levers for failures."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from cove.exception import Error, NotFoundError, ResourceExhaustedError
from cove.types import NodeId
from cove.wire import common_pb2, image_pb2, node_pb2, snapshot_pb2
from cove.wire.errors import abort
from policies.access import bearer, verify_node
from tests.support.fake_layers import FakeLayers
from tests.support.fake_memory import FakeMemory

MIB = 1 << 20


class FakeNode:
    """One simulated node. ``refusal`` makes creates fail; ``gate`` holds them; ``drop_answers`` does the work but loses the answer."""

    def __init__(
        self,
        node_id: str,
        router_address: str,
        join_token: str,
        *,
        cpu_millis: int = 64_000,
        memory_bytes: int = 64 << 30,
        http_url: str = "http://127.0.0.1:1",
        layers: FakeLayers | None = None,
    ) -> None:
        self.node_id = node_id
        self.capacity = common_pb2.Resources(cpu_request_millis=cpu_millis, memory_request_bytes=memory_bytes)
        self.sandboxes: dict[str, common_pb2.SandboxStatus] = {}
        self.specs: dict[str, common_pb2.SandboxSpec] = {}
        self.layers = layers or FakeLayers()
        self.memory = FakeMemory(self.layers, self.specs)
        self.builds: set[str] = set()
        """Sandboxes that were made for builds."""
        self.calls: list[tuple[str, str]] = []
        """(method, sandbox id) of every call, refused ones included."""
        self.refusal: Error | None = None
        self.drop_answers = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.arrived = asyncio.Event()
        """Set when a create came in."""
        self.waiting = 0
        self.pythons = ["3.11"]
        self.proxies: list[str] = []
        self.runsc_builds: list[str] = []
        self.freeing = 0
        self.draining = False
        self.spares: dict[str, str] = {}
        """Shape by sandbox id; told with every report."""
        self.session = ""
        self.sequence = 0
        self.address = ""
        self.http_url = http_url
        self.router_address, self._join_token = router_address, join_token
        self._public_key: Ed25519PublicKey | None = None
        self.server: grpc.aio.Server | None = None

    @property
    def created(self) -> list[str]:
        """Ids of create calls."""
        return [sandbox_id for method, sandbox_id in self.calls if method == "Create"]

    async def listen(self, *extra: grpc.GenericRpcHandler[Any, Any], port: int = 0) -> None:
        """Serve the node API, and ``extra`` services."""
        methods: dict[str, tuple[Callable[[Any], Any], Any]] = {
            "Create": (self._create, node_pb2.NodeCreateRequest),
            "Terminate": (self._terminate, node_pb2.NodeTerminateRequest),
            "Status": (self._status, node_pb2.NodeStatusRequest),
            "List": (self._list, node_pb2.NodeListSandboxesRequest),
            "Pause": (self._pause, snapshot_pb2.SandboxPauseRequest),
            "Resume": (self._resume, snapshot_pb2.SandboxResumeRequest),
            "LayerSnapshot": (self.layers.snapshot, node_pb2.LayerSnapshotRequest),
            "LayerStore": (self.layers.store, node_pb2.LayerStoreRequest),
            "LayerList": (self.layers.list_, node_pb2.LayerListRequest),
            "LayerRemove": (self.layers.remove, node_pb2.LayerRemoveRequest),
            "MemorySnapshot": (self.memory.snapshot, snapshot_pb2.MemorySnapshotRequest),
            "MemoryStore": (self.memory.store, snapshot_pb2.MemoryStoreRequest),
            "MemoryList": (self.memory.list_, snapshot_pb2.MemoryListRequest),
            "MemoryRemove": (self.memory.remove, snapshot_pb2.MemoryRemoveRequest),
            "MemoryVerify": (self.memory.verify, snapshot_pb2.MemoryVerifyRequest),
        }
        handlers = {name: self._handler(name, run, request) for name, (run, request) in methods.items()}
        handlers["Diff"] = grpc.unary_stream_rpc_method_handler(
            self._diff, node_pb2.NodeDiffRequest.FromString, image_pb2.FileChanges.SerializeToString
        )
        self.server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("cove.v1.Node", handlers), *extra))
        bound = self.server.add_insecure_port(f"127.0.0.1:{port}")
        self.address = f"127.0.0.1:{bound}"
        await self.server.start()

    async def stop(self) -> None:
        """Vanish, as a crashed machine does."""
        if self.server is not None:
            await self.server.stop(None)
            self.server = None

    async def register(self, *, router_address: str | None = None) -> None:
        """Join the router."""
        self.router_address = router_address or self.router_address
        request = node_pb2.RegisterRequest(
            node_id=self.node_id,
            grpc_address=self.address,
            http_url=self.http_url,
            capacity=self.capacity,
            version="1",
            runsc_version=self.memory.machine.runsc_version,
            runsc_builds=self.runsc_builds,
            debian_pythons=self.pythons,
            proxies=self.proxies,
        )
        answer = await self.call_registry("Register", request, self._join_token)
        self.session, self.sequence = answer.session_token, 0
        self._public_key = Ed25519PublicKey.from_public_bytes(answer.router_public_key)

    async def report(self, *sandbox_ids: str, complete: bool = False) -> node_pb2.ReportResponse:
        """Send a heartbeat with these sandboxes, or all of them."""
        self.sequence += 1
        ids = list(self.sandboxes) if complete else sandbox_ids
        request = node_pb2.ReportRequest(
            node_id=self.node_id,
            sequence=self.sequence,
            complete=complete,
            sandboxes=[self.sandboxes[item] for item in ids],
            reserved=self._reserved(),
            draining=self.draining,
            freeing=self.freeing,
            spares=node_pb2.SpareList(spares=[node_pb2.Spare(sandbox_id=one, shape=shape) for one, shape in self.spares.items()]),
        )
        answer: node_pb2.ReportResponse = await self.call_registry("Report", request, self.session)
        return answer

    async def call_registry(self, method: str, request: Any, token: str) -> Any:
        """One call of NodeRegistry on a channel of its own."""
        responses: dict[str, Any] = {"Register": node_pb2.RegisterResponse, "Report": node_pb2.ReportResponse}
        async with grpc.aio.insecure_channel(self.router_address) as channel:
            stub: Any = channel.unary_unary(
                f"/cove.v1.NodeRegistry/{method}",
                request_serializer=type(request).SerializeToString,
                response_deserializer=responses[method].FromString,
            )
            return await stub(request, metadata=(("authorization", f"Bearer {token}"),))

    async def run(self, sandbox_id: str) -> None:
        """The container came up."""
        status = self.sandboxes[sandbox_id]
        status.state = common_pb2.SANDBOX_STATE_RUNNING
        status.started_at = time.time()
        status.expires_at = status.started_at + self.specs[sandbox_id].timeout_s
        await self.report(sandbox_id)

    async def end(self, sandbox_id: str, reason: str = "END_REASON_SUCCESS", exit_code: int = 0) -> None:
        """It stopped; tell the router."""
        self.stop_quietly(sandbox_id, reason, exit_code)
        await self.report(sandbox_id)

    def forget(self, sandbox_id: str) -> None:
        """Lose it without a word, as a machine whose disk was replaced."""
        del self.sandboxes[sandbox_id], self.specs[sandbox_id]

    def stop_quietly(self, sandbox_id: str, reason: str, exit_code: int) -> None:
        """It stopped; nobody is told."""
        status = self.sandboxes[sandbox_id]
        status.state = common_pb2.SANDBOX_STATE_STOPPED
        self.layers.images.pop(sandbox_id, None)
        self.memory.users.pop(sandbox_id, None)
        result = common_pb2.SandboxResult(reason=reason, exit_code=exit_code, message="it ended", ended_at=time.time())
        status.result.CopyFrom(result)

    def _reserved(self) -> common_pb2.Resources:
        alive = [spec for item, spec in self.specs.items() if self.sandboxes[item].state != common_pb2.SANDBOX_STATE_STOPPED]
        return common_pb2.Resources(
            cpu_request_millis=sum(spec.resources.cpu_request_millis for spec in alive),
            memory_request_bytes=sum(spec.resources.memory_request_bytes for spec in alive),
        )

    def _handler(self, name: str, run: Callable[[Any], Any], request_class: Any) -> grpc.RpcMethodHandler[Any, Any]:
        async def serve(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            try:
                self._authenticate(context)
                self.calls.append((name, getattr(request, "sandbox_id", "")))
                return await run(request)
            except Error as error:
                await abort(context, error)

        return grpc.unary_unary_rpc_method_handler(
            serve, request_deserializer=request_class.FromString, response_serializer=lambda message: message.SerializeToString()
        )

    async def _diff(self, request: node_pb2.NodeDiffRequest, context: Any) -> AsyncIterator[image_pb2.FileChanges]:
        try:
            self._authenticate(context)
            async for changes in self.layers.diff(request):
                yield changes
        except Error as error:
            await abort(context, error)

    def _authenticate(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        metadata = dict(context.invocation_metadata() or ())
        assert self._public_key is not None, "called before it registered"
        verify_node(bearer(str(metadata.get("authorization"))), self._public_key, node_id=NodeId(self.node_id), now=time.time())

    async def arrived_at_least(self, count: int) -> None:
        """Wait until so many creates came in that did not end at once."""
        while self.waiting < count:
            self.arrived.clear()
            await self.arrived.wait()

    async def _create(self, request: node_pb2.NodeCreateRequest) -> node_pb2.NodeCreateResponse:
        if self.drop_answers or not self.gate.is_set():
            self.waiting += 1
        self.arrived.set()
        await self.gate.wait()
        if request.sandbox_id in self.sandboxes:
            return node_pb2.NodeCreateResponse()
        if self.refusal is not None:
            raise self.refusal
        reserved = self._reserved()
        free = self.capacity.memory_request_bytes - reserved.memory_request_bytes
        if request.spec.resources.memory_request_bytes > free:
            raise ResourceExhaustedError("The node is full.")
        self.memory.begin(request.sandbox_id, request)
        self.layers.begin(request.sandbox_id, request.image)
        if request.build:
            self.builds.add(request.sandbox_id)
        self.specs[request.sandbox_id] = request.spec
        self.sandboxes[request.sandbox_id] = common_pb2.SandboxStatus(sandbox_id=request.sandbox_id, state="SANDBOX_STATE_PENDING")
        if self.drop_answers:
            await asyncio.Event().wait()
        return node_pb2.NodeCreateResponse()

    async def _terminate(self, request: node_pb2.NodeTerminateRequest) -> node_pb2.NodeTerminateResponse:
        status = self._find(request.sandbox_id)
        if status.state != common_pb2.SANDBOX_STATE_STOPPED:
            self.stop_quietly(request.sandbox_id, "END_REASON_TERMINATED", 137)
        return node_pb2.NodeTerminateResponse()

    async def _pause(self, request: snapshot_pb2.SandboxPauseRequest) -> common_pb2.SandboxStatus:
        self.memory.refuse_or_not()
        status = self._find(request.sandbox_id)
        status.paused_at, status.expires_at = time.time(), 0
        return status

    async def _resume(self, request: snapshot_pb2.SandboxResumeRequest) -> common_pb2.SandboxStatus:
        self.memory.refuse_or_not()
        status = self._find(request.sandbox_id)
        status.paused_at, status.expires_at = 0, time.time() + self.specs[request.sandbox_id].timeout_s
        return status

    async def _status(self, request: node_pb2.NodeStatusRequest) -> common_pb2.SandboxStatus:
        return self._find(request.sandbox_id)

    async def _list(self, request: node_pb2.NodeListSandboxesRequest) -> node_pb2.NodeListSandboxesResponse:
        return node_pb2.NodeListSandboxesResponse(sandboxes=self.sandboxes.values())

    def _find(self, sandbox_id: str) -> common_pb2.SandboxStatus:
        if sandbox_id not in self.sandboxes:
            raise NotFoundError(f"no sandbox {sandbox_id}")
        return self.sandboxes[sandbox_id]


@asynccontextmanager
async def fake_node(
    node_id: str, router_address: str, join_token: str, *, extra: Sequence[grpc.GenericRpcHandler[Any, Any]] = (), **options: Any
) -> AsyncIterator[FakeNode]:
    """A node that has joined and reported once."""
    node = FakeNode(node_id, router_address, join_token, **options)
    await node.listen(*extra)
    try:
        await node.register()
        await node.report(complete=True)
        yield node
    finally:
        await node.stop()
