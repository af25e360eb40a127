"""Manifests and indexes of images, OCI's and Docker's, read from hostile bytes and written. Pure.

Fields that are not known are ignored, as the specification asks; those that are known must be right. A document is read as what both its
media type and its content say it is: one that could be taken for a manifest and an index is refused (CVE-2021-41190).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar

import msgspec

from cove.exception import InvalidError, RequestSizeError, UnimplementedError
from snapshots.registry.descriptor import (
    CONFIGS,
    INDEXES,
    MANIFESTS,
    OCI_CONFIG,
    OCI_MANIFEST,
    Descriptor,
    RawDescriptor,
    check_descriptor,
    check_layer,
)
from snapshots.registry.platforms import Platform

MAX_DOCUMENT_BYTES: Final = 4 << 20
"""Of a manifest or an index; what the distribution specification asks registries to take at least."""
MAX_CONFIG_BYTES: Final = 8 << 20
MAX_LAYERS: Final = 500
MAX_LAYER_BYTES: Final = 256 << 30
MAX_INDEX_ENTRIES: Final = 1_000

_SCHEMA_1: Final = "application/vnd.docker.distribution.manifest.v1"

T = TypeVar("T")


class Manifest(msgspec.Struct, frozen=True):
    """One image for one platform."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    """Bottom first."""


class IndexEntry(msgspec.Struct, frozen=True):
    descriptor: Descriptor
    platform: Platform | None


class Index(msgspec.Struct, frozen=True):
    """One image for several platforms."""

    media_type: str
    entries: tuple[IndexEntry, ...]


class _RawPlatform(msgspec.Struct):
    os: str = ""
    architecture: str = ""
    variant: str | None = None


class _RawEntry(RawDescriptor):
    platform: _RawPlatform | None = None


class _RawDocument(msgspec.Struct, rename="camel"):
    schema_version: int
    media_type: str | None = None
    config: RawDescriptor | None = None
    layers: list[RawDescriptor] | None = None
    manifests: list[_RawEntry] | None = None
    fs_layers: list[msgspec.Raw] | None = None


def parse_document(data: bytes, content_type: str | None) -> Manifest | Index:
    """What ``data`` describes; ``content_type`` is the registry's header for it.

    Raises:
        InvalidError: malformed, out of bounds, ambiguous, or not an image.
        UnimplementedError: Docker's schema 1, foreign layers, or compressions that are not known.
        RequestSizeError: longer than :data:`MAX_DOCUMENT_BYTES`.
    """
    raw = decode_json(data, _RawDocument, "manifest", MAX_DOCUMENT_BYTES)
    declared = (content_type or "").partition(";")[0].strip().lower()
    if raw.schema_version == 1 or raw.fs_layers is not None or declared.startswith(_SCHEMA_1):
        raise UnimplementedError("The image has a manifest of Docker's schema 1.", remedy="Push it anew with a current tool.")
    if raw.schema_version != 2:
        raise InvalidError(f"The manifest has schema version {raw.schema_version}, not 2.")
    media_type = _media_type(raw, declared)
    if media_type in INDEXES:
        return _index(raw, media_type)
    return _manifest(raw, media_type)


def encode_manifest(config: Descriptor, layers: Sequence[Descriptor]) -> bytes:
    """The OCI manifest of an image; the same bytes for the same arguments."""
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": _plain(config),
        "layers": [_plain(layer) for layer in layers],
    }
    data = msgspec.json.encode(document)
    parse_document(data, OCI_MANIFEST)  # what is pushed must be what can be pulled
    return data


def decode_json(data: bytes, kind: type[T], what: str, max_bytes: int) -> T:
    """``data`` as ``kind``.

    Raises:
        InvalidError: it is not JSON of this form. The text does not repeat what it is.
        RequestSizeError: more than ``max_bytes``.
    """
    if len(data) > max_bytes:
        raise RequestSizeError(f"The {what} has {len(data)} bytes; allowed are {max_bytes}.")
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidError(f"The {what} is malformed: {str(error)[:200]}.") from None


def _media_type(raw: _RawDocument, declared: str) -> str:
    known = INDEXES | MANIFESTS
    inside = raw.media_type
    if inside is not None and inside not in known:
        raise InvalidError(f"This is not an image: its media type is {inside[:120]!r}.", remedy="Name a container image.")
    if inside is not None and declared in known and inside != declared:
        raise InvalidError(f"The registry calls the manifest {declared!r}, and the manifest itself {inside!r}.")
    media_type = inside or declared
    if media_type not in known:
        raise InvalidError(f"The manifest's media type {media_type[:120]!r} is not an image's.", remedy="Name a container image.")
    return media_type


def _index(raw: _RawDocument, media_type: str) -> Index:
    if raw.manifests is None or raw.layers is not None or raw.config is not None:
        raise InvalidError("The index has no list of manifests, or layers of its own.")
    if len(raw.manifests) > MAX_INDEX_ENTRIES:
        raise InvalidError(f"The index has {len(raw.manifests)} entries; allowed are {MAX_INDEX_ENTRIES}.")
    return Index(media_type, tuple(_entry(position, entry) for position, entry in enumerate(raw.manifests)))


def _entry(position: int, raw: _RawEntry) -> IndexEntry:
    descriptor = check_descriptor(raw, f"index's entry {position}", MAX_DOCUMENT_BYTES)
    if raw.platform is None:
        return IndexEntry(descriptor, None)
    return IndexEntry(descriptor, Platform(raw.platform.os, raw.platform.architecture, raw.platform.variant or ""))


def _manifest(raw: _RawDocument, media_type: str) -> Manifest:
    if raw.config is None or raw.layers is None or raw.manifests is not None:
        raise InvalidError("The manifest lacks its config or its layers, or has manifests of its own.")
    if len(raw.layers) > MAX_LAYERS:
        raise InvalidError(f"The image has {len(raw.layers)} layers; allowed are {MAX_LAYERS}.", remedy="Squash it.")
    config = check_descriptor(raw.config, "image's config", MAX_CONFIG_BYTES)
    if config.media_type not in CONFIGS:
        raise InvalidError(f"This is not an image but an artifact of type {config.media_type[:120]!r}.", remedy="Name a container image.")
    layers = [_layer(position, layer) for position, layer in enumerate(raw.layers)]
    return Manifest(media_type, config, tuple(layers))


def _layer(position: int, raw: RawDescriptor) -> Descriptor:
    what = f"image's layer {position}"
    return check_layer(check_descriptor(raw, what, MAX_LAYER_BYTES), what)


def _plain(descriptor: Descriptor) -> dict[str, str | int]:
    return {"mediaType": descriptor.media_type, "digest": descriptor.digest, "size": descriptor.size_bytes}


def config_descriptor(digest: str, size_bytes: int) -> Descriptor:
    """The descriptor of a config that is about to be pushed."""
    return check_descriptor(RawDescriptor(OCI_CONFIG, digest, size_bytes), "image's config", MAX_CONFIG_BYTES)
