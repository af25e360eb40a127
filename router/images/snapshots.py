"""Filesystem snapshots: a saga of one call to the node and one durable write.

The ids follow from the request, so the node, asked again, answers with the layer that it has; the image's key does the same for the
write. A router killed in between leaves a layer that no image has, which the storekeeper's audit removes.

Layers of builds get new ids: their keys are the same in every workspace and for every attempt, but what came of them is not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog

from cove.exception import ConflictError
from cove.types import derived_id, new_id
from cove.wire import image_pb2
from policies.limits import out_of_range
from policies.names import check_idempotency_key
from router.db.protocol import Database
from router.db.records import ImageRecord, LayerRecord, SandboxRecord
from router.images.lineage import lineage_of
from router.images.storekeeper import Storekeeper
from router.node_client import NodeClient
from router.nodes import NodeTable
from router.tasks import Finisher

log = structlog.get_logger(__name__)

MAX_TIMEOUT_S: Final = 600.0
DEFAULT_TIMEOUT_S: Final = 55.0


def request_key(kind: str, record: SandboxRecord, idempotency_key: str) -> bytes:
    """What the ids of a snapshot follow from, so that asking again gives the same. Raises: InvalidError: the idempotency key."""
    return b"\0".join((kind.encode(), record.sandbox_id.encode(), check_idempotency_key(idempotency_key).encode()))


def check_moment(record: SandboxRecord, timeout_s: float) -> float:
    """Seconds that a snapshot of the sandbox may take; 0 is the default.

    Raises:  ConflictError: the sandbox does not run. InvalidError: ``timeout_s`` is out of range.
    """
    if not record.is_live:
        raise ConflictError("The sandbox has ended.", code="sandbox_ended", remedy="Snapshots are taken of running sandboxes.")
    if not 0 <= timeout_s <= MAX_TIMEOUT_S:  # NaN is out of range too
        raise out_of_range("timeout_s", timeout_s, 0, MAX_TIMEOUT_S)
    return timeout_s or DEFAULT_TIMEOUT_S


class Snapshots:
    """One instance per router."""

    def __init__(
        self, db: Database, nodes: NodeTable, client: NodeClient, finisher: Finisher, keeper: Storekeeper, *, clock: Callable[[], float]
    ) -> None:
        self._db, self._nodes, self._client, self._finisher = db, nodes, client, finisher
        self._keeper, self._clock = keeper, clock

    async def take(self, record: SandboxRecord, request: image_pb2.SandboxSnapshotFilesystemRequest) -> ImageRecord:
        """The image of a running sandbox's files as they are now; with the same key, the one that came of the first request.

        Raises:
            InvalidError: the key or the time-out. ConflictError: the sandbox does not run.
            ConnectionError, InternalFailure: the node did not answer in time; asking again with the same key can help.
        """
        key = request_key("snapshot", record, request.idempotency_key)
        if known := await self._db.images.find(record.workspace, key):
            return known
        timeout_s = check_moment(record, request.timeout_s)
        return await self._finisher.finish(self.make(record, key, source="snapshot", timeout_s=timeout_s))

    async def make(
        self,
        record: SandboxRecord,
        key: bytes,
        *,
        source: str,
        timeout_s: float,
        description: str = "",
        config: image_pb2.ImageConfig | None = None,
        replace: bool = False,
    ) -> ImageRecord:
        """Make the sandbox's files an image under ``key``; empty: none.

        Args:    source: ``snapshot`` or ``build``.
                 config: of the image; the one that the sandbox started with when left out.
                 replace: let the key name this image, whatever it named before.
        """
        began = self._clock()
        lineage = await lineage_of(self._db, record, merge=source == "snapshot")
        layer_id = derived_id("ly", key) if source == "snapshot" else new_id("ly")
        node = self._nodes.get(record.node_id)
        answer = await self._client.take_layer(node, lineage.request(layer_id), timeout_s=timeout_s)
        image = lineage.image(
            LayerRecord(layer_id=layer_id, source=source, node_id=node.node_id, created_at=began),
            source=source,
            description=description or f"files of {record.sandbox_id}",
            config=config.SerializeToString(deterministic=True) if config is not None else None,
        )
        stored = await self._db.images.add(image, key, replace=replace)
        log.info(
            "image made",
            image=stored.image_id,
            source=source,
            sandbox=record.sandbox_id,
            stopped_s=round(answer.stopped_s, 4),
            took_s=round(self._clock() - began, 4),
        )
        self._keeper.wake()
        return stored
