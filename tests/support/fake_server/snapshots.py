"""The fake router: memory snapshots. Nothing has memory; who was restored from what is remembered."""

from __future__ import annotations

from cove.exception import ConflictError, DataLossError, NotFoundError
from cove.types import new_id
from cove.wire import common_pb2, control_pb2, snapshot_pb2
from tests.support.fake_server.edge import unary
from tests.support.fake_server.world import Memories, World


class FakeSnapshots:
    """The part of cove.v1.Control that is about memory snapshots."""

    world: World

    @property
    def _memories(self) -> Memories:
        return self.world.memories

    @unary
    async def SandboxSnapshot(self, request: snapshot_pb2.SandboxSnapshotRequest) -> snapshot_pb2.SnapshotInfo:
        self._memories.taken.append(request)
        known = self._memories.by_key.get(request.idempotency_key)
        return known or self._memories.by_key.setdefault(request.idempotency_key, self._memories.add(request.sandbox_id, request.ttl_s))

    @unary
    async def SandboxRestore(self, request: snapshot_pb2.SandboxRestoreRequest) -> control_pb2.SandboxCreateResponse:
        self._memories.restores.append(request)
        self._snapshot(request.snapshot_id)
        if self._memories.room == 0:
            raise ConflictError("Another CPU: avx512 is missing.")
        self._memories.room -= 1
        spec = common_pb2.SandboxSpec(env=request.env, network=request.network, timeout_s=request.timeout_s)
        sandbox = self.world.create(
            control_pb2.SandboxCreateRequest(
                idempotency_key=request.idempotency_key, app_id=request.app_id, name=request.name, tags=request.tags, spec=spec
            )
        )
        if self._memories.restored is not None:
            await self._memories.restored.wait()
        return control_pb2.SandboxCreateResponse(sandbox_id=sandbox.info.sandbox_id, task_id=new_id("ta"), access=self.world.access())

    @unary
    async def SandboxPause(self, request: snapshot_pb2.SandboxPauseRequest) -> snapshot_pb2.SandboxPauseResponse:
        self.world.sandboxes[request.sandbox_id].info.status.paused_at = 1.0
        return snapshot_pb2.SandboxPauseResponse()

    @unary
    async def SandboxResume(self, request: snapshot_pb2.SandboxResumeRequest) -> snapshot_pb2.SandboxResumeResponse:
        self.world.sandboxes[request.sandbox_id].info.status.paused_at = 0
        return snapshot_pb2.SandboxResumeResponse()

    @unary
    async def SnapshotGet(self, request: snapshot_pb2.SnapshotGetRequest) -> snapshot_pb2.SnapshotInfo:
        return self._snapshot(request.snapshot_id)

    @unary
    async def SnapshotList(self, request: snapshot_pb2.SnapshotListRequest) -> snapshot_pb2.SnapshotListResponse:
        known = [info for info in self._memories.known.values() if request.sandbox_id in ("", info.sandbox_id)]
        start = int(request.cursor or 0)
        page = known[start : start + (request.limit or 100)]
        more = start + len(page) < len(known)
        return snapshot_pb2.SnapshotListResponse(snapshots=page, next_cursor=str(start + len(page)) if more else "")

    @unary
    async def SnapshotDelete(self, request: snapshot_pb2.SnapshotDeleteRequest) -> snapshot_pb2.SnapshotDeleteResponse:
        if self._snapshot(request.snapshot_id).pinned:
            raise ConflictError("The snapshot is pinned.", remedy="Unpin it first.")
        del self._memories.known[request.snapshot_id]
        return snapshot_pb2.SnapshotDeleteResponse()

    @unary
    async def SnapshotPin(self, request: snapshot_pb2.SnapshotPinRequest) -> snapshot_pb2.SnapshotInfo:
        info = self._snapshot(request.snapshot_id)
        info.pinned, info.expires_at = request.pinned, request.ttl_s
        return info

    @unary
    async def SnapshotVerify(self, request: snapshot_pb2.SnapshotVerifyRequest) -> snapshot_pb2.SnapshotVerifyResponse:
        if self._snapshot(request.snapshot_id).snapshot_id in self._memories.damaged:
            raise DataLossError("pages.img is damaged.")
        return snapshot_pb2.SnapshotVerifyResponse()

    def _snapshot(self, snapshot_id: str) -> snapshot_pb2.SnapshotInfo:
        if snapshot_id not in self._memories.known:
            raise NotFoundError(f"There is no snapshot {snapshot_id!r}.")
        return self._memories.known[snapshot_id]
