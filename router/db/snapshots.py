"""Memory snapshots as rows, and what every database backend offers for them. All times are Unix seconds, 0 where something is not."""

from __future__ import annotations

from typing import Protocol

import msgspec

from cove.types import AppId, ImageId, NodeId, SandboxId, SnapshotId
from router.db.records import ImageRecord


class SnapshotRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One memory snapshot."""

    snapshot_id: SnapshotId
    workspace: str
    sandbox_id: SandboxId
    """Whose it is."""
    parent_snapshot_id: str = ""
    """What that sandbox was restored from; empty: it was created afresh."""
    app_id: AppId
    """Of that sandbox."""
    image_id: ImageId
    """Its files. Nothing else has this image as its own."""
    node_id: NodeId
    """Where it was taken."""
    taken: bytes
    """``cove.v1.MemorySnapshotResponse``: what the node told of it, checked."""
    digest: str = ""
    """Of the memory's archive in the store; empty: not there yet."""
    diff_id: str = ""
    size_bytes: int = 0
    created_at: float
    expires_at: float = 0
    """0: never."""
    pinned: bool = False
    """Neither expires nor can be deleted."""
    deleted_at: float = 0
    """0: it is there."""
    memory_removed: bool = False
    """Nodes were told to remove the memory of a deleted one."""

    def is_there(self, now: float) -> bool:
        """Whether it is neither deleted nor expired."""
        return not self.deleted_at and (self.pinned or not self.expires_at or now < self.expires_at)


class SnapshotStore(Protocol):
    """Memory snapshots. Deleted ones are found by :meth:`get` and by :meth:`deleted` alone."""

    async def add(self, snapshot: SnapshotRecord, image: ImageRecord) -> SnapshotRecord:
        """Store both in one transaction, with layers that may be known already; nothing if the snapshot's id is known.

        Returns: ``snapshot``, or the one that has its id.
        """

    async def get(self, snapshot_id: str) -> SnapshotRecord | None:
        """By id."""

    async def list_(
        self, workspace: str, *, now: float, sandbox_id: str, after: tuple[float, str] | None, limit: int
    ) -> list[SnapshotRecord]:
        """What is there, newest first; ids break ties.

        Args:    sandbox_id: only those of it; empty: all. after: ``created_at`` and id of the last one already seen.
        """

    async def of_image(self, image_id: str) -> SnapshotId | None:
        """The snapshot whose files an image is."""

    async def pin(self, snapshot_id: SnapshotId, *, pinned: bool, expires_at: float, now: float) -> bool:
        """Change what becomes of it. False: it is not there (any more)."""

    async def delete(self, snapshot_id: SnapshotId, now: float) -> bool:
        """Mark it deleted. False: it is pinned, or was deleted before."""

    async def expire(self, now: float, limit: int) -> list[SnapshotId]:
        """Mark up to ``limit`` expired ones deleted, longest expired first; returns them."""

    async def deleted(self, limit: int) -> list[SnapshotRecord]:
        """Deleted ones for which something can be done now, longest deleted first.

        Their memory waits for sandboxes that were restored from it and have not stopped, the row for those that run on the image.
        """

    async def memory_removed(self, snapshot_id: SnapshotId) -> None:
        """Nodes were told to remove a deleted one's memory."""

    async def forget(self, snapshot_id: SnapshotId) -> bool:
        """Delete the row of a deleted one, and its image. False: sandboxes run on that."""

    async def stored(self, snapshot_id: SnapshotId, *, digest: str, diff_id: str, size_bytes: int) -> None:
        """The store has the memory now."""

    async def unstored(self, expires_after: float, limit: int) -> list[SnapshotRecord]:
        """Those that the store lacks and that do not expire before ``expires_after``, oldest first."""

    async def has_memory(self, snapshot_id: str) -> bool:
        """Whether nodes may have memory of it."""

    async def digests(self) -> set[str]:
        """Of all memory in the store that is or may be used."""
