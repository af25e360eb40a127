"""The memory snapshots that there are: looking up, listing, pinning, verifying, deleting."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate
from typing import Final

from cove.exception import ConflictError, NotFoundError, ResourceExhaustedError
from cove.types import is_id
from cove.wire import snapshot_pb2
from router.auth import Caller
from router.convert import from_cursor, to_cursor
from router.db.protocol import Database
from router.db.snapshots import SnapshotRecord
from router.metrics import Metrics
from router.node_client import NodeClient
from router.nodes import Node, NodeTable
from router.snapshots.messages import to_memory_ref
from router.snapshots.taking import check_ttl

MAX_LISTED: Final = 500
DEFAULT_LISTED: Final = 100
MAX_PAGE_BYTES: Final = 2 * 2**20
"""Of a page's records, which one snapshot alone may exceed: what is told of thousands of processes adds up."""

VERIFY_TIMEOUT_S: Final = 600.0


class Shelf:
    """One instance per router. A snapshot of another workspace does not exist for the caller, nor does an expired one."""

    def __init__(self, db: Database, nodes: NodeTable, client: NodeClient, metrics: Metrics, *, clock: Callable[[], float]) -> None:
        self._db, self._nodes, self._client, self._metrics, self._clock = db, nodes, client, metrics, clock
        self.deletions = asyncio.Event()
        """Set when there is something for the sweeper."""

    async def get(self, caller: Caller, snapshot_id: str) -> SnapshotRecord:
        """Raises: NotFoundError: there is none (any more)."""
        snapshot = await self._find(caller, snapshot_id)
        if snapshot is None or not snapshot.is_there(self._clock()):
            raise _no_snapshot(snapshot_id)
        return snapshot

    async def get_even_deleted(self, caller: Caller, snapshot_id: str) -> SnapshotRecord:
        """As :meth:`get`, also for a while after its end: for what began before. Raises: NotFoundError."""
        snapshot = await self._find(caller, snapshot_id)
        if snapshot is None:
            raise _no_snapshot(snapshot_id)
        return snapshot

    async def list_(self, caller: Caller, request: snapshot_pb2.SnapshotListRequest) -> tuple[list[SnapshotRecord], str]:
        """One page, newest first, and the cursor of the next; empty at the end. Raises: InvalidError: no cursor of ours."""
        limit = min(request.limit or DEFAULT_LISTED, MAX_LISTED)
        found = await self._db.snapshots.list_(
            caller.workspace, now=self._clock(), sandbox_id=request.sandbox_id, after=from_cursor(request.cursor), limit=limit + 1
        )
        page = found[: max(1, bisect_right([*accumulate(len(snapshot.taken) for snapshot in found[:limit])], MAX_PAGE_BYTES))]
        return page, to_cursor(page[-1].created_at, page[-1].snapshot_id) if len(found) > len(page) else ""

    async def pin(self, caller: Caller, request: snapshot_pb2.SnapshotPinRequest) -> SnapshotRecord:
        """Let it be pinned or not, and expire ``ttl_s`` from now on (0: never) once it is not. Returns: it, as it is now.

        Raises:  NotFoundError. InvalidError: ``ttl_s`` is out of range.
        """
        ttl_s, now = check_ttl(request.ttl_s), self._clock()
        snapshot = await self.get(caller, request.snapshot_id)
        expires_at = now + ttl_s if ttl_s else 0
        if not await self._db.snapshots.pin(snapshot.snapshot_id, pinned=request.pinned, expires_at=expires_at, now=now):
            raise _no_snapshot(snapshot.snapshot_id)
        return await self.get(caller, snapshot.snapshot_id)

    async def delete(self, caller: Caller, snapshot_id: str) -> None:
        """It is gone for everybody at once; its memory and files are removed in the background. Sandboxes restored from it go on.

        Raises:  NotFoundError. ConflictError: it is pinned.
        """
        snapshot = await self.get(caller, snapshot_id)
        if not await self._db.snapshots.delete(snapshot.snapshot_id, self._clock()):
            await self.get(caller, snapshot_id)  # somebody else was quicker, unless it is there
            raise ConflictError("The snapshot is pinned.", remedy="Unpin it first: `cove snapshot unpin`.")
        self._metrics.count_snapshot("deleted")
        self.deletions.set()

    async def verify(self, caller: Caller, snapshot_id: str) -> None:
        """Have its node compare every byte with what it was, there and in the store; another node, in the store, if that one is away.

        Raises:
            NotFoundError. DataLossError: naming what is damaged.
            ResourceExhaustedError: no node can do it now. ConnectionError: the node did not answer.
        """
        snapshot = await self.get(caller, snapshot_id)
        await self._client.verify_memory(self._verifier(snapshot), to_memory_ref(snapshot), timeout_s=VERIFY_TIMEOUT_S)

    def _verifier(self, snapshot: SnapshotRecord) -> Node:
        home = next((node for node in self._nodes.reachable() if node.node_id == snapshot.node_id), None)
        if home is None and not snapshot.digest:
            raise ResourceExhaustedError("The snapshot is still on its node alone, which does not answer.", remedy="See `cove status`.")
        return home or self._nodes.any_reachable()

    async def _find(self, caller: Caller, snapshot_id: str) -> SnapshotRecord | None:
        snapshot = await self._db.snapshots.get(snapshot_id) if is_id(snapshot_id, "sn") else None
        return snapshot if snapshot is not None and snapshot.workspace == caller.workspace else None


def _no_snapshot(snapshot_id: str) -> NotFoundError:
    return NotFoundError(f"There is no snapshot {snapshot_id[:80]!r}.", remedy="`cove snapshot list` shows what there is.")
