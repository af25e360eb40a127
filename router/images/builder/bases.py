"""Images that layers stand on: pulled, made by nodes, known by their id, or empty."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from cove.types import ImageId, new_id
from cove.wire import common_pb2, image_pb2
from router.auth import Caller
from router.db.protocol import Database
from router.db.records import ImageRecord
from router.images.builder.keys import keys_of
from router.images.builder.order import Order, Turns
from router.images.builder.pulls import Pulls
from router.images.catalogue import Catalogue
from router.images.manifests import image_name
from router.placement import no_such_python

SCRATCH_KEY: Final = b"scratch"
"""Of the image without files; no hash of a definition is that short."""


class Bases:
    """One instance per router.

    Args:    pythons: of all default images that there are now.
    """

    def __init__(
        self,
        db: Database,
        catalogue: Catalogue,
        pulls: Pulls,
        turns: Turns,
        *,
        pythons: Callable[[], Sequence[str]],
        clock: Callable[[], float],
    ) -> None:
        self._db, self._catalogue, self._pulls, self._turns = db, catalogue, pulls, turns
        self._pythons, self._clock = pythons, clock

    async def of(self, order: Order, definition: image_pb2.ImageDefinition, key: bytes) -> ImageRecord | None:
        """The base of a definition; None: it has none.

        Raises:  NotFoundError: no image has this id. ResourceExhaustedError: there is no default image with this Python. Errors of pulls.
        """
        match definition.WhichOneof("base"):
            case "image_id":
                return await self._catalogue.get(order.caller.workspace, definition.image_id)
            case "debian":
                if (offered := self._pythons()) and definition.debian not in offered:  # without any, nodes are away, which creating tells
                    raise no_such_python(definition.debian, offered)
                return await self._local(order.caller, common_pb2.ImageRef(debian=definition.debian), key)
            case "rootfs_path":
                return await self._local(order.caller, common_pb2.ImageRef(rootfs_path=definition.rootfs_path), key)
            case "registry":
                return await self._pulled(order, definition.registry, key, layer=0)
        return None

    async def pulled(self, order: Order, reference: str, *, layer: int) -> ImageRecord:
        """The image behind a public reference, which ``layer`` needs. Raises: errors of pulls."""
        named = image_pb2.ImageDefinition(registry=image_pb2.RegistryImage(reference=reference))
        return await self._pulled(order, named.registry, keys_of(named)[0], layer=layer)

    async def scratch(self, caller: Caller) -> ImageRecord:
        """The image without any files."""
        return await self._db.images.add(self._record(caller, "scratch"), SCRATCH_KEY)

    async def _pulled(self, order: Order, image: image_pb2.RegistryImage, key: bytes, *, layer: int) -> ImageRecord:
        """``layer``: whose log tells of it."""
        workspace, fresh = order.caller.workspace, order.is_fresh(0)
        async with self._turns.turn(workspace, key):
            known = None if fresh else await self._db.images.find(workspace, key)
            return known or await self._pulls.pull(workspace, image, order.kept(key), order.say(layer), replace=fresh)

    async def _local(self, caller: Caller, reference: common_pb2.ImageRef, key: bytes) -> ImageRecord:
        """A base that nodes make themselves, as an image to build on."""
        name = image_name(reference)
        return await self._db.images.add(self._record(caller, name, base=name), key)

    def _record(self, caller: Caller, description: str, *, base: str = "") -> ImageRecord:
        return ImageRecord(
            image_id=ImageId(new_id("im")),
            workspace=caller.workspace,
            source="build",
            description=description,
            base=base,
            created_at=self._clock(),
        )
