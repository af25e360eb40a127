"""Pausing sandboxes and waking them when somebody asks for it. What else needs a paused sandbox wakes it at its node."""

from __future__ import annotations

from router.auth import Caller
from router.db.records import SandboxRecord
from router.images.snapshots import check_moment
from router.node_client import NodeClient
from router.nodes import Node, NodeTable
from router.reports import Reports
from router.sandboxes import Sandboxes


class Pausing:
    """One instance per router. What is told to the caller is known here, too, when he is told."""

    def __init__(self, sandboxes: Sandboxes, nodes: NodeTable, client: NodeClient, reports: Reports) -> None:
        self._sandboxes, self._nodes, self._client, self._reports = sandboxes, nodes, client, reports

    async def pause(self, caller: Caller, sandbox_id: str, timeout_s: float) -> None:
        """Have its memory written to its node's disk and freed; a no-op when it is paused.

        Args:    timeout_s: 0 is the default.
        Raises:
            InvalidError: the time-out. NotFoundError: no such sandbox.
            ConflictError: it has ended, or something in there cannot be kept. ResourceExhaustedError: the node's disk is full.
            ConnectionError, ServiceError: the node did not answer in time; asking again is harmless.
        """
        record, node, most_s = await self._find(caller, sandbox_id, timeout_s)
        status = await self._client.pause(node, record.sandbox_id, timeout_s=most_s)
        await self._reports.take_list(node, [status], complete=False)

    async def resume(self, caller: Caller, sandbox_id: str, timeout_s: float) -> None:
        """Let it run if it is paused. Raises: as :meth:`pause`; ResourceExhaustedError: its node has no room for it now."""
        record, node, most_s = await self._find(caller, sandbox_id, timeout_s)
        status = await self._client.resume(node, record.sandbox_id, timeout_s=most_s)
        await self._reports.take_list(node, [status], complete=False)

    async def _find(self, caller: Caller, sandbox_id: str, timeout_s: float) -> tuple[SandboxRecord, Node, float]:
        record = await self._sandboxes.get(caller, sandbox_id)
        return record, self._nodes.get(record.node_id), check_moment(record, timeout_s)
