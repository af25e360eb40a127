"""What a sandbox's changed files become a layer of: the image that it started from, with the layers that the new one takes in."""

from __future__ import annotations

import msgspec

from cove.exception import NotFoundError
from cove.types import ImageId, derived_id
from cove.wire import node_pb2
from router.db.protocol import Database
from router.db.records import ImageRecord, LayerRecord, SandboxRecord
from router.images.manifests import is_base, to_merge


class Lineage(msgspec.Struct, frozen=True, kw_only=True):
    """Where a new layer will lie."""

    record: SandboxRecord
    base: str
    kept: tuple[LayerRecord, ...]
    """Below the new one, the lowest first."""
    merged: tuple[LayerRecord, ...]
    """Topmost ones that become part of it."""
    config: bytes
    """``cove.v1.ImageConfig`` that the sandbox started with."""

    def request(self, layer_id: str) -> node_pb2.LayerSnapshotRequest:
        """What the node is asked for."""
        return node_pb2.LayerSnapshotRequest(sandbox_id=self.record.sandbox_id, layer_id=layer_id, merge_layer_ids=self.merged_ids)

    @property
    def merged_ids(self) -> list[str]:
        return [layer.layer_id for layer in self.merged]

    def image(self, layer: LayerRecord, *, source: str, description: str, config: bytes | None = None) -> ImageRecord:
        """The image whose last layer is the new one. Its id follows from the layer's.

        Args:    config: another configuration than the sandbox's.
        """
        return ImageRecord(
            image_id=ImageId(derived_id("im", layer.layer_id.encode())),
            workspace=self.record.workspace,
            source=source,
            description=description,
            parent_image_id="" if is_base(self.record.image) else self.record.image,
            sandbox_id=self.record.sandbox_id if source == "snapshot" else "",
            base=self.base,
            config=self.config if config is None else config,
            created_at=layer.created_at,
            layers=(*self.kept, layer),
        )


async def lineage_of(db: Database, record: SandboxRecord, *, merge: bool) -> Lineage:
    """Of a sandbox's files.

    Args:    merge: a long chain of snapshots shall become one layer.
    Raises:  NotFoundError: the image that it started from was deleted.
    """
    base, layers, config = await _parent(db, record)
    count = to_merge(layers) if merge else 0
    split = len(layers) - count
    return Lineage(record=record, base=base, kept=layers[:split], merged=layers[split:], config=config)


async def _parent(db: Database, record: SandboxRecord) -> tuple[str, tuple[LayerRecord, ...], bytes]:
    """Base, layers and configuration of what the sandbox started from."""
    if is_base(record.image):
        return record.image, (), b""
    image = await db.images.get(record.image)
    if image is None:
        raise NotFoundError("The image that the sandbox started from was deleted.", remedy="Start a sandbox from one that there is.")
    return image.base, image.layers, image.config
