"""Ends snapshots that expired and removes what is left of deleted ones, in the background. Each round looks at the records alone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

import structlog

from cove.exception import Error
from router.db.protocol import Database
from router.db.snapshots import SnapshotRecord
from router.metrics import Metrics
from router.upkeep import Leftovers

log = structlog.get_logger(__name__)

ROUND_S: Final = 30.0
ROUND_LIMIT: Final = 100
"""Snapshots that a round takes up; more make the next one follow at once."""

PATIENCE_S: Final = 600.0
"""How long a deleted snapshot waits for its node; memory on one that comes back later is left over, and found by an audit."""


class Sweeper:
    """One instance per router; :meth:`run` is its life."""

    def __init__(
        self,
        db: Database,
        memories: Leftovers,
        layers: Leftovers,
        metrics: Metrics,
        news: asyncio.Event,
        *,
        clock: Callable[[], float],
    ) -> None:
        """
        Args:
            memories, layers: remove them from nodes.
            news: set when a snapshot was deleted.
        """
        self._db, self._memories, self._layers, self._metrics, self._news = db, memories, layers, metrics, news
        self._clock = clock

    async def run(self) -> None:
        """Rounds for ever. What fails is logged, and tried again in the next."""
        while True:
            self._news.clear()
            try:
                if await self.round():
                    self._news.set()
            except Error as error:
                log.error("snapshots not swept", code=error.code, cause=error.cause)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ROUND_S):
                    await self._news.wait()

    async def round(self) -> bool:
        """Look once; whether there was more than a round takes up. Raises: Error: the database failed."""
        expired = await self._db.snapshots.expire(self._clock(), ROUND_LIMIT)
        for snapshot_id in expired:
            self._metrics.count_snapshot("expired")
            log.info("snapshot expired", snapshot=snapshot_id)
        found = await self._db.snapshots.deleted(ROUND_LIMIT)
        done = [await self._remove(snapshot) for snapshot in found]
        return len(expired) == ROUND_LIMIT or (len(found) == ROUND_LIMIT and any(done))

    async def _remove(self, snapshot: SnapshotRecord) -> bool:
        """Its memory now, its files once no sandbox runs on them. False: it has to wait."""
        if not snapshot.memory_removed:
            free = await self._memories.remove_everywhere(snapshot.snapshot_id)
            if snapshot.node_id not in free and self._clock() - snapshot.deleted_at < PATIENCE_S:
                return False
            await self._db.snapshots.memory_removed(snapshot.snapshot_id)
        image = await self._db.images.get(snapshot.image_id)
        if not await self._db.snapshots.forget(snapshot.snapshot_id):
            return True
        for layer in image.layers if image else ():
            if layer.source == "snapshot" and await self._db.images.forget_layer(layer.layer_id):
                await self._layers.remove_everywhere(layer.layer_id)
        self._metrics.count_snapshot("removed")
        log.info("snapshot removed", snapshot=snapshot.snapshot_id)
        return True
