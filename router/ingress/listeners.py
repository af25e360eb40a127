"""The sockets of entrances: each is bound where the layout wants it, and again on the same port after a restart."""

from __future__ import annotations

import asyncio
import errno
import secrets
import ssl
from collections.abc import Callable
from typing import Final

import msgspec
import structlog

from cove.exception import InternalFailure, ResourceExhaustedError
from router.db.ingress import EntranceRecord
from router.ingress.layout import Bind, Layout

HANDSHAKE_S: Final = 10.0
BACKLOG: Final = 1024
MAX_TRIED: Final = 64
"""Random ports of a range that are tried before it counts as full."""

log = structlog.get_logger(__name__)

Factory = Callable[[EntranceRecord], asyncio.Protocol]


class Listeners:
    """All bound entrances of one router.

    Args:
        factory: makes the protocol of each connection to an entrance.
        context: TLS for one entrance.
    """

    def __init__(self, layout: Layout, factory: Factory, context: Callable[[EntranceRecord], ssl.SSLContext]) -> None:
        self._layout, self._factory, self._context = layout, factory, context
        self._servers: dict[str, list[asyncio.Server]] = {}

    def is_open(self, name: str) -> bool:
        """Whether the entrance is bound."""
        return name in self._servers

    async def open(self, entrance: EntranceRecord) -> EntranceRecord:
        """Listen for it.

        Returns: the entrance with the ports that it became.
        Raises:  ResourceExhaustedError, InternalFailure: a port cannot be bound; nothing is.
        """
        servers = self._servers.setdefault(entrance.name, [])
        try:
            plain_port, tls_port = entrance.plain_port, entrance.tls_port
            if bind := self._layout.plain(entrance):
                plain_port = await self._listen(servers, entrance, bind, None)
            if bind := self._layout.tls(entrance):
                tls_port = await self._listen(servers, entrance, bind, self._context(entrance))
        except BaseException:
            self.close(entrance.name)
            raise
        return msgspec.structs.replace(entrance, plain_port=plain_port, tls_port=tls_port)

    def close(self, name: str) -> None:
        """Take no more connections; those that are open are not touched. Idempotent."""
        for server in self._servers.pop(name, ()):
            server.close()

    def close_all(self) -> None:
        for name in list(self._servers):
            self.close(name)

    async def _listen(self, servers: list[asyncio.Server], entrance: EntranceRecord, bind: Bind, context: ssl.SSLContext | None) -> int:
        for port in _candidates(bind):
            try:
                server = await asyncio.get_running_loop().create_server(
                    lambda: self._factory(entrance),
                    bind.host,
                    port,
                    ssl=context,
                    ssl_handshake_timeout=HANDSHAKE_S if context else None,
                    backlog=BACKLOG,
                )
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    continue
                raise InternalFailure(f"The edge cannot listen on {bind.host}.", remedy="The router's log has the reason.") from error
            servers.append(server)
            bound: int = server.sockets[0].getsockname()[1]
            return bound
        raise ResourceExhaustedError(
            f"No port is free for the tunnel to port {entrance.port}.", remedy="Close other tunnels, or widen ingress_tcp_ports."
        )


def _candidates(bind: Bind) -> list[int]:
    if bind.port or not bind.among:
        return [bind.port]
    return secrets.SystemRandom().sample(bind.among, min(MAX_TRIED, len(bind.among)))
