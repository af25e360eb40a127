"""Filesystem snapshots: a saga of one call to the node and one durable write.

The ids follow from the request, so the node, asked again, answers with the layer that it has; the image's key does the same for the
write. A router killed in between leaves a layer that no image has, which the storekeeper's audit removes.

Layers of builds get new ids: their keys are the same in every workspace and for every attempt, but what came of them is not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog

from cove.exception import ConflictError, NotFoundError
from cove.types import ImageId, derived_id, new_id
from cove.wire import image_pb2, node_pb2
from policies.limits import out_of_range
from policies.names import check_idempotency_key
from router.db.protocol import Database
from router.db.records import ImageRecord, LayerRecord, SandboxRecord
from router.images.manifests import is_base, to_merge
from router.images.storekeeper import Storekeeper
from router.node_client import NodeClient
from router.nodes import NodeTable
from router.tasks import Finisher

log = structlog.get_logger(__name__)

MAX_TIMEOUT_S: Final = 600.0
DEFAULT_TIMEOUT_S: Final = 55.0


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
        idempotency_key = check_idempotency_key(request.idempotency_key)
        key = b"snapshot\0" + record.sandbox_id.encode() + b"\0" + idempotency_key.encode()
        if known := await self._db.images.find(record.workspace, key):
            return known
        if not record.is_live:
            raise ConflictError("The sandbox has ended.", code="sandbox_ended", remedy="Snapshots are taken of running sandboxes.")
        if not 0 <= request.timeout_s <= MAX_TIMEOUT_S:  # NaN is out of range too
            raise out_of_range("timeout_s", request.timeout_s, 0, MAX_TIMEOUT_S)
        timeout_s = request.timeout_s or DEFAULT_TIMEOUT_S
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
        base, layers, inherited = await self._parent(record)
        count = to_merge(layers) if source == "snapshot" else 0
        kept, merged = layers[: len(layers) - count], layers[len(layers) - count :]
        layer_id = derived_id("ly", key) if source == "snapshot" else new_id("ly")
        node = self._nodes.get(record.node_id)
        message = node_pb2.LayerSnapshotRequest(
            sandbox_id=record.sandbox_id, layer_id=layer_id, merge_layer_ids=[layer.layer_id for layer in merged]
        )
        answer = await self._client.take_layer(node, message, timeout_s=timeout_s)
        layer = LayerRecord(layer_id=layer_id, source=source, node_id=node.node_id, created_at=began)
        image = ImageRecord(
            image_id=ImageId(derived_id("im", layer_id.encode())),
            workspace=record.workspace,
            source=source,
            description=description or f"files of {record.sandbox_id}",
            parent_image_id="" if is_base(record.image) else record.image,
            sandbox_id=record.sandbox_id if source == "snapshot" else "",
            base=base,
            config=config.SerializeToString(deterministic=True) if config is not None else inherited,
            created_at=began,
            layers=(*kept, layer),
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

    async def _parent(self, record: SandboxRecord) -> tuple[str, tuple[LayerRecord, ...], bytes]:
        """Base, layers and configuration of what the sandbox started from. Raises: NotFoundError: the image was deleted."""
        if is_base(record.image):
            return record.image, (), b""
        image = await self._db.images.get(record.image)
        if image is None:
            raise NotFoundError("The image that the sandbox started from was deleted.", remedy="Start a sandbox from one that there is.")
        return image.base, image.layers, image.config
