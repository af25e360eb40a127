"""Apps: named groups that sandboxes belong to."""

from __future__ import annotations

from cove._async.base import Exposed
from cove._async.client import _Client, connection_of
from cove._transport.methods import APP_LOOKUP
from cove.types import check_name
from cove.wire import control_pb2


class _App(Exposed, constructor=True):
    """A named group: the owner of sandboxes, and the scope in which their names are unique."""

    def __init__(self, name: str | None = None) -> None:
        """Describe an App. It has an id only once it was looked up: see :meth:`lookup`.

        Raises:  InvalidError: not a valid name.
        """
        self._name = None if name is None else check_name(name, what="App")
        self._app_id: str | None = None
        self._client: _Client | None = None

    @staticmethod
    async def lookup(
        name: str,
        *,
        client: _Client | None = None,
        environment_name: str | None = None,
        create_if_missing: bool = False,
    ) -> _App:
        """Look up a deployed App by name.

        Args:
            client: instead of the default one.
            environment_name: look there instead of in the active environment.
            create_if_missing: make an empty App if there is none.
        Raises:
            NotFoundError: there is none, and ``create_if_missing`` is not set.
            InvalidError: not a valid name.
        """
        app = _App(name)
        connection = connection_of(client)
        request = control_pb2.AppLookupRequest(
            name=name, environment=environment_name or connection.server.environment, create_if_missing=create_if_missing
        )
        app._client = client
        app._app_id = (await connection.control.call(APP_LOOKUP, request)).app_id
        return app

    @property
    def name(self) -> str | None:
        """The name given by the user, if any."""
        return self._name

    @property
    def app_id(self) -> str | None:
        """The server's id (``ap-…``), None before the App was looked up."""
        return self._app_id

    @property
    def description(self) -> str | None:
        """The name, or else the id."""
        return self._name or self._app_id
