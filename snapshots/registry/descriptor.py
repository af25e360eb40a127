"""Descriptors, the typed and sized names of blobs, and the media types that cove knows. Pure."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from cove.exception import InvalidError, UnimplementedError
from snapshots.digest import Digest, parse_digest

OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
OCI_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_LAYER_ZSTD: Final = "application/vnd.oci.image.layer.v1.tar+zstd"
DOCKER_INDEX: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER: Final = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP: Final = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_LAYER_ZSTD: Final = "application/vnd.docker.image.rootfs.diff.tar.zstd"

INDEXES: Final = frozenset({OCI_INDEX, DOCKER_INDEX})
MANIFESTS: Final = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
CONFIGS: Final = frozenset({OCI_CONFIG, DOCKER_CONFIG})

Compression = Literal["none", "gzip", "zstd"]

_COMPRESSIONS: Final[dict[str, Compression]] = {
    OCI_LAYER: "none",
    OCI_LAYER_GZIP: "gzip",
    OCI_LAYER_ZSTD: "zstd",
    DOCKER_LAYER: "none",
    DOCKER_LAYER_GZIP: "gzip",
    DOCKER_LAYER_ZSTD: "zstd",
}
_FOREIGN: Final = (".foreign.", ".nondistributable.")
"""In media types of layers that a registry does not have: they name a URL elsewhere."""


_MAGIC: Final = ((b"\x28\xb5\x2f\xfd", OCI_LAYER_ZSTD), (b"\x1f\x8b", OCI_LAYER_GZIP))
MAGIC_BYTES: Final = 4


def layer_media_type(head: bytes) -> str:
    """Of a layer's archive that begins with ``head``, of ``MAGIC_BYTES`` or more."""
    return next((media_type for magic, media_type in _MAGIC if head.startswith(magic)), OCI_LAYER)


class Descriptor(msgspec.Struct, frozen=True):
    """A blob as a manifest names it."""

    media_type: str
    digest: Digest
    size_bytes: int

    @property
    def compression(self) -> Compression:
        """Of a layer.

        Raises:  InvalidError: it is not a layer.
        """
        found = _COMPRESSIONS.get(self.media_type)
        if found is None:
            raise InvalidError(f"{self.media_type[:120]!r} is not a layer's media type.")
        return found


class RawDescriptor(msgspec.Struct, rename="camel"):
    """A descriptor as JSON has it. ``urls`` and annotations are not read: where blobs come from is the client's decision."""

    media_type: str
    digest: str
    size: int


def check_descriptor(raw: RawDescriptor, what: str, max_bytes: int) -> Descriptor:
    """``raw`` with its digest parsed and its size bounded; ``what`` names it in errors.

    Raises:  InvalidError: a digest other than sha256, a negative size, or one above ``max_bytes``.
    """
    try:
        digest = parse_digest(raw.digest)
    except InvalidError as error:
        raise InvalidError(f"The {what} has a digest that is not sha256: {raw.digest[:80]!r}.") from error
    if not 0 <= raw.size <= max_bytes:
        raise InvalidError(f"The {what} is said to have {raw.size} bytes; allowed are 0 to {max_bytes}.")
    return Descriptor(raw.media_type[:256], digest, raw.size)


def check_layer(descriptor: Descriptor, what: str) -> Descriptor:
    """``descriptor`` itself, if it is a layer that can be pulled.

    Raises:
        UnimplementedError: a foreign layer.
        InvalidError: not a layer.
    """
    if any(mark in descriptor.media_type for mark in _FOREIGN):
        raise UnimplementedError(
            f"The {what} is foreign: the registry does not have it.", remedy="Use an image whose layers are all in the registry."
        )
    if descriptor.media_type not in _COMPRESSIONS:
        raise UnimplementedError(
            f"The {what} has the media type {descriptor.media_type[:120]!r}.",
            remedy="Layers can be tar, plain or compressed with gzip or zstd.",
        )
    return descriptor
