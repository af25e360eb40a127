"""Puts the parts of web terminals together."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from router.auth import Hasher
from router.changes import Changes
from router.db.protocol import Database
from router.node_client import NodeClient
from router.nodes import NodeTable
from router.settings import RouterSettings
from router.terminal.edge import TerminalEdge
from router.terminal.keeper import TerminalKeeper
from router.terminal.live import LiveTerminals
from router.terminal.process import Connections
from router.terminal.tickets import Terminals


class TerminalParts(msgspec.Struct, frozen=True, kw_only=True):
    """What the router serves and runs."""

    terminals: Terminals
    live: LiveTerminals
    edge: TerminalEdge
    keeper: TerminalKeeper


def assemble_terminals(
    settings: RouterSettings,
    db: Database,
    hasher: Hasher,
    nodes: NodeTable,
    client: NodeClient,
    changes: Changes,
    clock: Callable[[], float],
) -> TerminalParts:
    """The parts, wired; ``live`` is to be entered before anything is served."""
    terminals = Terminals(db, hasher, idle_s=settings.terminal_idle_s, lifetime_s=settings.terminal_lifetime_s, clock=clock)
    connections = Connections(db, nodes, client, changes, clock=clock)
    live = LiveTerminals(connections, clock=clock)
    return TerminalParts(
        terminals=terminals,
        live=live,
        edge=TerminalEdge(terminals, live, url=settings.advertised_http_url, clock=clock),
        keeper=TerminalKeeper(db, terminals, live, connections),
    )
