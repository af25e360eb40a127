"""Nodes join, report, fall silent, come back and lie; the records stay true."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import grpc
import pytest

from cove.exception import InternalFailure
from cove.wire import common_pb2, control_pb2, node_pb2
from tests.integration.router.conftest import Clock, Cluster, running_cluster, settings_for
from tests.support.fake_node import FakeNode

RUNNING, STOPPED = common_pb2.SANDBOX_STATE_RUNNING, common_pb2.SANDBOX_STATE_STOPPED


async def running_sandbox(cluster: Cluster, node: FakeNode, **fields: Any) -> str:
    made = await cluster.client.create(await cluster.client.app(), **fields)
    await node.run(made.sandbox_id)
    return made.sandbox_id


async def status_of(cluster: Cluster, sandbox_id: str) -> common_pb2.SandboxStatus:
    return (await cluster.client.get(sandbox_id)).status


async def test_nodes_are_listed_with_their_state(cluster: Cluster) -> None:
    healthy, draining, silent = await cluster.node("a"), await cluster.node("b"), await cluster.node("c")
    cluster.clock.advance(8)
    draining.draining = True
    await healthy.report()
    await draining.report()
    listed = {info.node_id: info for info in (await cluster.client.call("NodeList")).nodes}
    assert {node_id: info.state for node_id, info in listed.items()} == {"a": "healthy", "b": "draining", "c": "unreachable"}
    assert listed["a"].capacity.cpu_request_millis == 64_000
    assert silent.session


async def test_only_the_home_of_a_sandbox_may_speak_of_it(cluster: Cluster) -> None:
    home = await cluster.node("home")
    sandbox_id = await running_sandbox(cluster, home)
    stranger = await cluster.node("stranger")
    claimed = common_pb2.SandboxStatus(sandbox_id=sandbox_id, state=STOPPED)
    claimed.result.reason = common_pb2.END_REASON_SUCCESS
    stranger.sandboxes[sandbox_id] = claimed
    await stranger.report(sandbox_id)
    assert (await status_of(cluster, sandbox_id)).state == RUNNING


async def test_a_session_belongs_to_one_node_and_ends_with_the_next(cluster: Cluster) -> None:
    node, other = await cluster.node("a"), await cluster.node("b")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await node.call_registry("Report", node_pb2.ReportRequest(node_id="b", sequence=9), node.session)
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    old = node.session
    await node.register()
    assert node.session != old
    answer = await node.call_registry("Report", node_pb2.ReportRequest(node_id="a", sequence=9), old)
    assert answer.register_again
    assert not (await other.report()).register_again


@pytest.mark.parametrize(
    "status",
    [
        common_pb2.SandboxStatus(sandbox_id="nonsense", state=RUNNING),
        common_pb2.SandboxStatus(sandbox_id="sb-" + "0" * 22, state=common_pb2.SANDBOX_STATE_UNSPECIFIED),
        common_pb2.SandboxStatus(sandbox_id="sb-" + "0" * 22, state=77),  # type: ignore[arg-type]  # what a hostile node sends
        common_pb2.SandboxStatus(sandbox_id="sb-" + "0" * 22, state=RUNNING, started_at=math.nan),
        common_pb2.SandboxStatus(sandbox_id="sb-" + "0" * 22, state=RUNNING, expires_at=math.inf),
        common_pb2.SandboxStatus(sandbox_id="sb-" + "0" * 22, state=RUNNING, idle_since=-1),
    ],
)
async def test_a_malformed_report_is_refused_whole(cluster: Cluster, status: common_pb2.SandboxStatus) -> None:
    node = await cluster.node()
    sandbox_id = await running_sandbox(cluster, node)
    ended = common_pb2.SandboxStatus(sandbox_id=sandbox_id, state=STOPPED)
    request = node_pb2.ReportRequest(node_id=node.node_id, sequence=99, sandboxes=[ended, status])
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await node.call_registry("Report", request, node.session)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (await status_of(cluster, sandbox_id)).state == RUNNING


@pytest.mark.parametrize(
    "change",
    [
        {"node_id": ""},
        {"node_id": "a/b"},
        {"node_id": "x" * 129},
        {"grpc_address": "unix:/etc/passwd"},
        {"grpc_address": "host"},
        {"http_url": "file:///etc/passwd"},
        {"http_url": "http://u:p@host/"},
        {"debian_pythons": ["3.11; rm"]},
        {"proxies": ["exit,other"]},
        {"proxies": [""]},
        {"version": "v" * 200},
    ],
)
async def test_a_malformed_registration_is_refused(cluster: Cluster, change: dict[str, Any]) -> None:
    fields = {"node_id": "n", "grpc_address": "host:1", "http_url": "http://host:2", **change}
    node = FakeNode("n", cluster.router.grpc_address, "")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        join_token = (cluster.settings.router_dir / "join-token").read_text()
        await node.call_registry("Register", node_pb2.RegisterRequest(**fields), join_token)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_late_and_repeated_reports_change_nothing(cluster: Cluster) -> None:
    node = await cluster.node()
    sandbox_id = await running_sandbox(cluster, node)
    running = common_pb2.SandboxStatus.FromString(node.sandboxes[sandbox_id].SerializeToString())
    await node.end(sandbox_id, "END_REASON_OUT_OF_MEMORY", 137)
    before = await status_of(cluster, sandbox_id)
    for sequence in (node.sequence - 1, node.sequence, node.sequence + 50):
        late = node_pb2.ReportRequest(node_id=node.node_id, sequence=sequence, sandboxes=[running])
        await node.call_registry("Report", late, node.session)
        assert await status_of(cluster, sandbox_id) == before


async def test_a_complete_report_ends_what_the_node_has_lost(cluster: Cluster) -> None:
    node = await cluster.node()
    kept, lost = [await running_sandbox(cluster, node) for _ in range(2)]
    cluster.clock.advance(31)
    await node.report()
    young = await running_sandbox(cluster, node)
    node.forget(lost)
    node.forget(young)
    waiting = asyncio.create_task(cluster.client.wait(lost, 30))
    await node.report(complete=True)
    status = await waiting
    assert (status.state, status.result.reason, status.result.exit_code) == (STOPPED, common_pb2.END_REASON_INTERNAL_FAILURE, 137)
    assert status.started_at > 0
    assert (await status_of(cluster, kept)).state == RUNNING
    assert (await status_of(cluster, young)).state == RUNNING  # too young to be missed: its create may have crossed the report


async def test_what_nobody_wants_is_terminated_on_the_node(cluster: Cluster) -> None:
    node = await cluster.node()
    wanted = await running_sandbox(cluster, node)
    stray = "sb-" + "7" * 22
    node.sandboxes[stray] = common_pb2.SandboxStatus(sandbox_id=stray, state=RUNNING)
    node.specs[stray] = common_pb2.SandboxSpec()
    await node.report(complete=True)
    await cluster.round()
    assert node.sandboxes[stray].state == STOPPED
    assert node.sandboxes[wanted].state == RUNNING


async def test_a_silent_node_loses_its_sandboxes_and_their_names_and_they_die_when_it_returns(cluster: Cluster) -> None:
    node = await cluster.node()
    sandbox_id = await running_sandbox(cluster, node, name="n", spec=common_pb2.SandboxSpec(timeout_s=3600))
    cluster.clock.advance(119)
    await cluster.round()
    assert (await status_of(cluster, sandbox_id)).state == RUNNING
    cluster.clock.advance(3)
    await cluster.round()
    status = await status_of(cluster, sandbox_id)
    assert (status.state, status.result.reason) == (STOPPED, common_pb2.END_REASON_INTERNAL_FAILURE)
    assert "node" in status.result.message

    await node.report(complete=True)
    await cluster.client.create(await cluster.client.app(), name="n")
    await cluster.round()
    assert node.sandboxes[sandbox_id].state == STOPPED
    assert await status_of(cluster, sandbox_id) == status


async def test_a_sandbox_past_its_lifetime_on_a_silent_node_timed_out(cluster: Cluster) -> None:
    node = await cluster.node()
    sandbox_id = await running_sandbox(cluster, node, spec=common_pb2.SandboxSpec(timeout_s=10))
    cluster.clock.advance(60)
    await cluster.round()
    assert (await status_of(cluster, sandbox_id)).state == RUNNING
    cluster.clock.advance(20)
    await cluster.round()
    status = await status_of(cluster, sandbox_id)
    assert (status.state, status.result.reason, status.result.exit_code) == (STOPPED, common_pb2.END_REASON_TIMEOUT, 124)


async def test_a_reason_that_was_decided_before_the_silence_stays(cluster: Cluster) -> None:
    node = await cluster.node()
    sandbox_id = await running_sandbox(cluster, node)
    node.sandboxes[sandbox_id].state = common_pb2.SANDBOX_STATE_STOPPING
    node.sandboxes[sandbox_id].result.reason = common_pb2.END_REASON_OUT_OF_MEMORY
    await node.report(sandbox_id)
    cluster.clock.advance(130)
    await cluster.round()
    status = await status_of(cluster, sandbox_id)
    assert (status.state, status.result.reason) == (STOPPED, common_pb2.END_REASON_OUT_OF_MEMORY)


async def test_terminating_on_a_silent_node_is_remembered(cluster: Cluster) -> None:
    node = await cluster.node()
    sandbox_id = await running_sandbox(cluster, node)
    port = int(node.address.rpartition(":")[2])
    await node.stop()
    await cluster.client.terminate(sandbox_id)
    await cluster.client.terminate(sandbox_id)
    await cluster.round()
    assert (await status_of(cluster, sandbox_id)).state == RUNNING
    await node.listen(port=port)
    await node.register()
    for _ in range(50):
        await cluster.round()
        if node.sandboxes[sandbox_id].state == STOPPED:
            break
        await asyncio.sleep(0.1)  # gRPC reconnects when it sees fit
    await node.report(complete=True)
    assert (await status_of(cluster, sandbox_id)).result.reason == common_pb2.END_REASON_TERMINATED


async def test_terminating_what_never_arrived_ends_it(cluster: Cluster) -> None:
    node = await cluster.node()
    made = await cluster.client.create(await cluster.client.app(), name="n")
    node.forget(made.sandbox_id)
    await cluster.client.terminate(made.sandbox_id)
    cluster.clock.advance(31)
    await node.report()
    await cluster.round()
    assert (await status_of(cluster, made.sandbox_id)).result.reason == common_pb2.END_REASON_TERMINATED
    await cluster.client.create(await cluster.client.app(), name="n")


async def test_the_audit_finds_what_reports_did_not_say(cluster: Cluster) -> None:
    node = await cluster.node()
    ended, lost = [await running_sandbox(cluster, node) for _ in range(2)]
    await cluster.round()
    node.stop_quietly(ended, "END_REASON_FAILURE", 9)
    node.forget(lost)
    cluster.clock.advance(61)
    await node.report()
    await cluster.round()
    assert (await status_of(cluster, ended)).result.exit_code == 9
    assert (await status_of(cluster, lost)).result.reason == common_pb2.END_REASON_INTERNAL_FAILURE


async def test_a_restarted_router_knows_its_nodes_sessions_and_sandboxes(tmp_path: Any) -> None:
    settings, clock = settings_for(tmp_path), Clock()
    async with running_cluster(settings, clock) as before:
        node = await before.node()
        sandbox_id = await running_sandbox(before, node)
        key = node.session
        await node.stop()
    clock.advance(1000)
    async with running_cluster(settings, clock) as after:
        await after.round()  # the absence was the router's, not the node's
        assert (await status_of(after, sandbox_id)).state == RUNNING
        node.router_address = after.router.grpc_address
        node.session = key
        assert not (await node.report(complete=True)).register_again
        assert (await after.client.call("NodeList")).nodes[0].state == "healthy"
        clock.advance(200)
        await after.round()
        assert (await status_of(after, sandbox_id)).state == STOPPED


async def test_records_and_keys_are_deleted_when_their_time_is_over(cluster: Cluster) -> None:
    node = await cluster.node()
    sandbox_id = await running_sandbox(cluster, node, tags={"a": "b"})
    await node.end(sandbox_id)
    cluster.clock.advance(7 * 86_400 - 60)
    await cluster.round()
    assert (await status_of(cluster, sandbox_id)).state == STOPPED
    cluster.clock.advance(120)
    await cluster.round()
    assert not (await cluster.client.list_(include_stopped=True)).sandboxes


async def test_long_polls_end_when_the_router_stops(tmp_path: Any) -> None:
    async with running_cluster(settings_for(tmp_path, shutdown_grace_s=10.0)) as cluster:
        sandbox_id = await running_sandbox(cluster, await cluster.node())
        waiting = asyncio.create_task(cluster.client.wait(sandbox_id, 60))
        await cluster.client.call("Hello")  # the same connection: the wait has arrived, too
        cluster.router.parts.changes.close()
        assert (await waiting).state == RUNNING


async def test_heartbeats_seldom_reach_the_disk(cluster: Cluster) -> None:
    node = await cluster.node()
    stored = (await cluster.router.parts.db.nodes.list_())[0].last_seen_at
    for _ in range(5):
        cluster.clock.advance(2)
        await node.report()
    assert (await cluster.router.parts.db.nodes.list_())[0].last_seen_at == stored
    cluster.clock.advance(30)
    await node.report()
    assert (await cluster.router.parts.db.nodes.list_())[0].last_seen_at > stored


async def test_list_is_newest_first_paged_and_filtered(cluster: Cluster) -> None:
    node = await cluster.node()
    app_id, other_app = await cluster.client.app(), await cluster.client.app("other")
    elsewhere = await cluster.client.app("app", "staging")
    ids = [(await cluster.client.create(app_id, tags={"n": str(item % 2), "all": "1"})).sandbox_id for item in range(7)]
    foreign = (await cluster.client.create(other_app)).sandbox_id
    staging = (await cluster.client.create(elsewhere)).sandbox_id
    pages, cursor = [], ""
    while True:
        page = await cluster.client.list_(app_id=app_id, limit=3, cursor=cursor)
        pages.append([info.sandbox_id for info in page.sandboxes])
        cursor = page.next_cursor
        if not cursor:
            break
    assert pages == [ids[6:3:-1], ids[3:0:-1], ids[:1]]
    listed = [info.sandbox_id for info in (await cluster.client.list_()).sandboxes]
    assert listed == [foreign, *reversed(ids)] and staging not in listed
    assert [info.sandbox_id for info in (await cluster.client.list_(environment="staging")).sandboxes] == [staging]
    odd = await cluster.client.list_(tags={"n": "1", "all": "1"})
    assert [info.sandbox_id for info in odd.sandboxes] == ids[5::-2]
    assert not (await cluster.client.list_(tags={"n": "1", "all": "2"})).sandboxes

    await node.run(ids[0])
    await node.end(ids[0])
    assert ids[0] not in [info.sandbox_id for info in (await cluster.client.list_(app_id=app_id)).sandboxes]
    assert ids[0] in [info.sandbox_id for info in (await cluster.client.list_(app_id=app_id, include_stopped=True)).sandboxes]

    await cluster.client.call("SandboxTagsSet", control_pb2.SandboxTagsSetRequest(sandbox_id=ids[1], tags={"new": ""}))
    tags = await cluster.client.call("SandboxTagsGet", control_pb2.SandboxTagsGetRequest(sandbox_id=ids[1]))
    assert dict(tags.tags) == {"new": ""}


async def test_a_node_that_is_back_gets_sandboxes_at_once(cluster: Cluster) -> None:
    """However often it could not be reached meanwhile, at the same address."""
    node = await cluster.node("a")
    await running_sandbox(cluster, node)
    port = int(node.address.rpartition(":")[2])
    await node.stop()
    app = await cluster.client.app()
    for _ in range(5):
        with pytest.raises(InternalFailure):
            await cluster.client.create(app)
    await node.listen(port=port)
    await node.register()
    await node.report(complete=True)
    await running_sandbox(cluster, node)
