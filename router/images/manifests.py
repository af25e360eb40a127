"""Image records as wire messages, and what follows from them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cove.types import NodeId
from cove.wire import common_pb2, image_pb2
from router.db.records import ImageRecord, LayerRecord

CHAIN_LENGTH: Final = 16
"""Snapshots of snapshots, up to so many, are layers of their own; then they become one, so that every mount stays quick."""


def to_manifest(image: ImageRecord) -> image_pb2.ImageManifest:
    """What a node needs to mount it."""
    layers = [image_pb2.LayerRef(base=image.base)] if image.base else []
    return image_pb2.ImageManifest(image_id=image.image_id, layers=[*layers, *map(to_layer_ref, image.layers)], config=config_of(image))


def to_layer_ref(layer: LayerRecord) -> image_pb2.LayerRef:
    """As it travels."""
    return image_pb2.LayerRef(
        layer_id=layer.layer_id,
        digest=layer.digest,
        diff_id=layer.diff_id,
        size_bytes=layer.size_bytes,
        foreign=layer.source == "registry",
    )


def config_of(image: ImageRecord) -> image_pb2.ImageConfig:
    """What its processes start with."""
    return image_pb2.ImageConfig.FromString(image.config)


def to_image_info(image: ImageRecord) -> image_pb2.ImageInfo:
    """What clients see."""
    return image_pb2.ImageInfo(
        image_id=image.image_id,
        created_at=image.created_at,
        source=image.source,
        description=image.description,
        parent_image_id=image.parent_image_id,
        layers=len(image.layers) + bool(image.base),
        size_bytes=sum(layer.size_bytes for layer in image.layers),
        stored=image.is_stored,
        config=config_of(image),
        sandbox_id=image.sandbox_id,
    )


def image_name(reference: common_pb2.ImageRef) -> str:
    """How records tell what a sandbox started from: an image id, ``debian:3.11`` or ``rootfs:/path``."""
    match reference.WhichOneof("source"):
        case "image_id":
            return reference.image_id
        case "debian":
            return f"debian:{reference.debian}"
        case _:
            return f"rootfs:{reference.rootfs_path}"


def is_base(name: str) -> bool:
    """Whether an image of this name (:func:`image_name`) is one that nodes make themselves."""
    return ":" in name


def only_node(layers: Sequence[LayerRecord]) -> NodeId | None:
    """The node that must run the image while the store lacks a layer; None: any can."""
    return next((layer.node_id for layer in layers if not layer.digest), None)


def to_merge(layers: Sequence[LayerRecord]) -> int:
    """How many of the topmost layers the next snapshot takes in."""
    run = 0
    while run < len(layers) and layers[-1 - run].source == "snapshot":
        run += 1
    return run if run >= CHAIN_LENGTH else 0
