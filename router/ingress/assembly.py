"""Puts the edge together: entrances, what serves them, and the service's methods."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec

from router.access import AccessKey
from router.changes import Changes
from router.db.ingress import EntranceKind, EntranceRecord
from router.db.protocol import Database
from router.ingress.connect_edge import ConnectEdge
from router.ingress.connect_tokens import ConnectTokens
from router.ingress.dialer import Dialer
from router.ingress.entrances import Entrances
from router.ingress.layout import Layout, LoopbackLayout
from router.ingress.limits import ConnectionLimits
from router.ingress.listeners import Listeners
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

    def api(self, sandboxes: Sandboxes) -> IngressApi:
        """The methods of the service."""
        return IngressApi(sandboxes, self.entrances, self.tokens, self.layout)


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
    """The edge, open until the block is left."""
    limits = ConnectionLimits(in_all=settings.ingress_max_connections, per_sandbox=settings.ingress_max_connections_per_sandbox)
    dialer = Dialer(db, nodes, key, clock=clock)
    tunnels = TunnelEdge(dialer, limits, metrics)
    tokens = ConnectTokens(db, key, clock=clock)
    layout, tls = LoopbackLayout(), LoopbackTls(settings.router_dir)

    connects = ConnectEdge(dialer, tokens, limits, metrics, clock=clock)

    def protocol(entrance: EntranceRecord) -> asyncio.Protocol:
        return connects.new(entrance, tls=False) if entrance.kind is EntranceKind.CONNECT else TunnelClient(tunnels, entrance)

    def break_off(name: str) -> None:
        tunnels.break_off(name)
        connects.break_off(name)

    listeners = Listeners(layout, protocol, tls.context)
    entrances = Entrances(db, changes, listeners, break_off=break_off, clock=clock)
    await entrances.restore()
    try:
        yield IngressParts(entrances=entrances, tokens=tokens, layout=layout, limits=limits)
    finally:
        entrances.close_all()
        await tunnels.close()
        await connects.close()
