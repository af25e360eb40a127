"""Makes what is agree with what shall be. Takes no input: each round looks at records and nodes; any may be skipped."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import structlog

from cove.exception import Error, NotFoundError
from cove.types import EndReason, NodeId, SandboxId
from router.auth import Authenticator
from router.creation import Creation
from router.db.protocol import Database
from router.db.records import SandboxRecord
from router.node_client import NodeClient
from router.nodes import Node, NodeTable
from router.reports import Reports
from router.settings import RouterSettings

MAX_CALLS: Final = 32
"""Calls to nodes in flight in one round."""
ROUND_LIMIT: Final = 500
"""Records a round takes up; the next one goes on."""
HOUSEKEEPING_INTERVAL_S: Final = 60.0

log = structlog.get_logger(__name__)


class Reconciler:
    """The router's background work; one instance per router."""

    def __init__(
        self,
        db: Database,
        nodes: NodeTable,
        client: NodeClient,
        reports: Reports,
        creation: Creation,
        authenticator: Authenticator,
        *,
        settings: RouterSettings,
        clock: Callable[[], float],
    ) -> None:
        self._db, self._nodes, self._client, self._reports = db, nodes, client, reports
        self._creation, self._authenticator = creation, authenticator
        self._settings, self._clock = settings, clock
        self._audited_at: dict[NodeId, float] = {}
        self._housekept_at = 0.0
        self._calls = asyncio.Semaphore(MAX_CALLS)

    async def run(self) -> None:
        """Rounds for ever. One that fails is logged; the next starts from what is there."""
        while True:
            try:
                await self.round()
            except Error as error:
                log.error("reconcile round failed", code=error.code, cause=error.cause)
            await asyncio.sleep(self._settings.reconcile_interval_s)

    async def round(self) -> None:
        """Look at everything once.

        Raises:  Error: the database failed.
        """
        await self._give_up_silent_nodes()
        await self._all(self._terminate_stray(*stray) for stray in self._take_strays())
        await self._all(self._repeat_terminate(record) for record in await self._db.sandboxes.terminating(ROUND_LIMIT))
        await self._all(self._audit(node) for node in self._nodes.list_() if self._audit_is_due(node))
        if self._clock() - self._housekept_at >= HOUSEKEEPING_INTERVAL_S:
            self._housekept_at = self._clock()
            await self._housekeep()

    async def _give_up_silent_nodes(self) -> None:
        for node in self._nodes.list_():
            silent_for_s = self._nodes.silent_for_s(node)
            if silent_for_s <= self._settings.node_unreachable_after_s:
                continue
            records = await self._db.sandboxes.unstopped_on(node.node_id)
            if silent_for_s > self._settings.node_lost_after_s:
                await self._reports.give_up(records, "The sandbox's node is lost: it does not answer any more.")
                continue
            before = self._clock() - self._settings.expiry_grace_s
            expired = [record for record in records if 0 < record.observed.expires_at < before]
            await self._reports.give_up(expired, "The sandbox reached the end of its lifetime; its node is silent.", EndReason.TIMEOUT)

    def _take_strays(self) -> list[tuple[Node, SandboxId]]:
        taken = [(self._nodes.get(node_id), sandbox_id) for node_id, sandbox_id in self._reports.strays]
        self._reports.strays.clear()
        return taken

    async def _terminate_stray(self, node: Node, sandbox_id: SandboxId) -> None:
        record = await self._db.sandboxes.get(sandbox_id)
        if record is not None and record.node_id == node.node_id and not record.is_stopped:
            return  # it has a home after all
        log.warning("stray sandbox terminated", sandbox=sandbox_id, node=node.node_id)
        # If this fails, the next audit finds it again.
        await self._terminate(node, sandbox_id)

    async def _repeat_terminate(self, record: SandboxRecord) -> None:
        node = self._nodes.get(record.node_id)
        if not record.is_live or self._nodes.health(node) == "unreachable":
            return
        known = await self._terminate(node, record.sandbox_id)
        old_enough = record.created_at < self._clock() - self._settings.create_grace_s
        if not known and old_enough and not self._creation.in_progress(record.sandbox_id):
            await self._reports.give_up([record], "The sandbox was terminated before it came up.", EndReason.TERMINATED)

    async def _terminate(self, node: Node, sandbox_id: SandboxId) -> bool:
        """Tell the node. False: it has no such sandbox."""
        try:
            await self._client.terminate(node, sandbox_id)
        except NotFoundError:
            return False
        except Error as error:
            log.info("node not reached", node=node.node_id, code=error.code)
        return True

    def _audit_is_due(self, node: Node) -> bool:
        due = self._clock() - self._audited_at.setdefault(node.node_id, self._clock()) >= self._settings.audit_interval_s
        return due and self._nodes.health(node) != "unreachable"

    async def _audit(self, node: Node) -> None:
        """Ask the node for everything: reports can be lost with a router that took them but did not store them."""
        self._audited_at[node.node_id] = self._clock()
        try:
            await self._reports.take_list(node, await self._client.list_(node), complete=True)
        except Error as error:
            log.info("node not audited", node=node.node_id, code=error.code, cause=error.cause)

    async def _housekeep(self) -> None:
        await self._authenticator.save_use()
        now = self._clock()
        await self._drain(lambda: self._db.sandboxes.purge(now - self._settings.stopped_retention_s, ROUND_LIMIT))
        await self._drain(lambda: self._db.idempotency.purge(now - self._settings.idempotency_retention_s, ROUND_LIMIT))

    async def _drain(self, purge: Callable[[], Awaitable[int]]) -> None:
        """Repeat in small transactions, between which others write."""
        more = True
        while more:
            more = await purge() == ROUND_LIMIT

    async def _all(self, work: Iterable[Awaitable[None]]) -> None:
        async with asyncio.TaskGroup() as group:
            for item in work:
                group.create_task(self._limited(item))

    async def _limited(self, work: Awaitable[None]) -> None:
        async with self._calls:
            await work
