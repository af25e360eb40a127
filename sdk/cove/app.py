# Written by `make facade` from cove/_async/app.py and its parts: change those, not this.
# It has every method of theirs with signature and documentation, for callers that block and that await: hence its length.
"""Apps: named groups that sandboxes belong to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cove._async.app import _App
from cove._async.client import _Client
from cove._dual import Face, attach, function, unwrap, wrap

if TYPE_CHECKING:
    from cove.client import Client


class App(Face):
    """A named group: the owner of sandboxes, and the scope in which their names are unique."""

    __slots__ = ()
    _impl: _App

    def __init__(self, name: str | None = None) -> None:
        """Describe an App. It has an id only once it was looked up: see :meth:`lookup`.

        Raises:  InvalidError: not a valid name.
        """
        attach(self, _App(name))

    @staticmethod
    @function
    async def lookup(
        name: str, *, client: Client | None = None, environment_name: str | None = None, create_if_missing: bool = False
    ) -> App:
        """Look up a deployed App by name.

        Args:
            client: instead of the default one.
            environment_name: look there instead of in the active environment.
            create_if_missing: make an empty App if there is none.
        Raises:
            NotFoundError: there is none, and ``create_if_missing`` is not set.
            InvalidError: not a valid name.
        """
        result: App = wrap(
            await _App.lookup(name, client=unwrap(client, _Client), environment_name=environment_name, create_if_missing=create_if_missing)
        )
        return result

    @property
    def name(self) -> str | None:
        """The name given by the user, if any."""
        return self._impl.name

    @property
    def app_id(self) -> str | None:
        """The server's id (``ap-…``), None before the App was looked up."""
        return self._impl.app_id

    @property
    def description(self) -> str | None:
        """The name, or else the id."""
        return self._impl.description


__all__ = ["App"]
