"""Puts the edge together: entrances, what serves them, and the service's methods."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec

from cove.exception import InvalidError
from router.access import AccessKey
from router.changes import Changes
from router.db.ingress import EntranceKind, EntranceRecord
from router.db.protocol import Database
from router.ingress.connect_edge import ConnectEdge
from router.ingress.connect_tokens import ConnectTokens
from router.ingress.dialer import Dialer
from router.ingress.domain_tls import DomainTls, SniDoor
from router.ingress.entrances import Entrances
from router.ingress.layout import DomainLayout, Layout, LoopbackLayout
from router.ingress.limits import ConnectionLimits
from router.ingress.listeners import BACKLOG, HANDSHAKE_S, Listeners
from router.ingress.tls import LoopbackTls
from router.ingress.tunnel_edge import TunnelClient, TunnelEdge
from router.ingress_api import IngressApi
from router.metrics import Metrics
from router.nodes import NodeTable
from router.sandboxes import Sandboxes
from router.settings import RouterSettings


class IngressParts(msgspec.Struct, frozen=True, kw_only=True):
    """The edge, wired."""

    entrances: Entrances
    tokens: ConnectTokens
    layout: Layout
    limits: ConnectionLimits
    domain_tls: DomainTls | None
    """With a domain: what its port's certificates come from."""

    def api(self, sandboxes: Sandboxes) -> IngressApi:
        """The methods of the service."""
        return IngressApi(sandboxes, self.entrances, self.tokens, self.layout)

    async def run(self) -> None:
        """What the edge does by itself, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.entrances.run(), name="entrances")
            if self.domain_tls is not None:
                group.create_task(self.domain_tls.watch(), name="certificates")


class _Edges:
    """What serves connections, by the kind of their entrance."""

    def __init__(self, tunnels: TunnelEdge, connects: ConnectEdge) -> None:
        self._tunnels, self._connects = tunnels, connects

    def protocol(self, entrance: EntranceRecord | None, *, tls: bool) -> asyncio.Protocol:
        """Of a connection to an entrance, or to none, which its client is told in HTTP."""
        if entrance is None or entrance.kind is EntranceKind.CONNECT:
            return self._connects.new(entrance, tls=tls)
        return TunnelClient(self._tunnels, entrance)

    def break_off(self, name: str) -> None:
        """Break all connections of an entrance off."""
        self._tunnels.break_off(name)
        self._connects.break_off(name)

    async def close(self) -> None:
        """Break everything off."""
        await self._tunnels.close()
        await self._connects.close()


@asynccontextmanager
async def running_ingress(
    settings: RouterSettings,
    db: Database,
    nodes: NodeTable,
    key: AccessKey,
    changes: Changes,
    metrics: Metrics,
    clock: Callable[[], float],
) -> AsyncIterator[IngressParts]:
    """The edge, open until the block is left.

    Raises:  InvalidError: its port cannot be bound, or its certificate cannot be used.
    """
    limits = ConnectionLimits(in_all=settings.ingress_max_connections, per_sandbox=settings.ingress_max_connections_per_sandbox)
    dialer, tokens = Dialer(db, nodes, key, clock=clock), ConnectTokens(db, key, clock=clock)
    edges = _Edges(TunnelEdge(dialer, limits, metrics), ConnectEdge(dialer, tokens, limits, metrics, clock=clock))
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(edges.close)
        opening = _domain if settings.ingress_domain else _loopback
        entrances, layout, tls = await opening(
            settings, edges, lambda listeners: Entrances(db, changes, listeners, edges.break_off, clock=clock), stack
        )
        stack.callback(entrances.close_all)
        await entrances.restore()
        yield IngressParts(entrances=entrances, tokens=tokens, layout=layout, limits=limits, domain_tls=tls)


_Made = tuple[Entrances, Layout, DomainTls | None]
_Make = Callable[[Listeners], Entrances]


async def _loopback(settings: RouterSettings, edges: _Edges, make: _Make, stack: contextlib.AsyncExitStack) -> _Made:
    """Entrances on addresses and ports of their own."""
    layout, tls = LoopbackLayout(), LoopbackTls(settings.router_dir)
    return make(Listeners(layout, lambda entrance: edges.protocol(entrance, tls=False), tls.context)), layout, None


async def _domain(settings: RouterSettings, edges: _Edges, make: _Make, stack: contextlib.AsyncExitStack) -> _Made:
    """Entrances with names of their own below a domain."""
    domain = settings.ingress_domain or ""
    files = settings.ingress_certificate, settings.ingress_key
    tls = DomainTls(domain, *files, settings.router_dir, lambda host: _named(layout, entrances, host))
    listener = await _listen(
        settings.ingress_tls_address, tls.shared, lambda: SniDoor(tls, lambda entrance: edges.protocol(entrance, tls=True))
    )
    stack.callback(listener.close)
    layout = DomainLayout(
        domain,
        tls_port=settings.ingress_tls_port or listener.sockets[0].getsockname()[1],
        tcp_host=settings.ingress_tcp_host,
        tcp_ports=settings.ingress_tcp_ports,
    )
    entrances = make(Listeners(layout, lambda entrance: edges.protocol(entrance, tls=False), lambda _: tls.shared))
    return entrances, layout, tls


def _named(layout: DomainLayout, entrances: Entrances, host: str) -> EntranceRecord | None:
    name = layout.name_of(host)
    return entrances.find(name) if name else None


async def _listen(address: str, context: ssl.SSLContext, factory: Callable[[], asyncio.Protocol]) -> asyncio.Server:
    """Raises:  InvalidError: the address is taken or not this machine's."""
    host, _, port = address.rpartition(":")
    try:
        return await asyncio.get_running_loop().create_server(
            factory, host.strip("[]"), int(port), ssl=context, ssl_handshake_timeout=HANDSHAKE_S, backlog=BACKLOG
        )
    except OSError as error:
        raise InvalidError(f"The router cannot listen on {address}.", remedy="Is another running? Else set ingress_tls_address.") from error
