"""What nodes say about sandboxes, merged into the records. One path for news, for complete reports and for the audit."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import msgspec
import structlog

from cove.exception import InvalidError, ResourceExhaustedError
from cove.types import EXIT_TERMINATED, EXIT_TIMEOUT, EndReason, NodeId, SandboxId
from cove.wire import common_pb2, node_pb2
from router.changes import Changes
from router.convert import from_spares, from_status, to_capacity
from router.creation import Creation
from router.db.protocol import Database
from router.db.records import Observed, SandboxRecord, SandboxState
from router.nodes import Node, NodeTable

MAX_STATUSES: Final = 100_000
MAX_STRAYS: Final = 10_000
"""Strays remembered at a time; the next audit brings those that did not fit."""

log = structlog.get_logger(__name__)


class Reports:
    """Merges what nodes say; one instance per router."""

    def __init__(
        self, db: Database, nodes: NodeTable, changes: Changes, creation: Creation, *, clock: Callable[[], float], create_grace_s: float
    ) -> None:
        self._db, self._nodes, self._changes, self._creation = db, nodes, changes, creation
        self._clock, self._create_grace_s = clock, create_grace_s
        self.strays: set[tuple[NodeId, SandboxId]] = set()
        """Running on a node though no record wants them there: for the reconciler to end."""

    async def take(self, node: Node, request: node_pb2.ReportRequest) -> None:
        """Merge a report; one that arrives late or twice counts as a sign of life only.

        Raises:  InvalidError: it is malformed; nothing of it was taken. ResourceExhaustedError: it is too large.
        """
        reserved = to_capacity(request.reserved)
        seen = self._parse(request.sandboxes)
        spares = from_spares(request.spares) if request.HasField("spares") else None
        if request.sequence > node.last_sequence:
            await self.merge(node, seen, complete=request.complete)
            node.last_sequence = request.sequence  # after the merge: a report that failed half-way can be sent again
            if spares is not None:
                node.spares.tell(*spares)
            node.freeing = request.freeing
            for sandbox_id in node.expected():
                if not self._creation.in_progress(sandbox_id):
                    node.expect_no_more(sandbox_id)
        await self._nodes.heartbeat(node, reserved=reserved, draining=request.draining)

    async def take_list(self, node: Node, statuses: Iterable[common_pb2.SandboxStatus], *, complete: bool) -> None:
        """Merge what a node answered when it was asked.

        Raises:  InvalidError, ResourceExhaustedError: as :meth:`take`.
        """
        await self.merge(node, self._parse(statuses), complete=complete)

    async def merge(self, node: Node, seen: dict[SandboxId, Observed], *, complete: bool) -> None:
        """Store what is news; find strays and, if ``complete``, what the node has lost."""
        accepted: dict[SandboxId, Observed] = {}
        for sandbox_id, observed in seen.items():
            record = await self._db.sandboxes.get(sandbox_id)
            if record is not None and record.node_id == node.node_id and not record.is_stopped:
                if record.observed != observed:
                    accepted[sandbox_id] = observed
            elif observed.state < SandboxState.STOPPING:
                self._add_stray(node, sandbox_id)
        if complete:
            for record in await self._lost(node, seen):
                accepted[record.sandbox_id] = self._ended(record, "The node has lost the sandbox.")
        await self._store(node.node_id, accepted)

    async def give_up(self, records: Iterable[SandboxRecord], message: str, reason: EndReason = EndReason.INTERNAL_FAILURE) -> None:
        """End sandboxes without their nodes' word."""
        by_node: dict[NodeId, dict[SandboxId, Observed]] = {}
        for record in records:
            by_node.setdefault(record.node_id, {})[record.sandbox_id] = self._ended(record, message, reason)
        for node_id, ended in by_node.items():
            await self._store(node_id, ended)
            log.warning("sandboxes given up", node=node_id, sandboxes=len(ended), cause=message)

    def _parse(self, statuses: Iterable[common_pb2.SandboxStatus]) -> dict[SandboxId, Observed]:
        """Raises:  InvalidError: a status is malformed. ResourceExhaustedError: there are too many."""
        now, seen = self._clock(), dict[SandboxId, Observed]()
        for status in statuses:
            sandbox_id, observed = from_status(status, now=now)
            if sandbox_id in seen:
                raise InvalidError("A report names a sandbox twice.")
            seen[sandbox_id] = observed
            if len(seen) > MAX_STATUSES:
                raise ResourceExhaustedError("A report has too many sandboxes.", retryable=False)
        return seen

    async def _lost(self, node: Node, seen: dict[SandboxId, Observed]) -> list[SandboxRecord]:
        """Records of the node's sandboxes that it does not have, though it had time to get them."""
        before = self._clock() - self._create_grace_s
        records = await self._db.sandboxes.unstopped_on(node.node_id)
        return [
            record
            for record in records
            if record.sandbox_id not in seen and record.created_at < before and not self._creation.in_progress(record.sandbox_id)
        ]

    def _ended(self, record: SandboxRecord, message: str, reason: EndReason = EndReason.INTERNAL_FAILURE) -> Observed:
        """How ``record`` ends when its node has no word on it. A reason that was decided before it fell silent stays."""
        now = self._clock()
        if record.observed.reason is not None:
            return msgspec.structs.replace(record.observed, state=SandboxState.STOPPED, ended_at=record.observed.ended_at or now)
        if record.terminate_asked_at:
            reason = EndReason.TERMINATED
        exit_code = EXIT_TIMEOUT if reason is EndReason.TIMEOUT else EXIT_TERMINATED
        return msgspec.structs.replace(
            record.observed, state=SandboxState.STOPPED, reason=reason, exit_code=exit_code, message=message, ended_at=now
        )

    async def _store(self, node_id: NodeId, accepted: dict[SandboxId, Observed]) -> None:
        self._changes.wake(await self._db.sandboxes.observe(node_id, accepted))

    def _add_stray(self, node: Node, sandbox_id: SandboxId) -> None:
        if len(self.strays) < MAX_STRAYS:
            self.strays.add((node.node_id, sandbox_id))
