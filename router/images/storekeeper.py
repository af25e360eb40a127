"""Brings layers from the nodes that made them to the store, and removes what no image needs; in the background, as the records say."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

import msgspec
import structlog

from cove.exception import Error
from cove.types import NodeId
from cove.wire import image_pb2
from router.db.protocol import Database
from router.db.records import LayerRecord
from router.images.manifests import to_layer_ref
from router.node_client import NodeClient
from router.nodes import Node, NodeTable
from snapshots.digest import Digest, parse_digest
from snapshots.gc import Report, collect
from snapshots.lease import Leases
from snapshots.store import Store

log = structlog.get_logger(__name__)

ROUND_S: Final = 30.0
"""Without news: layers whose node was away are tried again so often."""

AT_ONCE: Final = 2
"""Layers being packed at a time: it takes a core each, of machines that have sandboxes to run."""

STORE_TIMEOUT_S: Final = 3600.0
ROUND_LIMIT: Final = 100
KNOWN_LIMIT: Final = 10_000
"""Layers looked through for those that can be stored now: many may wait for a node that is away."""

AUDIT_S: Final = 600.0
"""A layer on a node that no record knows in two looks so far apart is left over from a snapshot that was cut short."""


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
        self._unknown: set[tuple[NodeId, str]] = set()
        self._failed: set[str] = set()
        """Layers that could not be stored last time: others come first."""
        self._audited_at = clock()

    def wake(self) -> None:
        """There is a new layer."""
        self._news.set()

    async def run(self) -> None:
        """Rounds for ever. What fails is logged, and tried again in the next."""
        while True:
            self._news.clear()
            try:
                await self._store_all()
                if self._clock() - self._audited_at >= AUDIT_S:
                    self._audited_at = self._clock()
                    await self._audit()
            except Error as error:
                log.error("layers not looked after", code=error.code, cause=error.cause)
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
        """Remove layers that no image has and blobs that no layer has, both older than ``older_than_s``. Raises: Error."""
        unused = await self._db.images.unused_layers(self._clock() - older_than_s, ROUND_LIMIT)
        removed = 0
        for layer in unused:
            if not dry_run and await self._db.images.forget_layer(layer.layer_id):
                await self._remove_everywhere(layer.layer_id)
                removed += 1
        gone = {layer.digest for layer in unused} if dry_run else set()
        roots = {Digest(digest) for digest in await self._db.images.digests() if digest not in gone}
        report: Report = await collect(self._store, roots, Leases(self._store.backend), grace_s=older_than_s, dry_run=dry_run)
        return Pruned(len(unused) if dry_run else removed, report.removed, report.removed_bytes)

    async def _store_all(self) -> None:
        there = {node.node_id for node in self._nodes.reachable()}
        layers = [layer for layer in await self._db.images.unstored_layers(KNOWN_LIMIT) if layer.node_id in there]
        self._failed &= {layer.layer_id for layer in layers}
        layers.sort(key=lambda layer: layer.layer_id in self._failed)
        async with asyncio.TaskGroup() as group:
            for layer in layers[:ROUND_LIMIT]:
                group.create_task(self._try_store(layer))

    async def _try_store(self, layer: LayerRecord) -> None:
        try:
            await self.store_layer(layer)
        except Error as error:
            self._failed.add(layer.layer_id)
            log.warning("layer not stored", layer=layer.layer_id, node=layer.node_id, code=error.code, cause=error.cause)

    async def _remove_everywhere(self, layer_id: str) -> None:
        for node in self._nodes.reachable():
            await self._remove(node, layer_id)

    async def _audit(self) -> None:
        """Find layers on nodes that no record knows, and remove those that were unknown last time, too."""
        found: set[tuple[NodeId, str]] = set()
        for node in self._nodes.reachable():
            found |= {(node.node_id, layer_id) for layer_id in await self._strays(node)}
        for node_id, layer_id in found & self._unknown:
            log.warning("layer left over, removed", layer=layer_id, node=node_id)
            await self._remove(self._nodes.get(node_id), layer_id)
        self._unknown = found - self._unknown

    async def _strays(self, node: Node) -> set[str]:
        """Layers on the node that no record knows; none if it cannot be asked."""
        try:
            layer_ids = await self._client.list_layers(node)
        except Error as error:
            log.warning("layers not audited", node=node.node_id, code=error.code, cause=error.cause)
            return set()
        return {layer_id for layer_id in layer_ids if not await self._db.images.has_layer(layer_id)}

    async def _remove(self, node: Node, layer_id: str) -> None:
        try:
            await self._client.remove_layer(node, layer_id)
        except Error as error:  # in use, or away: the next audit finds it
            log.info("layer not removed", layer=layer_id, node=node.node_id, code=error.code)
