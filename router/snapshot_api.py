"""The part of ``cove.v1.Control`` that is about memory snapshots and paused sandboxes: decodes requests, calls, encodes answers."""

from __future__ import annotations

from collections.abc import Mapping

from cove.wire import control_pb2, snapshot_pb2
from router.auth import Caller
from router.grpc_edge import Method
from router.pausing import Pausing
from router.sandboxes import Sandboxes
from router.snapshots.messages import to_snapshot_info
from router.snapshots.restores import Restores
from router.snapshots.shelf import Shelf
from router.snapshots.taking import Taking


class SnapshotApi:
    """Methods by name; one instance per router."""

    def __init__(self, taking: Taking, shelf: Shelf, restores: Restores, pausing: Pausing, sandboxes: Sandboxes) -> None:
        self._taking, self._shelf, self._restores, self._pausing, self._sandboxes = taking, shelf, restores, pausing, sandboxes

    def methods(self) -> Mapping[str, Method[Caller]]:
        """By name in the service."""
        return {
            "SandboxSnapshot": self.take,
            "SandboxRestore": self.restore,
            "SandboxPause": self.pause,
            "SandboxResume": self.resume,
            "SnapshotGet": self.get,
            "SnapshotList": self.list_,
            "SnapshotDelete": self.delete,
            "SnapshotPin": self.pin,
            "SnapshotVerify": self.verify,
        }

    async def take(self, caller: Caller, request: snapshot_pb2.SandboxSnapshotRequest) -> snapshot_pb2.SnapshotInfo:
        record = await self._sandboxes.get(caller, request.sandbox_id)
        return to_snapshot_info(await self._taking.take(record, request))

    async def restore(self, caller: Caller, request: snapshot_pb2.SandboxRestoreRequest) -> control_pb2.SandboxCreateResponse:
        return await self._sandboxes.created(await self._restores.restore(caller, request))

    async def pause(self, caller: Caller, request: snapshot_pb2.SandboxPauseRequest) -> snapshot_pb2.SandboxPauseResponse:
        await self._pausing.pause(caller, request.sandbox_id, request.timeout_s)
        return snapshot_pb2.SandboxPauseResponse()

    async def resume(self, caller: Caller, request: snapshot_pb2.SandboxResumeRequest) -> snapshot_pb2.SandboxResumeResponse:
        await self._pausing.resume(caller, request.sandbox_id, request.timeout_s)
        return snapshot_pb2.SandboxResumeResponse()

    async def get(self, caller: Caller, request: snapshot_pb2.SnapshotGetRequest) -> snapshot_pb2.SnapshotInfo:
        return to_snapshot_info(await self._shelf.get(caller, request.snapshot_id))

    async def list_(self, caller: Caller, request: snapshot_pb2.SnapshotListRequest) -> snapshot_pb2.SnapshotListResponse:
        snapshots, cursor = await self._shelf.list_(caller, request)
        return snapshot_pb2.SnapshotListResponse(snapshots=map(to_snapshot_info, snapshots), next_cursor=cursor)

    async def delete(self, caller: Caller, request: snapshot_pb2.SnapshotDeleteRequest) -> snapshot_pb2.SnapshotDeleteResponse:
        await self._shelf.delete(caller, request.snapshot_id)
        return snapshot_pb2.SnapshotDeleteResponse()

    async def pin(self, caller: Caller, request: snapshot_pb2.SnapshotPinRequest) -> snapshot_pb2.SnapshotInfo:
        return to_snapshot_info(await self._shelf.pin(caller, request))

    async def verify(self, caller: Caller, request: snapshot_pb2.SnapshotVerifyRequest) -> snapshot_pb2.SnapshotVerifyResponse:
        await self._shelf.verify(caller, request.snapshot_id)
        return snapshot_pb2.SnapshotVerifyResponse()
