"""Paused sandboxes as the router knows them: live, with a mark, whatever their node says next."""

from __future__ import annotations

import pytest

from cove.exception import ConflictError, InvalidError, NotFoundError, ResourceExhaustedError
from cove.types import new_id
from cove.wire import common_pb2, snapshot_pb2
from tests.integration.router.conftest import Cluster
from tests.integration.router.image_client import sandbox_of
from tests.integration.router.snapshot_client import node, patient
from tests.support.fake_node import FakeNode
from tests.support.router_client import ControlClient

__all__ = ["node", "patient"]


async def pause(client: ControlClient, sandbox_id: str, timeout_s: float = 0) -> None:
    await client.call("SandboxPause", snapshot_pb2.SandboxPauseRequest(sandbox_id=sandbox_id, timeout_s=timeout_s))


async def resume(client: ControlClient, sandbox_id: str) -> None:
    await client.call("SandboxResume", snapshot_pb2.SandboxResumeRequest(sandbox_id=sandbox_id))


async def test_what_the_caller_is_told_is_known_at_once(patient: Cluster, node: FakeNode) -> None:
    client = patient.client
    sandbox_id = await sandbox_of(client, timeout_s=77)
    await node.run(sandbox_id)
    await pause(client, sandbox_id)
    status = (await client.get(sandbox_id)).status
    assert (status.state, status.paused_at > 0, status.expires_at) == (common_pb2.SANDBOX_STATE_RUNNING, True, 0)
    await node.report(sandbox_id)
    assert (await client.get(sandbox_id)).status == status
    await resume(client, sandbox_id)
    status = (await client.get(sandbox_id)).status
    assert (status.paused_at, status.expires_at > 0) == (0, True)


async def test_waking_by_itself_is_news_that_a_report_brings(patient: Cluster, node: FakeNode) -> None:
    client = patient.client
    sandbox_id = await sandbox_of(client)
    await node.run(sandbox_id)
    await pause(client, sandbox_id)
    node.sandboxes[sandbox_id].paused_at = 0
    await node.report(sandbox_id)
    assert (await client.get(sandbox_id)).status.paused_at == 0


async def test_a_paused_sandbox_ends_as_others_do(patient: Cluster, node: FakeNode) -> None:
    client = patient.client
    sandbox_id = await sandbox_of(client)
    await node.run(sandbox_id)
    await pause(client, sandbox_id)
    await node.end(sandbox_id)
    status = (await client.get(sandbox_id)).status
    assert (status.state, status.paused_at) == (common_pb2.SANDBOX_STATE_STOPPED, 0)
    with pytest.raises(ConflictError) as caught:
        await pause(client, sandbox_id)
    assert caught.value.code == "sandbox_ended"


async def test_what_makes_no_sense_never_reaches_a_node(patient: Cluster, node: FakeNode) -> None:
    client = patient.client
    sandbox_id = await sandbox_of(client)
    for unknown in ("", "sb-x", new_id("sb")):
        with pytest.raises(NotFoundError):
            await pause(client, unknown)
    for timeout_s in (-1.0, 1e9, float("nan")):
        with pytest.raises(InvalidError):
            await pause(client, sandbox_id, timeout_s)
    assert not [call for call in node.calls if call[0] in ("Pause", "Resume")]


async def test_a_nodes_refusal_is_the_callers(patient: Cluster, node: FakeNode) -> None:
    client = patient.client
    sandbox_id = await sandbox_of(client)
    await node.run(sandbox_id)
    node.memory.refusal = ResourceExhaustedError("The node is full.")
    with pytest.raises(ResourceExhaustedError, match="full"):
        await resume(client, sandbox_id)


async def test_idle_pausing_without_an_idle_time_is_refused(patient: Cluster, node: FakeNode) -> None:
    with pytest.raises(InvalidError, match="idle_timeout"):
        await sandbox_of(patient.client, on_idle=common_pb2.END_ACTION_PAUSE)
    with pytest.raises(InvalidError, match="on_timeout"):
        await sandbox_of(patient.client, on_timeout=17)
    assert node.created == []
