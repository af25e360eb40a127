"""Background work on what nodes keep, be it layers or memory: bringing it to the store, and removing what no record knows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, Generic, Protocol, TypeVar

import structlog

from cove.exception import Error
from cove.types import NodeId
from router.nodes import Node, NodeTable

log = structlog.get_logger(__name__)

ROUND_LIMIT: Final = 100
"""Things that a round takes up; the next one goes on."""


class Kept(Protocol):
    """What a node keeps and the store does not have yet."""

    @property
    def node_id(self) -> NodeId: ...


T = TypeVar("T", bound=Kept)


class Backlog(Generic[T]):
    """Brings things to the store, in rounds. What failed last time comes after the others."""

    def __init__(self, nodes: NodeTable, what: str, *, id_of: Callable[[T], str], store: Callable[[T], Awaitable[object]]) -> None:
        """
        Args:
            what: names one of them in logs.
            store: has the thing's node store it; raises Error.
        """
        self._nodes, self._what, self._id_of, self._store = nodes, what, id_of, store
        self._failed: set[str] = set()

    async def work_off(self, waiting: Iterable[T]) -> None:
        """Store those that can be stored now, oldest first, at most ``ROUND_LIMIT``. Those whose node is away wait."""
        there = {node.node_id for node in self._nodes.reachable()}
        found = [item for item in waiting if item.node_id in there]
        self._failed &= set(map(self._id_of, found))
        found.sort(key=lambda item: self._id_of(item) in self._failed)
        async with asyncio.TaskGroup() as group:
            for item in found[:ROUND_LIMIT]:
                group.create_task(self._try(item))

    async def _try(self, item: T) -> None:
        try:
            await self._store(item)
        except Error as error:
            self._failed.add(self._id_of(item))
            log.warning(f"{self._what} not stored", id=self._id_of(item), node=item.node_id, code=error.code, cause=error.cause)


class Leftovers:
    """Finds things on nodes that no record knows. What is unknown in two looks is left over from work that was cut short, and goes."""

    def __init__(
        self,
        nodes: NodeTable,
        what: str,
        *,
        listed: Callable[[Node], Awaitable[Sequence[str]]],
        known: Callable[[str], Awaitable[bool]],
        remove: Callable[[Node, str], Awaitable[None]],
    ) -> None:
        """
        Args:
            what: names one of them in logs.
            listed: the ids of all that a node keeps; raises Error.
            known: whether a record knows an id.
            remove: has a node remove one; raises Error.
        """
        self._nodes, self._what = nodes, what
        self._listed, self._known, self._remove = listed, known, remove
        self._unknown: set[tuple[NodeId, str]] = set()

    async def audit(self) -> None:
        """One look. Let the longest that a thing may be unknown without being left over pass between two."""
        found: set[tuple[NodeId, str]] = set()
        for node in self._nodes.reachable():
            found |= {(node.node_id, item) for item in await self._strays(node)}
        for node_id, item in found & self._unknown:
            log.warning(f"{self._what} left over, removed", id=item, node=node_id)
            await self._remove_from(self._nodes.get(node_id), item)
        self._unknown = found - self._unknown

    async def remove_everywhere(self, item: str) -> set[NodeId]:
        """From every node that can be reached. What stays, for it is in use or its node away, is found by an audit.

        Returns: the nodes that do not have it now.
        """
        return {node.node_id for node in self._nodes.reachable() if await self._remove_from(node, item)}

    async def _strays(self, node: Node) -> set[str]:
        """What no record knows on the node; nothing if it cannot be asked."""
        try:
            listed = await self._listed(node)
        except Error as error:
            log.warning(f"{self._what} not audited", node=node.node_id, code=error.code, cause=error.cause)
            return set()
        return {item for item in listed if not await self._known(item)}

    async def _remove_from(self, node: Node, item: str) -> bool:
        try:
            await self._remove(node, item)
        except Error as error:
            log.info(f"{self._what} not removed", id=item, node=node.node_id, code=error.code)
            return False
        return True
