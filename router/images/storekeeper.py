"""Brings layers and memory from the nodes that made them to the store, and removes what no record knows; in the background."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

import msgspec
import structlog

from cove.exception import Error, InvalidError
from cove.types import NodeId
from cove.wire import image_pb2
from router.db.protocol import Database
from router.db.records import LayerRecord
from router.db.snapshots import SnapshotRecord
from router.images.manifests import to_layer_ref
from router.node_client import NodeClient
from router.nodes import NodeTable
from router.upkeep import Backlog, Leftovers
from snapshots.digest import Digest, parse_digest
from snapshots.gc import Report, collect
from snapshots.lease import Leases
from snapshots.store import Store

log = structlog.get_logger(__name__)

ROUND_S: Final = 30.0
"""Without news: what could not be stored, its node being away, is tried again so often."""

AT_ONCE: Final = 2
"""Archives being packed at a time: it takes a core each, of machines that have sandboxes to run."""

STORE_TIMEOUT_S: Final = 3600.0
PRUNE_LIMIT: Final = 100
KNOWN_LIMIT: Final = 10_000
"""Records looked through for those that can be stored now: many may wait for a node that is away."""

AUDIT_S: Final = 600.0
"""What a node has and no record knows in two looks so far apart is left over from a snapshot that was cut short."""

WORTH_STORING_S: Final = 600.0
"""Memory of snapshots that expire sooner stays where it is: those of a fork, for one."""


class Pruned(msgspec.Struct, frozen=True):
    """What a collection removed."""

    layers: int
    blobs: int
    size_bytes: int


class Storekeeper:
    """One instance per router; :meth:`run` is its life."""

    def __init__(self, db: Database, nodes: NodeTable, client: NodeClient, store: Store, *, clock: Callable[[], float]) -> None:
        self._db, self._nodes, self._client, self._store, self._clock = db, nodes, client, store, clock
        self._news = asyncio.Event()
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._layers = Backlog[LayerRecord](nodes, "layer", id_of=lambda layer: layer.layer_id, store=self.store_layer)
        self._memories = Backlog[SnapshotRecord](nodes, "memory", id_of=lambda snapshot: snapshot.snapshot_id, store=self.store_memory)
        self.layers = Leftovers(nodes, "layer", listed=client.list_layers, known=db.images.has_layer, remove=client.remove_layer)
        self.memories = Leftovers(nodes, "memory", listed=client.list_memories, known=db.snapshots.has_memory, remove=client.remove_memory)
        self._audited_at = clock()

    def wake(self) -> None:
        """There is something new to store."""
        self._news.set()

    async def run(self) -> None:
        """Rounds for ever. What fails is logged, and tried again in the next."""
        while True:
            self._news.clear()
            try:
                await self._store_all()
                if self._clock() - self._audited_at >= AUDIT_S:
                    self._audited_at = self._clock()
                    await self.layers.audit()
                    await self.memories.audit()
            except Error as error:
                log.error("store not looked after", code=error.code, cause=error.cause)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ROUND_S):
                    await self._news.wait()

    async def store_layer(self, layer: LayerRecord) -> LayerRecord:
        """Have the layer's node bring it to the store, now.

        Raises:
            NotFoundError: the node lost it. InvalidError: it says nonsense.
            ConnectionError, ResourceExhaustedError: trying again can help.
        """
        if layer.digest:
            return layer
        async with self._slots:
            told = await self._client.store_layer(self._nodes.get(layer.node_id), to_layer_ref(layer), timeout_s=STORE_TIMEOUT_S)
        for digest in (told.digest, told.diff_id):
            parse_digest(digest)
        await self._db.images.layer_stored(layer.layer_id, digest=told.digest, diff_id=told.diff_id, size_bytes=told.size_bytes)
        log.info("layer stored", layer=layer.layer_id, node=layer.node_id, size_bytes=told.size_bytes)
        return msgspec.structs.replace(layer, digest=told.digest, diff_id=told.diff_id, size_bytes=told.size_bytes)

    async def store_memory(self, snapshot: SnapshotRecord) -> None:
        """Have the snapshot's node bring its memory to the store, now. Raises: as :meth:`store_layer`."""
        async with self._slots:
            told = await self._client.store_memory(self._nodes.get(snapshot.node_id), snapshot.snapshot_id, timeout_s=STORE_TIMEOUT_S)
        for digest in (told.digest, told.diff_id):
            parse_digest(digest)
        if told.snapshot_id != snapshot.snapshot_id or not told.size_bytes < 2**62:
            raise InvalidError("The node's answer is about something else than what was asked for.")
        await self._db.snapshots.stored(snapshot.snapshot_id, digest=told.digest, diff_id=told.diff_id, size_bytes=told.size_bytes)
        log.info("memory stored", snapshot=snapshot.snapshot_id, node=snapshot.node_id, size_bytes=told.size_bytes)

    async def store_base(self, base: str, node_id: NodeId) -> LayerRecord:
        """Have a node bring a base that it makes itself to the store. Raises: as :meth:`store_layer`."""
        async with self._slots:
            told = await self._client.store_layer(self._nodes.get(node_id), image_pb2.LayerRef(base=base), timeout_s=STORE_TIMEOUT_S)
        return LayerRecord(
            layer_id="",
            source="build",
            node_id=node_id,
            digest=told.digest,
            diff_id=told.diff_id,
            size_bytes=told.size_bytes,
            created_at=self._clock(),
        )

    async def collect(self, *, older_than_s: float, dry_run: bool) -> Pruned:
        """Remove layers that no image has and blobs that no layer and no snapshot has, all older than ``older_than_s``. Raises: Error."""
        unused = await self._db.images.unused_layers(self._clock() - older_than_s, PRUNE_LIMIT)
        removed = 0
        for layer in unused:
            if not dry_run and await self._db.images.forget_layer(layer.layer_id):
                await self.layers.remove_everywhere(layer.layer_id)
                removed += 1
        gone = {layer.digest for layer in unused} if dry_run else set()
        needed = (await self._db.images.digests() - gone) | await self._db.snapshots.digests()
        roots = set(map(Digest, needed))
        report: Report = await collect(self._store, roots, Leases(self._store.backend), grace_s=older_than_s, dry_run=dry_run)
        return Pruned(len(unused) if dry_run else removed, report.removed, report.removed_bytes)

    async def _store_all(self) -> None:
        await self._layers.work_off(await self._db.images.unstored_layers(KNOWN_LIMIT))
        worth_it = self._clock() + WORTH_STORING_S
        await self._memories.work_off(await self._db.snapshots.unstored(worth_it, KNOWN_LIMIT))
