"""Pushing images: what cove built, as OCI images in a registry."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable

from cove.exception import InvalidError
from cove.wire import image_pb2
from router.auth import Caller
from router.db.records import ImageRecord, LayerRecord
from router.images.builder.pulls import check_kind, credentials_of
from router.images.catalogue import Catalogue
from router.images.failures import as_ours
from router.images.manifests import config_of
from router.images.storekeeper import Storekeeper
from router.nodes import Node
from snapshots.digest import Digest, parse_digest
from snapshots.registry.client import RegistryClient
from snapshots.registry.descriptor import MAGIC_BYTES, Descriptor, layer_media_type
from snapshots.registry.image_config import ImageConfig, encode_config
from snapshots.registry.network import Network, check_elsewhere
from snapshots.registry.platforms import machine_platform
from snapshots.registry.push import LayerSource, push
from snapshots.registry.reference import Reference, parse_reference
from snapshots.registry.settings import RegistrySettings
from snapshots.store import Store


class Pushes:
    """One instance per router."""

    def __init__(
        self,
        catalogue: Catalogue,
        keeper: Storekeeper,
        store: Store,
        settings: RegistrySettings,
        *,
        loopback: bool,
        base_node: Callable[[], Node],
    ) -> None:
        """``loopback``: whether references may name this machine. ``base_node``: which node packs a base that nodes make themselves."""
        self._catalogue, self._keeper, self._store, self._settings = catalogue, keeper, store, settings
        self._loopback, self._base_node = loopback, base_node

    async def push(self, caller: Caller, request: image_pb2.ImagePushRequest) -> AsyncIterator[image_pb2.ImagePushEvent]:
        """Progress, then the manifest's digest.

        Raises:  NotFoundError, InvalidError: the image or the reference. Errors of the registry, and of storing layers.
        """
        image = await self._catalogue.get(caller.workspace, request.image_id)
        reference = parse_reference(request.target.reference)
        check_kind(request.target)
        check_elsewhere(reference.registry, self._settings, loopback=self._loopback)
        layers: list[LayerRecord] = []
        if image.base:
            yield image_pb2.ImagePushEvent(status=f"packing {image.base}")
            layers.append(await self._keeper.store_base(image.base, self._base_node().node_id))
        for layer in image.layers:
            if not layer.digest:
                yield image_pb2.ImagePushEvent(status=f"storing {layer.layer_id}")
            layers.append(await self._keeper.store_layer(layer))
        if not layers:
            raise InvalidError("The image has no layers.", remedy="Build something into it.")
        yield image_pb2.ImagePushEvent(status=f"pushing {len(layers)} layers to {reference}")
        sources = [await self._source(layer) for layer in layers]
        with as_ours():
            digest = await self._upload(request.target, image.workspace, reference, self._config(image, layers), sources)
        yield image_pb2.ImagePushEvent(status=f"pushed {reference}", digest=digest)

    async def _upload(
        self, target: image_pb2.RegistryImage, workspace: str, reference: Reference, config: bytes, sources: list[LayerSource]
    ) -> Digest:
        async with Network(self._settings) as network:
            credentials = await credentials_of(target, reference.registry, network, self._settings, workspace=workspace)
            async with RegistryClient(reference.registry, credentials, settings=self._settings, network=network) as client:
                return await push(client, reference, config, sources)

    async def _source(self, layer: LayerRecord) -> LayerSource:
        digest = parse_digest(layer.digest)
        async with self._store.view_unverified(digest) as reader:
            head = await reader.read_at(0, MAGIC_BYTES)
        return LayerSource(Descriptor(layer_media_type(head), digest, layer.size_bytes), lambda: self._chunks(digest))

    async def _chunks(self, digest: Digest) -> AsyncGenerator[bytes, None]:
        async with self._store.view(digest) as view:
            async for chunk in view.chunks():
                yield chunk

    def _config(self, image: ImageRecord, layers: list[LayerRecord]) -> bytes:
        config = config_of(image)
        return encode_config(
            ImageConfig(
                platform=machine_platform(),
                diff_ids=tuple(parse_digest(layer.diff_id) for layer in layers),
                env=tuple(f"{name}={value}" for name, value in sorted(config.env.items())),
                entrypoint=tuple(config.entrypoint),
                cmd=tuple(config.cmd),
                shell=tuple(config.shell),
                workdir=config.workdir,
                user=config.user,
                labels=dict(config.labels),
                exposed_ports=tuple(config.exposed_ports),
            )
        )
