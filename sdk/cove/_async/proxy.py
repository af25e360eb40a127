"""Proxies: where a sandbox's connections leave from."""

from __future__ import annotations

from cove._async.base import Exposed
from cove._async.client import _Client, connection_of
from cove._transport.methods import PROXY_GET
from cove.types import check_name
from cove.wire import control_pb2


class _Proxy(Exposed):
    """A proxy that the operator configured, for a fixed address towards the outside: ``Sandbox.create(proxy=...)``.

    All TCP connections of the sandbox go through it; UDP and anything else is refused, names are looked up by the node.
    """

    def __init__(self, name: str, environment_name: str | None, client: _Client | None) -> None:
        self._name = name
        self._environment_name = environment_name
        self._client = client
        self._proxy_id: str | None = None

    @staticmethod
    def from_name(name: str, *, environment_name: str | None = None, client: _Client | None = None) -> _Proxy:
        """The proxy of this name, which the server is asked for when it is first used: NotFoundError is raised then.

        Args:    environment_name: makes no difference: proxies are the same in all environments.
        Raises:  InvalidError: not a valid name.
        """
        return _Proxy(check_name(name, what="Proxy"), environment_name, client)

    async def hydrate(self, client: _Client | None = None) -> _Proxy:
        """Ask the server for it now. Raises: NotFoundError: there is none."""
        if self._proxy_id is None:
            connection = connection_of(client or self._client)
            request = control_pb2.ProxyGetRequest(name=self._name, environment=self._environment_name or connection.server.environment)
            self._proxy_id = (await connection.control.call(PROXY_GET, request)).proxy_id
        return self

    @property
    def name(self) -> str:
        """The name that the operator gave it."""
        return self._name

    @property
    def object_id(self) -> str | None:
        """The server's id (``pr-…``), None before the server was asked."""
        return self._proxy_id


async def proxy_name(proxy: _Proxy | None) -> str:
    """What the wire calls it; empty: none. Raises: NotFoundError: there is no such proxy."""
    return (await proxy.hydrate()).name if proxy is not None else ""
