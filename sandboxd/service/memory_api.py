"""The part of the node API that is about memory snapshots and paused sandboxes."""

from __future__ import annotations

from cove.exception import ConflictError, InvalidError, UnimplementedError
from cove.wire import common_pb2, snapshot_pb2
from sandboxd.assembly import MemoryOrder
from sandboxd.layers.cache import check_layer_id
from sandboxd.lifecycle import State
from sandboxd.memory import MemoryCache
from sandboxd.memory.cache import check_snapshot_id
from sandboxd.node import Node
from sandboxd.service.auth import Gate
from sandboxd.service.convert import MAX_LAYERS, memory_of, sandbox_status, spec_of
from sandboxd.service.edge import Context, authorization, unary


class MemoryApi:
    """Methods of cove.v1.Node. A node without ``memory`` (a simulated one) keeps none."""

    def __init__(self, node: Node, gate: Gate, memory: MemoryCache | None) -> None:
        self._node = node
        self._gate = gate
        self._cache = memory

    @property
    def _memory(self) -> MemoryCache:
        if self._cache is None:
            raise UnimplementedError("This node keeps no memory snapshots.", remedy="Its sandboxes are simulated.")
        return self._cache

    @unary
    async def MemorySnapshot(self, request: snapshot_pb2.MemorySnapshotRequest, context: Context) -> snapshot_pb2.MemorySnapshotResponse:
        self._gate.router(authorization(context))
        if len(request.merge_layer_ids) > MAX_LAYERS:
            raise InvalidError(f"{len(request.merge_layer_ids)} layers cannot become one.")
        order = MemoryOrder(
            snapshot_id=check_snapshot_id(request.snapshot_id),
            layer_id=check_layer_id(request.layer_id),
            merge=list(request.merge_layer_ids),
        )
        manifest = await self._node.take_memory(request.sandbox_id, order)
        return manifest.to_wire(spec_of(self._node.get(request.sandbox_id).entry))

    @unary
    async def Pause(self, request: snapshot_pb2.SandboxPauseRequest, context: Context) -> common_pb2.SandboxStatus:
        self._gate.router(authorization(context))
        return sandbox_status(await self._node.pause(request.sandbox_id))

    @unary
    async def Resume(self, request: snapshot_pb2.SandboxResumeRequest, context: Context) -> common_pb2.SandboxStatus:
        self._gate.router(authorization(context))
        return sandbox_status(await self._node.resume(request.sandbox_id))

    @unary
    async def MemoryStore(self, request: snapshot_pb2.MemoryStoreRequest, context: Context) -> snapshot_pb2.MemoryRef:
        self._gate.router(authorization(context))
        stored = await self._memory.store(request.snapshot_id)
        return snapshot_pb2.MemoryRef(
            snapshot_id=request.snapshot_id, digest=stored.digest, diff_id=stored.diff_id, size_bytes=stored.size_bytes
        )

    @unary
    async def MemoryList(self, request: snapshot_pb2.MemoryListRequest, context: Context) -> snapshot_pb2.MemoryListResponse:
        self._gate.router(authorization(context))
        return snapshot_pb2.MemoryListResponse(snapshot_ids=self._memory.list_())

    @unary
    async def MemoryRemove(self, request: snapshot_pb2.MemoryRemoveRequest, context: Context) -> snapshot_pb2.MemoryRemoveResponse:
        self._gate.router(authorization(context))
        users = [
            sandbox.sandbox_id
            for sandbox in self._node
            if sandbox.state is not State.STOPPED and sandbox.entry.restore and sandbox.entry.restore.snapshot_id == request.snapshot_id
        ]
        if users:
            raise ConflictError(
                f"{len(users)} sandboxes run on the snapshot, {users[0]} for one.", remedy="Remove it when they have ended."
            )
        await self._memory.remove(request.snapshot_id)
        return snapshot_pb2.MemoryRemoveResponse()

    @unary
    async def MemoryVerify(self, request: snapshot_pb2.MemoryVerifyRequest, context: Context) -> snapshot_pb2.MemoryVerifyResponse:
        self._gate.router(authorization(context))
        await self._memory.verify(memory_of(request.memory))
        return snapshot_pb2.MemoryVerifyResponse()
