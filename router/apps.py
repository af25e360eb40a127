"""Apps, as the requests of clients name them."""

from __future__ import annotations

from cove.exception import NotFoundError
from cove.types import AppId
from router.auth import Caller
from router.db.protocol import Database
from router.db.records import AppRecord


async def app_of(db: Database, caller: Caller, app_id: str) -> AppRecord:
    """The App of this id. Raises: NotFoundError: there is none, or it is another workspace's."""
    app = await db.apps.get(AppId(app_id))
    if app is None or app.workspace != caller.workspace:
        raise NotFoundError(f"There is no App {app_id[:80]!r}.", remedy="Look it up: `App.lookup(name, create_if_missing=True)`.")
    return app
