"""A definition layer by layer: what is cached stays, the rest is built on top of it."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec

from cove.types import ImageId, new_id
from cove.wire import common_pb2, image_pb2
from router.auth import Caller
from router.db.protocol import Database
from router.db.records import ImageRecord
from router.images.builder.keys import keys_of
from router.images.builder.pulls import Pulls
from router.images.builder.stages import LayerBuild
from router.images.builder.workshop import Workshops
from router.images.catalogue import Catalogue
from router.images.manifests import image_name
from snapshots.store import Store

Emit = Callable[[image_pb2.ImageBuildLog], None]


class _Order(msgspec.Struct, frozen=True, kw_only=True):
    """What one caller asks to be built. Layers are numbered from 1; 0 is the base."""

    caller: Caller
    request: image_pb2.ImageBuildRequest
    emit: Emit

    def is_fresh(self, layer: int) -> bool:
        """Whether the cache must not give it: from the first that is forced on."""
        if self.request.force_build or self.request.ignore_cache:
            return True
        return any(earlier.force_build for earlier in self.request.definition.layers[:layer])

    def kept(self, key: bytes) -> bytes:
        """``key``, or none where the cache shall stay as it is."""
        return b"" if self.request.ignore_cache else key

    def say(self, layer: int) -> Callable[[str], None]:
        """Puts a line of text into the log of the layer."""
        return lambda status: self.emit(image_pb2.ImageBuildLog(layer=layer, status=status))


class Builder:
    """Builds whole definitions; one instance per router."""

    def __init__(
        self, db: Database, store: Store, catalogue: Catalogue, workshops: Workshops, pulls: Pulls, *, clock: Callable[[], float]
    ) -> None:
        self._db, self._store, self._catalogue, self._workshops, self._pulls, self._clock = db, store, catalogue, workshops, pulls, clock
        self._turns: weakref.WeakValueDictionary[tuple[str, bytes], asyncio.Lock] = weakref.WeakValueDictionary()

    async def cached(self, caller: Caller, request: image_pb2.ImageBuildRequest) -> ImageRecord | None:
        """The image of the whole definition, if nothing has to be built."""
        definition = request.definition
        if request.force_build or request.ignore_cache or any(layer.force_build for layer in definition.layers):
            return None
        if definition.WhichOneof("base") == "image_id" and not definition.layers:
            return await self._catalogue.get(caller.workspace, definition.image_id)
        return await self._db.images.find(caller.workspace, keys_of(definition)[-1])

    async def build(self, caller: Caller, request: image_pb2.ImageBuildRequest, emit: Emit) -> ImageRecord:
        """The image of the definition.

        Raises:  RemoteError: a command failed. InvalidError, UnimplementedError: the definition. Errors of pulls and of creating sandboxes.
        """
        order = _Order(caller=caller, request=request, emit=emit)
        keys = keys_of(request.definition)
        image = await self._base(order, request.definition, keys[0], layer=0)
        for number, layer in enumerate(request.definition.layers, start=1):
            async with self._turn(caller.workspace, keys[number]):
                known = None if order.is_fresh(number) else await self._db.images.find(caller.workspace, keys[number])
                image = known or await self._layer(order, number, layer, image, keys[number])
        assert image is not None  # a definition without a base has a layer
        return image

    async def _base(self, order: _Order, definition: image_pb2.ImageDefinition, key: bytes, *, layer: int) -> ImageRecord | None:
        """``layer``: whose log tells of it."""
        match definition.WhichOneof("base"):
            case "image_id":
                return await self._catalogue.get(order.caller.workspace, definition.image_id)
            case "debian":
                return await self._local(order.caller, common_pb2.ImageRef(debian=definition.debian), key)
            case "rootfs_path":
                return await self._local(order.caller, common_pb2.ImageRef(rootfs_path=definition.rootfs_path), key)
            case "registry":
                return await self._pulled(order, definition.registry, key, layer=layer)
        return None

    async def _pulled(self, order: _Order, image: image_pb2.RegistryImage, key: bytes, *, layer: int) -> ImageRecord:
        workspace, fresh = order.caller.workspace, order.is_fresh(0)
        async with self._turn(workspace, key):
            known = None if fresh else await self._db.images.find(workspace, key)
            return known or await self._pulls.pull(workspace, image, order.kept(key), order.say(layer), replace=fresh)

    async def _local(self, caller: Caller, reference: common_pb2.ImageRef, key: bytes) -> ImageRecord:
        """A base that nodes make themselves, as an image to build on."""
        base = image_name(reference)
        image = ImageRecord(
            image_id=ImageId(new_id("im")),
            workspace=caller.workspace,
            source="build",
            description=base,
            base=base,
            created_at=self._clock(),
        )
        return await self._db.images.add(image, key)

    async def _layer(self, order: _Order, number: int, layer: image_pb2.ImageLayer, parent: ImageRecord | None, key: bytes) -> ImageRecord:
        async def pull(reference: str) -> ImageRecord:
            named = image_pb2.ImageDefinition(registry=image_pb2.RegistryImage(reference=reference))
            return await self._pulled(order, named.registry, keys_of(named)[0], layer=number)

        work = LayerBuild(
            self._db,
            self._store,
            self._workshops,
            order.caller,
            layer,
            parent,
            pull,
            say=order.say(number),
            output=lambda data: order.emit(image_pb2.ImageBuildLog(layer=number, data=data)),
            now=self._clock(),
        )
        return await work.build(order.kept(key), replace=order.is_fresh(number))

    @asynccontextmanager
    async def _turn(self, workspace: str, key: bytes) -> AsyncIterator[None]:
        """Builds of one layer take turns: the second finds what the first has made."""
        async with self._turns.setdefault((workspace, key), asyncio.Lock()):
            yield
