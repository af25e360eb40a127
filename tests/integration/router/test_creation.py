"""The create saga: what holds when steps fail, repeat, race or lose their answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from cove.exception import AlreadyExistsError, ConflictError, Error, InternalFailure, InvalidError, NotFoundError, ResourceExhaustedError
from cove.types import new_id
from cove.wire import common_pb2, control_pb2
from router.db.sqlite.sandboxes import SqliteSandboxes
from tests.integration.router.conftest import Cluster

GIB = 1 << 30


async def everything(cluster: Cluster) -> list[control_pb2.SandboxInfo]:
    return list((await cluster.client.list_(include_stopped=True)).sandboxes)


async def test_fifty_creates_of_one_name_have_one_winner(cluster: Cluster) -> None:
    node = await cluster.node()
    app_id = await cluster.client.app()
    results = await asyncio.gather(*(cluster.client.create(app_id, name="only") for _ in range(50)), return_exceptions=True)
    won = [result for result in results if isinstance(result, control_pb2.SandboxCreateResponse)]
    lost = [result for result in results if not isinstance(result, control_pb2.SandboxCreateResponse)]
    assert len(won) == 1
    assert {type(error) for error in lost} == {AlreadyExistsError}
    assert node.created == [won[0].sandbox_id]
    assert [info.sandbox_id for info in await everything(cluster)] == [won[0].sandbox_id]


async def test_fifty_creates_with_one_key_are_one_create(cluster: Cluster) -> None:
    node = await cluster.node()
    app_id, key = await cluster.client.app(), new_id("ik")
    results = await asyncio.gather(*(cluster.client.create(app_id, idempotency_key=key, name="n") for _ in range(50)))
    assert len({(result.sandbox_id, result.task_id) for result in results}) == 1
    assert set(node.sandboxes) == {results[0].sandbox_id}
    assert len(await everything(cluster)) == 1


async def test_a_key_answers_the_same_for_ever_and_another_request_is_refused(cluster: Cluster) -> None:
    node = await cluster.node()
    app_id, key = await cluster.client.app(), new_id("ik")
    spec = common_pb2.SandboxSpec(env={name: name for name in "abcdefgh"})
    made = await cluster.client.create(app_id, idempotency_key=key, spec=spec, tags={"a": "1", "b": "2"})
    await node.run(made.sandbox_id)
    await node.end(made.sandbox_id)
    again = await cluster.client.create(app_id, idempotency_key=key, spec=spec, tags={"b": "2", "a": "1"})
    assert (again.sandbox_id, again.task_id) == (made.sandbox_id, made.task_id)
    assert len(node.created) == 1
    for change in ({"name": "other"}, {"tags": {"a": "1"}}, {"spec": common_pb2.SandboxSpec(timeout_s=10)}):
        with pytest.raises(AlreadyExistsError, match="key"):
            await cluster.client.create(app_id, **{"idempotency_key": key, "spec": spec, "tags": {"a": "1", "b": "2"}, **change})


async def test_a_name_is_free_only_when_its_holder_has_completely_stopped(cluster: Cluster) -> None:
    node = await cluster.node()
    app_id = await cluster.client.app()
    first = await cluster.client.create(app_id, name="n")
    await node.run(first.sandbox_id)
    node.sandboxes[first.sandbox_id].state = common_pb2.SANDBOX_STATE_STOPPING
    await node.report(first.sandbox_id)
    by_name = control_pb2.SandboxGetByNameRequest(app_name="app", name="n")
    with pytest.raises(NotFoundError):
        await cluster.client.call("SandboxGetByName", by_name)
    with pytest.raises(AlreadyExistsError):
        await cluster.client.create(app_id, name="n")
    await node.end(first.sandbox_id)
    second = await cluster.client.create(app_id, name="n")
    assert (await cluster.client.call("SandboxGetByName", by_name)).sandbox_id == second.sandbox_id
    await cluster.client.create(await cluster.client.app("another"), name="n")


async def test_a_full_node_sends_the_sandbox_to_the_next(cluster: Cluster) -> None:
    first, second = await cluster.node("node-a"), await cluster.node("node-b")
    app_id = await cluster.client.app()
    for node, other in ((first, second), (second, first)):
        node.refusal, other.refusal = ResourceExhaustedError("full"), None
        made = await cluster.client.create(app_id)
        assert made.sandbox_id in other.sandboxes and made.access.grpc_address == other.address
        assert (await cluster.client.get(made.sandbox_id)).node_id == other.node_id


REFUSALS: list[tuple[Callable[[], Error], type[Error]]] = [
    (lambda: ResourceExhaustedError("full"), ResourceExhaustedError),
    (lambda: InvalidError("bad image"), InvalidError),
    (lambda: ConflictError("draining"), InternalFailure),
    (lambda: InternalFailure("broken"), InternalFailure),
    (lambda: Error("a bug"), InternalFailure),
]


@pytest.mark.parametrize(("refusal", "told"), REFUSALS)
async def test_when_every_node_refuses_nothing_is_left(cluster: Cluster, refusal: Callable[[], Error], told: type[Error]) -> None:
    nodes = [await cluster.node("node-a"), await cluster.node("node-b")]
    app_id, key = await cluster.client.app(), new_id("ik")
    for node in nodes:
        node.refusal = refusal()
    with pytest.raises(told):
        await cluster.client.create(app_id, idempotency_key=key, name="n")
    assert await everything(cluster) == []
    assert all(node.sandboxes == {} and node.specs == {} for node in nodes)

    for node in nodes:
        node.refusal = None
    made = await cluster.client.create(app_id, idempotency_key=key, name="n")
    assert (await cluster.client.get(made.sandbox_id)).name == "n"


async def test_a_lost_answer_is_not_a_lost_sandbox(cluster: Cluster) -> None:
    """The node did it, the answer went missing: the router asks what happened instead of starting a second one."""
    node = await cluster.node()
    node.drop_answers = True
    made = await cluster.client.create(await cluster.client.app())
    assert list(node.sandboxes) == [made.sandbox_id]
    assert [method for method, _ in node.calls] == ["Create", "Status"]


async def test_a_dead_node_that_is_not_known_to_be_dead_costs_a_moment_not_the_create(cluster: Cluster) -> None:
    nodes = {node.node_id: node for node in (await cluster.node("node-a"), await cluster.node("node-b"))}
    await nodes["node-a"].stop()
    app_id = await cluster.client.app()
    for _ in range(4):
        made = await cluster.client.create(app_id)
        assert made.access.grpc_address == nodes["node-b"].address


async def test_a_client_that_hangs_up_does_not_leave_a_half_made_sandbox(cluster: Cluster) -> None:
    node = await cluster.node()
    app_id, key = await cluster.client.app(), new_id("ik")
    node.gate.clear()
    call = asyncio.create_task(cluster.client.create(app_id, idempotency_key=key))
    await node.arrived.wait()
    call.cancel()
    await asyncio.wait([call])
    node.gate.set()
    made = await cluster.client.create(app_id, idempotency_key=key)
    assert list(node.sandboxes) == [made.sandbox_id]
    assert len(await everything(cluster)) == 1


async def test_a_sandbox_terminated_while_it_is_created_ends(cluster: Cluster) -> None:
    node = await cluster.node()
    node.gate.clear()
    call = asyncio.create_task(cluster.client.create(await cluster.client.app()))
    await node.arrived.wait()
    (info,) = await everything(cluster)
    await cluster.client.terminate(info.sandbox_id)
    node.gate.set()
    await call
    await cluster.round()
    await node.report(info.sandbox_id)
    assert (await cluster.client.wait(info.sandbox_id, 0)).result.reason == common_pb2.END_REASON_TERMINATED


@pytest.mark.parametrize("step", ["reserve", "move", "discard"])
async def test_a_database_that_fails_at_any_step_leaves_no_duplicate_and_no_held_name(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The write of one step fails once, the same create is repeated until it succeeds: one sandbox, on one node, and the name works."""
    nodes = [await cluster.node("node-a"), await cluster.node("node-b")]
    for node in nodes:
        node.refusal = ResourceExhaustedError("full") if step != "reserve" else None
    app_id, key = await cluster.client.app(), new_id("ik")
    original: Any = getattr(SqliteSandboxes, step)
    failures = [InternalFailure("disk full")]

    async def failing(self: SqliteSandboxes, *args: Any, **kwargs: Any) -> Any:
        if failures:
            raise failures.pop()
        return await original(self, *args, **kwargs)

    monkeypatch.setattr(SqliteSandboxes, step, failing)
    with pytest.raises((InternalFailure, ResourceExhaustedError)):
        await cluster.client.create(app_id, idempotency_key=key, name="n")
    for node in nodes:
        node.refusal = None
    made = await cluster.client.create(app_id, idempotency_key=key, name="n")
    assert sum(made.sandbox_id in node.sandboxes for node in nodes) == 1
    assert sum(len(node.sandboxes) for node in nodes) == 1
    assert [info.sandbox_id for info in await everything(cluster)] == [made.sandbox_id]


async def test_a_retry_does_not_move_a_sandbox_away_from_a_node_that_may_run_it(cluster: Cluster) -> None:
    nodes = {node.node_id: node for node in (await cluster.node("node-a"), await cluster.node("node-b"))}
    app_id, key = await cluster.client.app(), new_id("ik")
    made = await cluster.client.create(app_id, idempotency_key=key)
    home = nodes[(await cluster.client.get(made.sandbox_id)).node_id]
    other = nodes["node-b" if home.node_id == "node-a" else "node-a"]
    port = int(home.address.rpartition(":")[2])
    await home.stop()
    with pytest.raises(InternalFailure):
        await cluster.client.create(app_id, idempotency_key=key)
    await home.listen(port=port)
    for _ in range(50):
        try:
            again = await cluster.client.create(app_id, idempotency_key=key)
            break
        except InternalFailure:
            await asyncio.sleep(0.1)  # gRPC reconnects when it sees fit
    assert again.sandbox_id == made.sandbox_id
    assert other.sandboxes == {}


async def test_a_node_that_lost_its_sandbox_before_the_retry_makes_it_anew_under_its_id(cluster: Cluster) -> None:
    node = await cluster.node()
    app_id, key = await cluster.client.app(), new_id("ik")
    made = await cluster.client.create(app_id, idempotency_key=key)
    node.forget(made.sandbox_id)
    again = await cluster.client.create(app_id, idempotency_key=key)
    assert again.sandbox_id == made.sandbox_id and list(node.sandboxes) == [made.sandbox_id]


async def test_capacity_is_respected_between_two_reports(cluster: Cluster) -> None:
    """Nothing is reported while eight creates run at once: the router's own count must spread them, or refuse."""
    nodes = [await cluster.node(f"node-{item}", memory_bytes=4 * GIB) for item in "abc"]
    app_id = await cluster.client.app()
    spec = common_pb2.SandboxSpec(resources=common_pb2.Resources(memory_request_bytes=GIB))
    results = await asyncio.gather(*(cluster.client.create(app_id, spec=spec) for _ in range(13)), return_exceptions=True)
    assert sorted(len(node.sandboxes) for node in nodes) == [4, 4, 4]
    assert [type(result) for result in results if isinstance(result, BaseException)] == [ResourceExhaustedError]
    await nodes[0].end(next(iter(nodes[0].sandboxes)))
    await cluster.client.create(app_id, spec=spec)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"idempotency_key": ""}, "key"),
        ({"idempotency_key": "a" * 129}, "key"),
        ({"name": "a" * 64}, "name"),
        ({"name": "sb-" + "0" * 22}, "id"),
        ({"tags": {"": "x"}}, "tag"),
        ({"spec": common_pb2.SandboxSpec(timeout_s=86_401)}, "timeout"),
        ({"spec": common_pb2.SandboxSpec(command=[b"a\0b"])}, "NUL"),
        ({"spec": common_pb2.SandboxSpec(resources=common_pb2.Resources(memory_request_bytes=1 << 40))}, "largest node"),
    ],
)
async def test_a_wrong_request_changes_nothing(cluster: Cluster, fields: dict[str, Any], said: str) -> None:
    node = await cluster.node()
    app_id = await cluster.client.app()
    with pytest.raises(InvalidError, match=said):
        await cluster.client.create(app_id, **fields)
    assert node.calls == [] and await everything(cluster) == []


async def test_an_app_must_exist_and_a_node_too(cluster: Cluster) -> None:
    with pytest.raises(NotFoundError):
        await cluster.client.create("ap-" + "0" * 22)
    app_id = await cluster.client.app()
    with pytest.raises(ResourceExhaustedError, match="No node"):
        await cluster.client.create(app_id)
    node = await cluster.node()
    with pytest.raises(ResourceExhaustedError, match="Python"):
        await cluster.client.create(app_id, spec=common_pb2.SandboxSpec(image=common_pb2.ImageRef(debian="3.9")))
    node.draining = True
    await node.report()
    with pytest.raises(ResourceExhaustedError, match="healthy"):
        await cluster.client.create(app_id)


async def test_a_node_that_reports_a_sandbox_and_dies_before_it_answers_has_it(cluster: Cluster) -> None:
    node = await cluster.node()
    node.drop_answers = True
    call = asyncio.create_task(cluster.client.create(await cluster.client.app()))
    await node.arrived_at_least(1)
    (sandbox_id,) = node.sandboxes
    await node.run(sandbox_id)
    await node.stop()
    assert (await call).sandbox_id == sandbox_id
    assert (await cluster.client.get(sandbox_id)).status.state == common_pb2.SANDBOX_STATE_RUNNING
