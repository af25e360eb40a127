"""Memory snapshots over fake nodes: taken once whatever is lost on the way, kept as long as promised, restored where that is possible."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from cove.exception import (
    AlreadyExistsError,
    ConflictError,
    Error,
    InvalidError,
    NotFoundError,
)
from cove.types import new_id
from cove.wire import common_pb2, ingress_pb2, network_pb2, snapshot_pb2
from tests.integration.router.conftest import Cluster
from tests.integration.router.image_client import image_ids, sandbox_of
from tests.integration.router.image_client import snapshot as files_of
from tests.integration.router.snapshot_client import delete, get, listed, node, patient, pin, restore, take, verify
from tests.support.fake_node import FakeNode
from tests.support.fake_tree import put

__all__ = ["node", "patient"]


async def test_a_sandbox_goes_on_in_another_one(patient: Cluster, node: FakeNode) -> None:
    client = patient.client
    source = await sandbox_of(client, command=[b"python3"], timeout_s=77, idle_timeout_s=7, env={"KEY": "hidden"})
    await node.run(source)
    put(node.layers.trees[source], "/made", b"1")
    node.memory.texts[source] = "x = 1"
    snapshot = await take(client, source)
    node.memory.texts[source] = "x = 2"
    assert (snapshot.sandbox_id, snapshot.parent_snapshot_id, snapshot.expires_at, snapshot.pinned) == (source, "", 0, False)
    assert (snapshot.memory_bytes, snapshot.stopped_s, snapshot.machine) == (1 << 20, 0.05, node.memory.machine)
    assert [process.program for process in snapshot.processes] == ["python3"]
    copy = await restore(client, snapshot.snapshot_id)
    assert copy != source
    assert node.memory.texts[copy] == "x = 1" and node.layers.trees[copy]["/made"] == node.layers.trees[source]["/made"]
    spec = node.specs[copy]
    assert (spec.timeout_s, spec.idle_timeout_s, spec.image.image_id, dict(spec.env)) == (77, 7, snapshot.image_id, {})
    assert list(spec.command) == [b"python3"] and spec.resources == node.specs[source].resources
    assert node.memory.restored[copy].machine == node.memory.machine
    assert (await client.get(copy)).app_id == (await client.get(source)).app_id
    second = await take(client, copy)
    assert second.parent_snapshot_id == snapshot.snapshot_id and second.sandbox_id == copy
    assert await listed(client) == [second.snapshot_id, snapshot.snapshot_id]
    assert await listed(client, sandbox_id=source) == [snapshot.snapshot_id]


async def test_a_restore_may_differ_in_what_the_caller_says(patient: Cluster, node: FakeNode) -> None:
    client = patient.client
    snapshot = await take(client, await sandbox_of(client, timeout_s=77, network=network_pb2.NetworkPolicy(mode="NETWORK_MODE_BLOCKED")))
    plain = await restore(client, snapshot.snapshot_id)
    assert node.specs[plain].network.mode == network_pb2.NETWORK_MODE_BLOCKED
    other = await client.app("other")
    allowed = network_pb2.NetworkPolicy(mode="NETWORK_MODE_ALLOWLIST", cidrs=["10.0.0.0/8"])
    changed = await restore(
        client,
        snapshot.snapshot_id,
        app_id=other,
        name="n",
        tags={"k": "v"},
        timeout_s=5,
        idle_timeout_s=4,
        env={"A": "b"},
        network=allowed,
    )
    spec, info = node.specs[changed], await client.get(changed)
    assert (spec.timeout_s, spec.idle_timeout_s, dict(spec.env), list(spec.network.cidrs)) == (5, 4, {"A": "b"}, ["10.0.0.0/8"])
    assert (info.app_id, info.name, dict(info.tags)) == (other, "n", {"k": "v"})
    with pytest.raises(AlreadyExistsError):
        await restore(client, snapshot.snapshot_id, app_id=other, name="n")
    for wrong in ({"timeout_s": 2**32 - 1}, {"name": "a/b"}, {"env": {"a=b": "c"}}, {"tags": {"": "v"}}):
        with pytest.raises(InvalidError):
            await restore(client, snapshot.snapshot_id, **wrong)
    with pytest.raises(NotFoundError):
        await restore(client, snapshot.snapshot_id, app_id=new_id("ap"))


async def test_a_proxy_stays_unless_another_is_named(patient: Cluster, node: FakeNode) -> None:
    client = patient.client
    node.proxies = ["exit", "other"]
    await node.register()
    await node.report(complete=True)
    open_, blocked, listed = (
        network_pb2.NetworkPolicy(mode=mode, cidrs=cidrs)
        for mode, cidrs in (
            (network_pb2.NETWORK_MODE_OPEN, []),
            (network_pb2.NETWORK_MODE_BLOCKED, []),
            (network_pb2.NETWORK_MODE_ALLOWLIST, ["10.0.0.0/8"]),
        )
    )
    source = await sandbox_of(client, network=network_pb2.NetworkPolicy(mode="NETWORK_MODE_RECORD", proxy="exit"))
    snapshot = await take(client, source)
    for network, proxy, expected in (
        (None, "", ("RECORD", "exit")),
        (None, "other", ("RECORD", "other")),
        (open_, "", ("OPEN", "exit")),
        (listed, "other", ("ALLOWLIST", "other")),
        (blocked, "", ("BLOCKED", "")),
    ):
        policy = node.specs[await restore(client, snapshot.snapshot_id, network=network, proxy=proxy)].network
        assert (network_pb2.NetworkMode.Name(policy.mode).removeprefix("NETWORK_MODE_"), policy.proxy) == expected
    with pytest.raises(InvalidError):
        await restore(client, snapshot.snapshot_id, network=blocked, proxy="exit")
    with pytest.raises(Error):
        await restore(client, snapshot.snapshot_id, proxy="nowhere")


async def test_a_restored_sandbox_may_have_other_ports(patient: Cluster, node: FakeNode) -> None:
    client = patient.client
    snapshot = await take(client, await sandbox_of(client, ports=[common_pb2.PortSpec(port=8000)]))
    for ports in ([], [9000], [8000, 9000]):
        specs = [common_pb2.PortSpec(port=port) for port in ports]
        copy = await restore(client, snapshot.snapshot_id, ports=snapshot_pb2.PortList(ports=specs))
        await node.run(copy)
        request = ingress_pb2.SandboxTunnelsRequest(sandbox_id=copy, timeout_s=5)
        assert sorted(tunnel.spec.port for tunnel in (await client.call("SandboxTunnels", request)).tunnels) == ports
    with pytest.raises(InvalidError):
        await restore(client, snapshot.snapshot_id, ports=snapshot_pb2.PortList(ports=[common_pb2.PortSpec(port=8000)] * 2))


async def test_a_restored_sandbox_has_tunnels_of_its_own(patient: Cluster, node: FakeNode) -> None:
    client = patient.client
    source = await sandbox_of(client, ports=[common_pb2.PortSpec(port=8000)])
    copy = await restore(client, (await take(client, source)).snapshot_id)
    urls: dict[str, str] = {}
    for sandbox_id in (source, copy):
        request = ingress_pb2.SandboxTunnelsRequest(sandbox_id=sandbox_id, timeout_s=5)
        await node.run(sandbox_id)
        (tunnel,) = (await client.call("SandboxTunnels", request)).tunnels
        assert tunnel.spec.port == 8000
        urls[sandbox_id] = tunnel.url
    assert urls[source] != urls[copy]


async def test_the_same_key_gives_the_same_snapshot_whatever_happened_since(patient: Cluster, node: FakeNode) -> None:
    client, key = patient.client, new_id("rq")
    source = await sandbox_of(client)
    at_once = await asyncio.gather(*(take(client, source, key) for _ in range(10)))
    first = at_once[0].snapshot_id
    assert {info.snapshot_id for info in at_once} == {first} and len(node.memory.taken) == 1
    assert 'cove_router_snapshots_total{event="taken"} 1.0' in patient.router.parts.metrics.text().decode()
    assert await image_ids(client) == [at_once[0].image_id]
    assert (await take(client, source)).snapshot_id != first
    assert (await take(client, await sandbox_of(client), key)).snapshot_id != first
    await files_of(client, source, key)  # the key of another kind of snapshot
    await node.end(source)
    assert (await take(client, source, key)).snapshot_id == first
    with pytest.raises(ConflictError) as caught:
        await take(client, source)
    assert caught.value.code == "sandbox_ended"
    await delete(client, first)
    with pytest.raises(NotFoundError):
        await take(client, source, key)


async def test_the_same_key_gives_the_same_restored_sandbox(patient: Cluster, node: FakeNode) -> None:
    client, key = patient.client, new_id("rq")
    snapshot = (await take(client, await sandbox_of(client))).snapshot_id
    at_once = await asyncio.gather(*(restore(client, snapshot, key) for _ in range(10)))
    assert len(set(at_once)) == 1 and len(node.memory.restored) == 1
    with pytest.raises(AlreadyExistsError):
        await restore(client, snapshot, key, name="n")
    with pytest.raises(AlreadyExistsError):
        await client.create(await client.app(), idempotency_key=key)
    await delete(client, snapshot)
    assert await restore(client, snapshot, key) == at_once[0]
    with pytest.raises(NotFoundError):
        await restore(client, snapshot)


async def test_an_answer_that_was_lost_is_the_memory_that_was_taken(patient: Cluster, node: FakeNode) -> None:
    """The node has it, the router never writes; the sandbox goes on; the client asks again."""
    client, key = patient.client, new_id("rq")
    source = await sandbox_of(client)
    node.memory.texts[source] = "then"
    node.memory.drop_answers = True
    with pytest.raises(Error) as caught:
        await take(client, source, key, timeout_s=0.2)
    assert caught.value.retryable and not await listed(client) and not await image_ids(client)
    node.memory.texts[source] = "now"
    node.memory.drop_answers = False
    snapshot = await take(client, source, key)
    assert node.memory.texts[await restore(client, snapshot.snapshot_id)] == "then" and len(node.memory.taken) == 1


async def test_a_client_that_hangs_up_gets_its_snapshot_with_the_next_call(patient: Cluster, node: FakeNode) -> None:
    client, key = patient.client, new_id("rq")
    source = await sandbox_of(client)
    node.memory.gate.clear()
    call = asyncio.create_task(take(client, source, key))
    await node.memory.arrived.wait()
    call.cancel()
    await asyncio.wait([call])
    assert not await listed(client)
    node.memory.gate.set()
    snapshot = await take(client, source, key)
    assert len(node.memory.taken) == 1 and await listed(client) == [snapshot.snapshot_id]


@pytest.mark.parametrize("field", ["timeout_s", "ttl_s"])
@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf"), 1e12])
async def test_times_out_of_range_are_refused(patient: Cluster, node: FakeNode, field: str, value: float) -> None:
    source = await sandbox_of(patient.client)
    with pytest.raises(InvalidError):
        await take(patient.client, source, **cast(dict[str, Any], {field: value}))
    assert not node.memory.taken


@pytest.mark.parametrize("wrong_id", ["", "sn-" + "0" * 22, "sb-" + "0" * 22, "../x", "\u0000"])
async def test_what_is_not_there_is_not_found(patient: Cluster, node: FakeNode, wrong_id: str) -> None:
    for attempt in (take, restore, get, delete, verify, pin):
        with pytest.raises(NotFoundError):
            await attempt(patient.client, wrong_id)


@pytest.mark.parametrize(
    "nonsense",
    [
        {"stopped_s": float("nan")},
        {"stopped_s": -1.0},
        {"memory_bytes": 2**63},
        {"machine": snapshot_pb2.MachineKind()},
        {"machine": snapshot_pb2.MachineKind(runsc_version="x" * 300)},
        {"processes": [snapshot_pb2.SnapshotProcess(program="x" * 300)]},
        {"children": snapshot_pb2.SnapshotChildren(children=[snapshot_pb2.SnapshotChild(program="x" * 300)])},
        {"children": snapshot_pb2.SnapshotChildren(children=[snapshot_pb2.SnapshotChild()] * 1001)},
        {"ports": snapshot_pb2.SnapshotPorts(ports=[snapshot_pb2.SnapshotPort(protocol="tcp", address="::", port=1)] * 1001)},
        {"ports": snapshot_pb2.SnapshotPorts(ports=[snapshot_pb2.SnapshotPort(protocol="sctp", address="::", port=1)])},
        {"ports": snapshot_pb2.SnapshotPorts(ports=[snapshot_pb2.SnapshotPort(protocol="tcp", address="here", port=1)])},
        {"ports": snapshot_pb2.SnapshotPorts(ports=[snapshot_pb2.SnapshotPort(protocol="tcp", address="::", port=65536)])},
        {"spec": common_pb2.SandboxSpec(workdir="/" + "x" * 300_000)},
    ],
)
async def test_a_node_that_answers_nonsense_is_not_believed(patient: Cluster, node: FakeNode, nonsense: dict[str, Any]) -> None:
    source, key = await sandbox_of(patient.client), new_id("rq")
    node.memory.gate.clear()
    call = asyncio.create_task(take(patient.client, source, key))
    await node.memory.arrived.wait()
    answer = node.memory._answer(source)
    for name, value in nonsense.items():
        answer.ClearField(name)
        answer.MergeFrom(snapshot_pb2.MemorySnapshotResponse(**{name: value}))
    node.memory._answer = lambda sandbox_id: answer  # type: ignore[method-assign]
    node.memory.gate.set()
    with pytest.raises(InvalidError):
        await call
    assert not await listed(patient.client) and not await image_ids(patient.client)


async def test_what_a_node_saw_in_a_sandbox_is_told(patient: Cluster, node: FakeNode) -> None:
    source = await sandbox_of(patient.client)
    blind = await take(patient.client, source)
    assert not blind.HasField("children") and not blind.HasField("ports")
    answer = node.memory._answer(source)
    answer.children.children.add(pid=9, parent_pid=2, program="sh")
    answer.ports.ports.add(protocol="udp", address="127.0.0.1", port=53)
    node.memory._answer = lambda sandbox_id: answer  # type: ignore[method-assign]
    info = await get(patient.client, (await take(patient.client, source)).snapshot_id)
    assert (info.children, info.ports) == (answer.children, answer.ports)
    answer.children.ClearField("children")
    empty = await take(patient.client, source)
    assert empty.HasField("children") and not empty.children.children


async def test_secrets_of_a_node_that_tells_them_are_not_kept(patient: Cluster, node: FakeNode, tmp_path: Path) -> None:
    source = await sandbox_of(patient.client, env={"KEY": "hidden-value"})
    answer = node.memory._answer(source)
    answer.spec.env["KEY"] = "hidden-value"
    node.memory._answer = lambda sandbox_id: answer  # type: ignore[method-assign]
    snapshot = await take(patient.client, source)
    assert not node.specs[await restore(patient.client, snapshot.snapshot_id)].env
    assert not any(b"hidden-value" in path.read_bytes() for path in (tmp_path / "router").glob("router.db*"))
