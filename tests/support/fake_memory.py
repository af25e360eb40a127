"""The memory snapshots of a fake node: node.proto's memory methods, with levers for failures. A sandbox's memory is a text."""

from __future__ import annotations

from cove.exception import ConflictError, DataLossError, Error, NotFoundError
from cove.wire import common_pb2, node_pb2, snapshot_pb2
from tests.support.fake_layers import FakeLayers
from tests.support.fake_levers import Levers


class FakeMemory(Levers):
    """``restore_refusal`` fails creates that go on from memory."""

    def __init__(self, layers: FakeLayers, specs: dict[str, common_pb2.SandboxSpec]) -> None:
        super().__init__()
        self._layers, self._specs = layers, specs
        self.texts: dict[str, str] = {}
        """By sandbox."""
        self.snapshots: dict[str, tuple[str, snapshot_pb2.MemorySnapshotResponse]] = {}
        """Texts by snapshot, and what was told of them."""
        self.taken: list[snapshot_pb2.MemorySnapshotRequest] = []
        self.restored: dict[str, snapshot_pb2.MemoryRef] = {}
        """By sandbox."""
        self.users: dict[str, str] = {}
        """Snapshots by the sandboxes that were restored from them and have not stopped."""
        self.damaged: set[str] = set()
        self.machine = snapshot_pb2.MachineKind(architecture="x86_64", runsc_version="fake", platform="systrap", cpu_features=["sse2"])
        self.restore_refusal: Error | None = None

    def begin(self, sandbox_id: str, request: node_pb2.NodeCreateRequest) -> None:
        """A sandbox starts. Raises: NotFoundError: it goes on from memory that is neither here nor stored."""
        self.texts[sandbox_id] = f"began as {sandbox_id}"
        if not request.HasField("restore"):
            return
        if self.restore_refusal is not None:
            raise self.restore_refusal
        memory = request.restore
        if memory.snapshot_id not in self.snapshots and not memory.digest:
            raise NotFoundError(f"no memory of {memory.snapshot_id}")
        self.restored[sandbox_id] = memory
        self.users[sandbox_id] = memory.snapshot_id
        self.texts[sandbox_id] = self.snapshots[memory.snapshot_id][0] if memory.snapshot_id in self.snapshots else "fetched"

    async def snapshot(self, request: snapshot_pb2.MemorySnapshotRequest) -> snapshot_pb2.MemorySnapshotResponse:
        await self.pass_gate()
        layer = node_pb2.LayerSnapshotRequest(
            sandbox_id=request.sandbox_id, layer_id=request.layer_id, merge_layer_ids=request.merge_layer_ids
        )
        await self._layers.snapshot(layer)
        if request.snapshot_id not in self.snapshots:
            self.taken.append(request)
            self.snapshots[request.snapshot_id] = (self.texts[request.sandbox_id], self._answer(request.sandbox_id))
        await self.answer_or_not()
        return self.snapshots[request.snapshot_id][1]

    async def store(self, request: snapshot_pb2.MemoryStoreRequest) -> snapshot_pb2.MemoryRef:
        self.refuse_or_not()
        if request.snapshot_id not in self.snapshots:
            raise NotFoundError(f"no memory of {request.snapshot_id}")
        digest = self.keep(request.snapshot_id)
        return snapshot_pb2.MemoryRef(snapshot_id=request.snapshot_id, digest=digest, diff_id=digest, size_bytes=1000, machine=self.machine)

    async def list_(self, request: snapshot_pb2.MemoryListRequest) -> snapshot_pb2.MemoryListResponse:
        return snapshot_pb2.MemoryListResponse(snapshot_ids=self.snapshots)

    async def remove(self, request: snapshot_pb2.MemoryRemoveRequest) -> snapshot_pb2.MemoryRemoveResponse:
        if request.snapshot_id in self.users.values():
            raise ConflictError("a sandbox runs on it")
        if self.snapshots.pop(request.snapshot_id, None):
            self.drop(request.snapshot_id)
        return snapshot_pb2.MemoryRemoveResponse()

    async def verify(self, request: snapshot_pb2.MemoryVerifyRequest) -> snapshot_pb2.MemoryVerifyResponse:
        if request.memory.snapshot_id in self.damaged:
            raise DataLossError("pages.img is damaged.", remedy="Take another snapshot.")
        if request.memory.snapshot_id not in self.snapshots and not request.memory.digest:
            raise NotFoundError(f"no memory of {request.memory.snapshot_id}")
        return snapshot_pb2.MemoryVerifyResponse()

    def _answer(self, sandbox_id: str) -> snapshot_pb2.MemorySnapshotResponse:
        spec = common_pb2.SandboxSpec()
        spec.CopyFrom(self._specs[sandbox_id])
        spec.env.clear()
        main = snapshot_pb2.SnapshotProcess(exec_id="main", pid=2, program="python3")
        return snapshot_pb2.MemorySnapshotResponse(stopped_s=0.05, memory_bytes=1 << 20, machine=self.machine, spec=spec, processes=[main])
