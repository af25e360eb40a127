"""A definition layer by layer: what is cached stays, the rest is built on top of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from cove.exception import ResourceExhaustedError
from cove.wire import image_pb2
from router.auth import Caller
from router.db.protocol import Database
from router.db.records import ImageRecord
from router.images.builder.bases import Bases
from router.images.builder.keys import keys_of
from router.images.builder.order import Emit, Order, Turns
from router.images.builder.pulls import Pulls
from router.images.builder.stages import LayerBuild
from router.images.builder.workshop import Workshops
from router.images.catalogue import Catalogue
from router.images.default_images import DefaultImages
from snapshots.store import Store

GIT: Final = "RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends git ca-certificates"
"""What a default image needs to fetch repositories."""


class Builder:
    """Builds whole definitions; one instance per router.

    Args:    pythons: of all default images that there are now.
    """

    def __init__(
        self,
        db: Database,
        store: Store,
        catalogue: Catalogue,
        workshops: Workshops,
        pulls: Pulls,
        defaults: DefaultImages,
        *,
        pythons: Callable[[], list[str]],
        clock: Callable[[], float],
    ) -> None:
        self._db, self._store, self._catalogue, self._workshops, self._clock = db, store, catalogue, workshops, clock
        self._defaults, self._pythons = defaults, pythons
        self._turns = Turns()
        self._bases = Bases(db, catalogue, pulls, self._turns, pythons=pythons, clock=clock)

    async def cached(self, caller: Caller, request: image_pb2.ImageBuildRequest) -> ImageRecord | None:
        """The image of the whole definition, if nothing has to be built."""
        definition = self._defaults.resolved(request.definition)
        if request.force_build or request.ignore_cache or any(layer.force_build for layer in definition.layers):
            return None
        if definition.WhichOneof("base") == "image_id" and not definition.layers:
            return await self._catalogue.get(caller.workspace, definition.image_id)
        return await self._db.images.find(caller.workspace, keys_of(definition)[-1])

    async def build(self, caller: Caller, request: image_pb2.ImageBuildRequest, emit: Emit) -> ImageRecord:
        """The image of the definition.

        Raises:  RemoteError: a command failed. InvalidError, UnimplementedError: the definition. Errors of pulls and of creating sandboxes.
        """
        definition = self._defaults.resolved(request.definition)
        order, keys = Order(caller=caller, request=request, emit=emit), keys_of(definition)
        image = await self._bases.of(order, definition, keys[0])
        for number, layer in enumerate(definition.layers, start=1):
            async with self._turns.turn(caller.workspace, keys[number]):
                known = None if order.is_fresh(number) else await self._db.images.find(caller.workspace, keys[number])
                image = known or await self._layer(order, number, layer, image, keys[number])
        assert image is not None  # a definition without a base has a layer
        return image

    async def _layer(self, order: Order, number: int, layer: image_pb2.ImageLayer, parent: ImageRecord | None, key: bytes) -> ImageRecord:
        work = LayerBuild(
            self._db,
            self._store,
            self._workshops,
            order.caller,
            layer,
            parent,
            _Around(self, self._bases, order, number),
            say=order.say(number),
            output=lambda data: order.emit(image_pb2.ImageBuildLog(layer=number, data=data)),
            now=self._clock(),
        )
        return await work.build(order.kept(key), replace=order.is_fresh(number))

    def tools(self, *, git: bool) -> image_pb2.ImageDefinition:
        """An image to fetch things in. Raises: ResourceExhaustedError: there is no default image to make it of."""
        pythons = self._pythons()
        if not pythons:
            raise ResourceExhaustedError("There is no default image to fetch with.", remedy="See `cove status`; try again.")
        layers = [image_pb2.ImageLayer(commands=[GIT])] if git else []
        return image_pb2.ImageDefinition(debian=pythons[0], layers=layers)


class _Around:
    """What one layer of an order needs of others; see ``stages.Surroundings``."""

    def __init__(self, builder: Builder, bases: Bases, order: Order, layer: int) -> None:
        self._builder, self._bases, self._order, self._layer = builder, bases, order, layer

    async def pulled(self, reference: str) -> ImageRecord:
        return await self._bases.pulled(self._order, reference, layer=self._layer)

    async def scratch(self) -> ImageRecord:
        return await self._bases.scratch(self._order.caller)

    async def tools(self, *, git: bool) -> ImageRecord:
        request = image_pb2.ImageBuildRequest(definition=self._builder.tools(git=git))
        return await self._builder.build(self._order.caller, request, self._emit)

    def _emit(self, event: image_pb2.ImageBuildLog) -> None:
        self._order.emit(image_pb2.ImageBuildLog(layer=self._layer, status=event.status, data=event.data))
