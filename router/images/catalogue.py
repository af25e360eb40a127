"""What images there are: looking up, listing, deleting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from cove.exception import ConflictError, NotFoundError
from cove.types import is_id
from router.auth import Caller
from router.convert import from_cursor, to_cursor
from router.db.protocol import Database
from router.db.records import ImageRecord

MAX_LISTED: Final = 500
DEFAULT_LISTED: Final = 100


class Catalogue:
    """One instance per router."""

    def __init__(self, db: Database, *, clock: Callable[[], float]) -> None:
        self._db, self._clock = db, clock

    async def get(self, workspace: str, image_id: str) -> ImageRecord:
        """Raises: NotFoundError: no such image, or another workspace's."""
        image = await self._db.images.get(image_id) if is_id(image_id, "im") else None
        if image is None or image.workspace != workspace:
            raise NotFoundError(f"There is no image {image_id[:80]!r}.", remedy="`cove image list` shows what there is.")
        return image

    async def list_(self, caller: Caller, *, cursor: str, limit: int) -> tuple[list[ImageRecord], str]:
        """A page of images, newest first, and the cursor of the next. Raises: InvalidError: no cursor of ours."""
        wanted = min(limit or DEFAULT_LISTED, MAX_LISTED)
        found = await self._db.images.list_(caller.workspace, after=from_cursor(cursor), limit=wanted + 1)
        page = found[:wanted]
        return page, to_cursor(page[-1].created_at, page[-1].image_id) if len(found) > wanted else ""

    async def unreachable(self, caller: Caller, *, older_than_s: float) -> list[ImageRecord]:
        """Images that no key names and no sandbox runs on, and that are no snapshots: left over from builds that ignored the cache."""
        return [
            image
            for image in await self._db.images.keyless(caller.workspace, self._clock() - older_than_s)
            if image.source != "snapshot" and not await self._db.images.used_by(image.image_id)
        ]

    async def delete(self, caller: Caller, image_id: str) -> None:
        """Forget an image; its layers go when nothing else has them.

        Raises:  NotFoundError. ConflictError: sandboxes run on it, or a memory snapshot stands on it.
        """
        image = await self.get(caller.workspace, image_id)
        if await self._db.images.delete(image.image_id):
            return
        if snapshot_id := await self._db.snapshots.of_image(image.image_id):
            raise ConflictError(f"The snapshot {snapshot_id} stands on the image.", remedy="Delete that: the image goes with it.")
        if users := await self._db.images.used_by(image.image_id):
            raise ConflictError(f"{users} sandboxes run on the image.", remedy="Terminate them first.")
