"""The create saga against a model: many clients, few keys and names, nodes that refuse, fall silent or lose answers, in any order.

After every storm: one key has one answer, one name one holder, every sandbox that a client was given runs on the node its record names,
and nothing else runs there but strays that the next audit ends.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cove.exception import AlreadyExistsError, ConnectionError, InternalFailure, NotFoundError, ResourceExhaustedError
from cove.types import AppId, NodeId, SandboxId
from cove.wire import common_pb2, control_pb2, node_pb2
from policies.limits import DEFAULT_LIMITS
from router.auth import Caller, Hasher
from router.changes import Changes
from router.creation import Creation
from router.db.protocol import Database
from router.db.records import AppRecord, Capacity, SandboxQuery, SandboxRecord, SandboxState
from router.db.sqlite.database import open_sqlite
from router.node_client import NodeClient
from router.nodes import Node, NodeTable, Registration
from router.reports import Reports
from router.tasks import Finisher

CALLER = Caller("ak-1", "ws")
BEHAVIOURS = ("accept", "refuse", "broken", "answer lost", "request lost", "dies before", "dies after", "reports and dies")


class SimulatedNodes:
    """In place of :class:`NodeClient`: each create call behaves as the next entry of a script says."""

    def __init__(self, script: list[str]) -> None:
        self._script = script
        self.running: dict[NodeId, set[SandboxId]] = {}
        self.unreachable: set[tuple[NodeId, SandboxId]] = set()
        """Where nobody could ask what became of a create: the only places where strays may be."""
        self.report: Callable[[Node, SandboxId], Awaitable[None]]

    async def create(self, node: Node, request: node_pb2.NodeCreateRequest) -> None:
        sandbox_id = SandboxId(request.sandbox_id)
        has = self.running.setdefault(node.node_id, set())
        behaviour = self._script.pop(0) if self._script else "accept"
        await asyncio.sleep(0)
        if behaviour == "refuse" and sandbox_id not in has:
            raise ResourceExhaustedError("full")
        if behaviour == "broken" and sandbox_id not in has:
            raise InternalFailure("broken")
        if "dies" in behaviour:
            self.unreachable.add((node.node_id, sandbox_id))
        if behaviour not in ("request lost", "dies before"):
            has.add(sandbox_id)
        if behaviour == "reports and dies":
            await self.report(node, sandbox_id)
        if behaviour in ("answer lost", "request lost") or "dies" in behaviour:
            raise ConnectionError("no answer")

    async def status(self, node: Node, sandbox_id: SandboxId) -> common_pb2.SandboxStatus:
        await asyncio.sleep(0)
        if (node.node_id, sandbox_id) in self.unreachable:
            raise ConnectionError("no answer")
        if sandbox_id not in self.running.get(node.node_id, set()):
            raise NotFoundError("none")
        return common_pb2.SandboxStatus(sandbox_id=sandbox_id, state=common_pb2.SANDBOX_STATE_PENDING)


class Storm:
    """One run: the parts under test and what the clients were told."""

    def __init__(self, db: Database, nodes: NodeTable, simulated: SimulatedNodes, finisher: Finisher) -> None:
        self.db, self.nodes, self.simulated = db, nodes, simulated
        client = cast(NodeClient, simulated)
        self.creation = Creation(db, nodes, client, finisher, limits=DEFAULT_LIMITS, clock=lambda: 100.0)
        self.reports = Reports(db, nodes, Changes(), self.creation, clock=lambda: 1000.0, create_grace_s=30)
        self.answers: dict[tuple[str, str], set[SandboxId]] = {}
        simulated.report = self.report

    async def client(self, key: int, name: int) -> None:
        """Creates, and gives up at the first error: others with the same key may go on."""
        request = control_pb2.SandboxCreateRequest(idempotency_key=f"k{key}", app_id="ap-1", name=f"n{name}" if name else "")
        try:
            record = await self.creation.create(CALLER, request)
        except (AlreadyExistsError, InternalFailure, ResourceExhaustedError):
            return
        self.answers.setdefault((f"k{key}", request.name), set()).add(record.sandbox_id)

    async def records(self) -> list[SandboxRecord]:
        return await self.db.sandboxes.list_(SandboxQuery(workspace="ws", environment="env", include_stopped=True, limit=1000))

    async def report(self, node: Node, sandbox_id: SandboxId) -> None:
        status = common_pb2.SandboxStatus(sandbox_id=sandbox_id, state=common_pb2.SANDBOX_STATE_RUNNING)
        await self.reports.take_list(node, [status], complete=False)

    async def audit(self) -> set[tuple[NodeId, SandboxId]]:
        """What the nodes' complete reports show; returns the strays."""
        for node in self.nodes.list_():
            has = self.simulated.running.get(node.node_id, set())
            statuses = [common_pb2.SandboxStatus(sandbox_id=item, state=common_pb2.SANDBOX_STATE_RUNNING) for item in has]
            await self.reports.take_list(node, statuses, complete=True)
        return self.reports.strays


async def storm(calls: list[tuple[int, int]], script: list[str]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with open_sqlite(Path(directory) / "db") as db, Finisher() as finisher:
            await db.apps.ensure(AppRecord(AppId("ap-1"), "ws", "env", "app", 1.0))
            nodes = NodeTable(db.nodes, Hasher(b""), clock=lambda: 100.0, unreachable_after_s=10)
            for node_id in ("a", "b", "c"):
                await nodes.register(registration(node_id))
            run = Storm(db, nodes, SimulatedNodes(script), finisher)
            async with asyncio.TaskGroup() as group:
                for call in calls:
                    group.create_task(run.client(*call))
            await check(run)


async def check(run: Storm) -> None:
    records = {record.sandbox_id: record for record in await run.records()}
    names = [record.name for record in records.values() if record.name]
    assert len(names) == len(set(names)), "one name, one holder"
    for (key, name), ids in run.answers.items():
        assert len(ids) == 1, f"{key} was answered with {ids}"
        (sandbox_id,) = ids
        assert records[sandbox_id].name == name
        assert sandbox_id in run.simulated.running[records[sandbox_id].node_id], "a client was given what does not run"
    keys = {(await run.db.idempotency.get("ws", f"k{key}")) for key in range(6)} - {None}
    assert {claim.sandbox_id for claim in keys if claim} == set(records), "each record has its key, each key its record"
    strays = await run.audit()
    for node_id, has in run.simulated.running.items():
        assert {item for node, item in strays if node == node_id} == {
            item for item in has if item not in records or records[item].node_id != node_id
        }
    assert strays <= run.simulated.unreachable, "who could be asked was asked"
    for record in await run.records():
        runs = record.sandbox_id in run.simulated.running.get(record.node_id, set())
        assert record.observed.state is (SandboxState.RUNNING if runs else SandboxState.STOPPED), "the audit settles everything"


def registration(node_id: str) -> Registration:
    return Registration(
        node_id=NodeId(node_id),
        grpc_address="h:1",
        http_url="http://h",
        capacity=Capacity(10**9, 2**60),
        version="",
        runsc_version="",
        runsc_builds=(),
        debian_pythons=("3.11",),
        proxies=(),
    )


@settings(max_examples=150, deadline=None)
@pytest.mark.timeout(120)  # six seconds of work, on a machine that has nothing else to do
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), min_size=1, max_size=25),
    st.lists(st.sampled_from(BEHAVIOURS), max_size=40),
)
def test_no_storm_breaks_the_books(calls: list[tuple[int, int]], script: list[str]) -> None:
    asyncio.run(storm(calls, script))
