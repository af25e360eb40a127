"""Taking a memory snapshot: a saga of one call to the node and one durable write.

The ids of memory, layer and image follow from the request, so the node, asked again, answers with what it took then, and the write that was
done is not done twice. A router killed in between leaves memory and a layer that no record knows, which the storekeeper's audits remove.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec
import structlog

from cove.exception import NotFoundError
from cove.types import SnapshotId, derived_id
from cove.wire import snapshot_pb2
from policies.limits import out_of_range
from router.db.protocol import Database
from router.db.records import ImageRecord, LayerRecord, SandboxRecord
from router.db.snapshots import SnapshotRecord
from router.images.lineage import lineage_of
from router.images.snapshots import check_moment, request_key
from router.images.storekeeper import Storekeeper
from router.metrics import Metrics
from router.node_client import NodeClient
from router.nodes import NodeTable
from router.snapshots.messages import checked
from router.tasks import Finisher

log = structlog.get_logger(__name__)

MAX_TTL_S: Final = 10 * 366 * 86_400.0


class Taking:
    """One instance per router."""

    def __init__(
        self,
        db: Database,
        nodes: NodeTable,
        client: NodeClient,
        finisher: Finisher,
        keeper: Storekeeper,
        metrics: Metrics,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._db, self._nodes, self._client, self._finisher = db, nodes, client, finisher
        self._keeper, self._metrics, self._clock = keeper, metrics, clock

    async def take(self, record: SandboxRecord, request: snapshot_pb2.SandboxSnapshotRequest) -> SnapshotRecord:
        """The snapshot of a running sandbox as it is now; with the same key, the one that came of the first request.

        Raises:
            InvalidError: the key, the time-out or the time to live. ConflictError: the sandbox does not run.
            NotFoundError: the snapshot that came of the first request is gone.
            ConnectionError, InternalFailure: the node did not answer in time; asking again with the same key can help.
        """
        key = request_key("memory", record, request.idempotency_key)
        ttl_s = check_ttl(request.ttl_s)
        snapshot = await self._db.snapshots.get(derived_id("sn", key))
        if snapshot is None:
            timeout_s = check_moment(record, request.timeout_s)
            snapshot = await self._finisher.finish(self._make(record, key, ttl_s=ttl_s, timeout_s=timeout_s))
        if not snapshot.is_there(self._clock()):
            raise NotFoundError("The snapshot that this key made is gone.", remedy="Use a new key.")
        return snapshot

    async def _make(self, record: SandboxRecord, key: bytes, *, ttl_s: float, timeout_s: float) -> SnapshotRecord:
        began = self._clock()
        lineage = await lineage_of(self._db, record, merge=True)
        layer = LayerRecord(layer_id=derived_id("ly", key), source="snapshot", node_id=record.node_id, created_at=began)
        image = lineage.image(layer, source="snapshot", description=f"files of a snapshot of {record.sandbox_id}")
        draft = _draft(record, image, key, expires_at=began + ttl_s if ttl_s else 0)
        request = snapshot_pb2.MemorySnapshotRequest(
            sandbox_id=record.sandbox_id, snapshot_id=draft.snapshot_id, layer_id=layer.layer_id, merge_layer_ids=lineage.merged_ids
        )
        node = self._nodes.get(record.node_id)
        answer = checked(await self._client.take_memory(node, request, timeout_s=timeout_s))
        taken = msgspec.structs.replace(draft, taken=answer.SerializeToString(deterministic=True))
        stored = await self._db.snapshots.add(taken, image)
        if stored != taken:  # two came with one key, and the other was quicker
            return stored
        self._metrics.count_snapshot("taken")
        log.info(
            "snapshot taken",
            snapshot=stored.snapshot_id,
            sandbox=record.sandbox_id,
            memory_bytes=answer.memory_bytes,
            stopped_s=round(answer.stopped_s, 4),
            took_s=round(self._clock() - began, 4),
        )
        self._keeper.wake()
        return stored


def _draft(record: SandboxRecord, image: ImageRecord, key: bytes, *, expires_at: float) -> SnapshotRecord:
    """What will be stored, but for what the node tells."""
    return SnapshotRecord(
        snapshot_id=SnapshotId(derived_id("sn", key)),
        workspace=record.workspace,
        sandbox_id=record.sandbox_id,
        parent_snapshot_id=record.snapshot_id,
        app_id=record.app_id,
        image_id=image.image_id,
        node_id=record.node_id,
        taken=b"",
        created_at=image.created_at,
        expires_at=expires_at,
    )


def check_ttl(ttl_s: float) -> float:
    """Raises: InvalidError: ``ttl_s`` is out of range."""
    if not 0 <= ttl_s <= MAX_TTL_S:  # NaN is out of range too
        raise out_of_range("ttl_s", ttl_s, 0, MAX_TTL_S)
    return ttl_s
