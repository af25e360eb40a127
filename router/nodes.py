"""The nodes that joined: who they are, when they were last heard of, and what is reserved on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Literal

import msgspec

from cove.exception import NotFoundError, ResourceExhaustedError
from cove.types import NodeId, SandboxId, new_id
from policies.images import in_order
from router.auth import SESSION_PREFIX, Hasher
from router.db.protocol import NodeStore
from router.db.records import Capacity, NodeRecord
from router.placement import NodeView
from router.spares import NodeSpares, OfferedSpare

HEARTBEAT_SAVED_EVERY_S: Final = 30.0
"""Heartbeats live in memory; the database gets one in this time, so that an idle machine's disk may sleep."""

_SESSION_SALT: Final = "node-session"

Health = Literal["healthy", "draining", "unreachable"]


class Node:
    """One node; the methods of :class:`NodeTable` change it."""

    def __init__(self, record: NodeRecord) -> None:
        self.record = record
        self.last_seen_at = record.last_seen_at
        self.reserved = record.reserved
        self.draining = record.draining
        self.last_sequence = 0
        self.saved_at = record.last_seen_at
        self._debian_pythons = frozenset(record.debian_pythons)
        self._proxies = frozenset(record.proxies)
        self.spares = NodeSpares()
        self.freeing = 0
        """Sandboxes that ended there and are still being removed, as it last said."""
        self._runsc_builds = frozenset(record.runsc_builds)
        self._expected: dict[SandboxId, Capacity] = {}
        self._expected_total = Capacity()

    @property
    def node_id(self) -> NodeId:
        return self.record.node_id

    def expect(self, sandbox_id: SandboxId, request: Capacity) -> None:
        """A sandbox is being sent there: count its request until a report can contain it."""
        self.expect_no_more(sandbox_id)
        self._expected[sandbox_id] = request
        self._expected_total += request

    def expect_no_more(self, sandbox_id: SandboxId) -> None:
        """The node did not take it, or has reported since."""
        request = self._expected.pop(sandbox_id, None)
        if request is not None:
            self._expected_total -= request

    def expected(self) -> list[SandboxId]:
        """What was sent there since its last report."""
        return list(self._expected)

    def view(self, *, usable: bool) -> NodeView:
        """What placement may know."""
        return NodeView(
            node_id=self.node_id,
            usable=usable,
            capacity=self.record.capacity,
            reserved=self.reserved + self._expected_total,
            debian_pythons=self._debian_pythons,
            runsc_version=self.record.runsc_version,
            runsc_builds=self._runsc_builds,
            proxies=self._proxies,
        )


class Registration(msgspec.Struct, frozen=True, kw_only=True):
    """What a node says of itself when it joins."""

    node_id: NodeId
    grpc_address: str
    http_url: str
    capacity: Capacity
    version: str
    runsc_version: str
    runsc_builds: tuple[str, ...]
    debian_pythons: tuple[str, ...]
    proxies: tuple[str, ...]


class NodeTable:
    """All nodes. The database has what must survive a restart; the rest comes with the next heartbeat."""

    def __init__(self, store: NodeStore, hasher: Hasher, *, clock: Callable[[], float], unreachable_after_s: float) -> None:
        self._store, self._hasher, self._clock = store, hasher, clock
        self._unreachable_after_s = unreachable_after_s
        self._nodes: dict[NodeId, Node] = {}
        self._by_session: dict[bytes, NodeId] = {}
        self.started_at = clock()

    async def load(self) -> None:
        """Read the nodes of earlier runs; they count as unreachable until they report."""
        for record in await self._store.list_():
            self._add(Node(record))

    async def register(self, registration: Registration) -> str:
        """Let a node join, or join again: its earlier session ends.

        Returns: the session token for its reports.
        """
        token, now = new_id(SESSION_PREFIX), self._clock()
        fields = msgspec.structs.asdict(registration)
        record = NodeRecord(**fields, session_hash=self._hasher(_SESSION_SALT, token), registered_at=now, last_seen_at=now)
        await self._store.put(record)
        earlier = self._nodes.get(registration.node_id)
        if earlier:
            self._by_session.pop(earlier.record.session_hash, None)
        self._add(Node(record))
        return token

    def by_session(self, token: str) -> Node | None:
        """The node whose session ``token`` is; None: it shall register again. Found by its hash, so timing tells nothing."""
        node_id = self._by_session.get(self._hasher(_SESSION_SALT, token))
        return self._nodes[node_id] if node_id is not None else None

    async def heartbeat(self, node: Node, *, reserved: Capacity, draining: bool) -> None:
        """The node is alive and says this of itself."""
        now = self._clock()
        urgent = draining != node.draining
        node.last_seen_at, node.reserved, node.draining = now, reserved, draining
        if urgent or now - node.saved_at >= HEARTBEAT_SAVED_EVERY_S:
            node.saved_at = now
            await self._store.seen(node.node_id, now, reserved=reserved, draining=draining)

    def get(self, node_id: NodeId) -> Node:
        """By id.

        Raises:  NotFoundError: no such node ever joined.
        """
        node = self._nodes.get(node_id)
        if node is None:
            raise NotFoundError(f"There is no node {node_id!r}.")
        return node

    def list_(self) -> list[Node]:
        """All nodes by id."""
        return [self._nodes[node_id] for node_id in sorted(self._nodes)]

    def health(self, node: Node) -> Health:
        """How the node is now."""
        if self._clock() - node.last_seen_at > self._unreachable_after_s:
            return "unreachable"
        return "draining" if node.draining else "healthy"

    def reachable(self) -> list[Node]:
        """Nodes that were heard of lately, by id."""
        return [node for node in self.list_() if self.health(node) != "unreachable"]

    def any_reachable(self) -> Node:
        """For work that every node can do; a healthy one where there is any. Raises: ResourceExhaustedError: there is none."""
        found = sorted(self.reachable(), key=lambda node: self.health(node) != "healthy")
        if not found:
            raise ResourceExhaustedError("No node can be reached.", remedy="See `cove status`; try again when one is there.")
        return found[0]

    def silent_for_s(self, node: Node) -> float:
        """Seconds without a heartbeat while this router listened; its own absence is not the node's."""
        return self._clock() - max(node.last_seen_at, self.started_at)

    def take_spare(self, order: Sequence[NodeId], shape: str) -> OfferedSpare | None:
        """A container of this shape on the first node of ``order`` that has one; it is nobody else's until :meth:`return_spare`."""
        for node_id in order:
            if (sandbox_id := self._nodes[node_id].spares.take(shape)) is not None:
                return OfferedSpare(node_id, sandbox_id)
        return None

    def return_spare(self, spare: OfferedSpare) -> None:
        """No sandbox came to be in it."""
        self._nodes[spare.node_id].spares.give_back(spare.sandbox_id)

    def views(self) -> list[NodeView]:
        """What placement may know of all nodes."""
        return [node.view(usable=self.health(node) == "healthy") for node in self._nodes.values()]

    def debian_pythons(self) -> list[str]:
        """Pythons that some reachable node has a default image for, oldest first."""
        return in_order(python for node in self.reachable() for python in node.record.debian_pythons)

    def has_proxy(self, name: str) -> bool:
        """Whether some node, be it reachable or not, has the proxy."""
        return any(name in node.record.proxies for node in self._nodes.values())

    def _add(self, node: Node) -> None:
        self._nodes[node.node_id] = node
        self._by_session[node.record.session_hash] = node.node_id
