# Written by `make facade` from cove/_async/proxy.py and its parts: change those, not this.
# It has every method of theirs with signature and documentation, for callers that block and that await: hence its length.
"""Proxies: where a sandbox's connections leave from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cove._async.client import _Client
from cove._async.proxy import _Proxy
from cove._dual import Face, method, unwrap, wrap

if TYPE_CHECKING:
    from cove.client import Client


class Proxy(Face):
    """A proxy that the operator configured, for a fixed address towards the outside: ``Sandbox.create(proxy=...)``.

    All TCP connections of the sandbox go through it; UDP and anything else is refused, names are looked up by the node.
    """

    __slots__ = ()
    _impl: _Proxy

    @staticmethod
    def from_name(name: str, *, environment_name: str | None = None, client: Client | None = None) -> Proxy:
        """The proxy of this name, which the server is asked for when it is first used: NotFoundError is raised then.

        Args:    environment_name: makes no difference: proxies are the same in all environments.
        Raises:  InvalidError: not a valid name.
        """
        result: Proxy = wrap(_Proxy.from_name(name, environment_name=environment_name, client=unwrap(client, _Client)))
        return result

    @method
    async def hydrate(self, client: Client | None = None) -> Proxy:
        """Ask the server for it now. Raises: NotFoundError: there is none."""
        result: Proxy = wrap(await self._impl.hydrate(unwrap(client, _Client)))
        return result

    @property
    def name(self) -> str:
        """The name that the operator gave it."""
        return self._impl.name

    @property
    def object_id(self) -> str | None:
        """The server's id (``pr-…``), None before the server was asked."""
        return self._impl.object_id


__all__ = ["Proxy"]
