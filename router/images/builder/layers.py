"""A definition layer by layer: what is cached stays, the rest is built on top of it."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from cove.types import ImageId, new_id
from cove.wire import image_pb2
from router.auth import Caller
from router.db.protocol import Database
from router.db.records import ImageRecord
from router.images.builder.keys import keys_of
from router.images.builder.pulls import Pulls
from router.images.builder.stages import LayerBuild
from router.images.builder.workshop import Workshops
from router.images.catalogue import Catalogue
from snapshots.store import Store

Emit = Callable[[image_pb2.ImageBuildLog], None]


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
        definition, keys = request.definition, keys_of(request.definition)
        build_from = self._first_to_build(request)
        image = await self._base(caller, definition, keys[0], emit, fresh=build_from == 0, request=request)
        for number, layer in enumerate(definition.layers, start=1):
            fresh = number >= build_from
            async with self._turn(caller.workspace, keys[number]):
                known = None if fresh else await self._db.images.find(caller.workspace, keys[number])
                image = known or await self._layer(caller, layer, image, keys[number], emit, number, replace=fresh, request=request)
        assert image is not None  # a definition without a base has a layer
        return image

    def _first_to_build(self, request: image_pb2.ImageBuildRequest) -> int:
        """The first layer that the cache must not give; 0 is the base."""
        if request.force_build or request.ignore_cache:
            return 0
        layers = request.definition.layers
        return next((number for number, layer in enumerate(layers, start=1) if layer.force_build), len(layers) + 1)

    async def _base(
        self,
        caller: Caller,
        definition: image_pb2.ImageDefinition,
        key: bytes,
        emit: Emit,
        *,
        fresh: bool,
        request: image_pb2.ImageBuildRequest,
    ) -> ImageRecord | None:
        def say(status: str) -> None:
            emit(image_pb2.ImageBuildLog(layer=0, status=status))

        match definition.WhichOneof("base"):
            case "image_id":
                return await self._catalogue.get(caller.workspace, definition.image_id)
            case "debian":
                return await self._local(caller, f"debian:{definition.debian}", key)
            case "rootfs_path":
                return await self._local(caller, f"rootfs:{definition.rootfs_path}", key)
            case "registry":
                async with self._turn(caller.workspace, key):
                    known = None if fresh else await self._db.images.find(caller.workspace, key)
                    if known is not None:
                        return known
                    return await self._pulls.pull(caller.workspace, definition.registry, _key(key, request), say, replace=fresh)
        return None

    async def _local(self, caller: Caller, base: str, key: bytes) -> ImageRecord:
        """A base that nodes make themselves, as an image to build on."""
        image = ImageRecord(
            image_id=ImageId(new_id("im")),
            workspace=caller.workspace,
            source="build",
            description=base,
            base=base,
            created_at=self._clock(),
        )
        return await self._db.images.add(image, key)

    async def _layer(
        self,
        caller: Caller,
        layer: image_pb2.ImageLayer,
        parent: ImageRecord | None,
        key: bytes,
        emit: Emit,
        number: int,
        *,
        replace: bool,
        request: image_pb2.ImageBuildRequest,
    ) -> ImageRecord:
        def say(status: str) -> None:
            emit(image_pb2.ImageBuildLog(layer=number, status=status))

        async def pull(reference: str) -> ImageRecord:
            named = image_pb2.ImageDefinition(registry=image_pb2.RegistryImage(reference=reference))
            fresh = self._first_to_build(request) == 0
            pulled = await self._base(caller, named, keys_of(named)[0], emit, fresh=fresh, request=request)
            assert pulled is not None  # its base is a registry's
            return pulled

        work = LayerBuild(
            self._db,
            self._store,
            self._workshops,
            caller,
            layer,
            parent,
            pull,
            say=say,
            output=lambda data: emit(image_pb2.ImageBuildLog(layer=number, data=data)),
            now=self._clock(),
        )
        return await work.build(_key(key, request), replace=replace)

    @asynccontextmanager
    async def _turn(self, workspace: str, key: bytes) -> AsyncIterator[None]:
        """Builds of one layer take turns: the second finds what the first has made."""
        async with self._turns.setdefault((workspace, key), asyncio.Lock()):
            yield


def _key(key: bytes, request: image_pb2.ImageBuildRequest) -> bytes:
    """``key``, or none where the cache shall stay as it is."""
    return b"" if request.ignore_cache else key
