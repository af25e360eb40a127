"""Layers and configs to push."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from snapshots.digest import Digest, digest_of
from snapshots.registry.descriptor import OCI_LAYER_GZIP, Descriptor
from snapshots.registry.image_config import ImageConfig, encode_config
from snapshots.registry.platforms import Platform
from snapshots.registry.push import LayerSource


class Blob:
    """A layer's data that counts how often it was sent."""

    def __init__(self, data: bytes, *, media_type: str = OCI_LAYER_GZIP, claims: bytes | None = None) -> None:
        self.data = data
        self.opened = 0
        claimed = data if claims is None else claims
        self.descriptor = Descriptor(media_type, digest_of(claimed), len(claimed))

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        self.opened += 1
        for start in range(0, len(self.data), 100_000):
            yield self.data[start : start + 100_000]

    def source(self, mount_from: str | None = None) -> LayerSource:
        return LayerSource(self.descriptor, self.chunks, mount_from)


def config_of(*diff_ids: Digest) -> bytes:
    return encode_config(
        ImageConfig(platform=Platform(), diff_ids=diff_ids, env=("A=b",), cmd=("/hello",), workdir="/w", labels={"k": "v"})
    )
