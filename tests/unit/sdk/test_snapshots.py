"""Memory snapshots from the client's side: what is asked, what is lost on the way, and forks that are whole or not at all."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import cove
from cove._async.app import _App
from cove._async.client import _Client
from cove._async.proxy import _Proxy
from cove._async.sandbox import _Sandbox
from cove._async.secret import _Secret
from cove._async.snapshot import LIST_PAGE, _SandboxSnapshot
from cove.exception import ConflictError, ConnectionError, DataLossError, InvalidError, NotFoundError
from cove.types import SnapshotProcess
from cove.wire import common_pb2, network_pb2
from tests.support.fake_server import FakeServer, World


def running(world: World) -> list[str]:
    return [item for item, one in world.sandboxes.items() if one.info.status.state == common_pb2.SANDBOX_STATE_RUNNING]


async def test_what_a_snapshot_is(sandbox: _Sandbox, world: World) -> None:
    snapshot = await sandbox.snapshot(ttl=60, timeout=7)
    assert (world.memories.taken[0].ttl_s, world.memories.taken[0].timeout_s) == (60, 7)
    info = await snapshot.info()
    assert (info.snapshot_id, info.sandbox_id, info.parent_snapshot_id) == (snapshot.object_id, sandbox.object_id, None)
    assert (info.expires_at, info.pinned, info.stored, info.memory_bytes) == (60.0, False, False, 3 * 2**20)
    assert info.processes == (SnapshotProcess("main", 2, False, "python3"),) and info.machine.cpu_features == ("sse2",)


async def test_a_snapshot_whose_answer_is_lost_is_not_taken_twice(sandbox: _Sandbox, world: World) -> None:
    world.fail_next["SandboxSnapshot"] = [ConnectionError("gone")]
    await sandbox.snapshot()
    assert len(world.memories.known) == 1
    await sandbox._experimental_snapshot()
    assert len(world.memories.known) == 2


async def test_a_restore_whose_answer_is_lost_is_not_made_twice(sandbox: _Sandbox, world: World) -> None:
    snapshot = await sandbox.snapshot()
    world.fail_next["SandboxRestore"] = [ConnectionError("gone")]
    clone = await _Sandbox.from_snapshot(snapshot)
    assert clone.object_id != sandbox.object_id and len(world.sandboxes) == 2
    assert (await _Sandbox._experimental_from_snapshot(snapshot)).object_id not in (clone.object_id, sandbox.object_id)


async def test_what_is_left_out_is_as_it_was(sandbox: _Sandbox, world: World) -> None:
    await _Sandbox.from_snapshot(await sandbox.snapshot())
    (request,) = world.memories.restores
    assert (request.timeout_s, request.idle_timeout_s, request.app_id, request.name, dict(request.env)) == (0, 0, "", "", {})
    assert not request.HasField("network")


async def test_what_is_given_is_sent(sandbox: _Sandbox, world: World, client: _Client) -> None:
    app = await _App.lookup("other", client=client, create_if_missing=True)
    clone = await _Sandbox.from_snapshot(
        await sandbox.snapshot(),
        app=app,
        name="n",
        timeout=5,
        idle_timeout=4,
        env={"A": "1", "B": None},
        secrets=[_Secret({"A": "0", "S": "2"})],
        cidr_allowlist=["10.0.0.0/8"],
        domain_allowlist=["example.com"],
        tags={"k": "v"},
        client=client,
    )
    (request,) = world.memories.restores
    assert (request.app_id, request.name, request.timeout_s, request.idle_timeout_s) == (app.app_id, "n", 5, 4)
    assert dict(request.env) == {"A": "1", "S": "2"} and dict(request.tags) == {"k": "v"}
    assert (request.network.mode, list(request.network.cidrs)) == (network_pb2.NETWORK_MODE_ALLOWLIST, ["10.0.0.0/8"])
    assert list(request.network.domains) == ["example.com"]
    assert await clone.get_tags() == {"k": "v"}


@pytest.mark.parametrize(("block_network", "mode"), [(True, network_pb2.NETWORK_MODE_BLOCKED), (False, network_pb2.NETWORK_MODE_OPEN)])
async def test_the_network_can_be_closed_or_opened(sandbox: _Sandbox, world: World, block_network: bool, mode: int) -> None:
    await _Sandbox.from_snapshot(await sandbox.snapshot(), block_network=block_network)
    (request,) = world.memories.restores
    assert request.HasField("network") and request.network.mode == mode


async def test_network_proxy_and_ports_can_be_others(sandbox: _Sandbox, world: World, client: _Client) -> None:
    snapshot = await sandbox.snapshot()
    await _Sandbox.from_snapshot(snapshot, record_network=True)
    await _Sandbox.from_snapshot(snapshot, proxy=_Proxy.from_name("exit", client=client))
    await _Sandbox.from_snapshot(snapshot, encrypted_ports=[8000], unencrypted_ports=[22], h2_ports=[50])
    await _Sandbox.from_snapshot(snapshot, unencrypted_ports=[])
    recording, proxied, open_, closed = world.memories.restores
    assert recording.network.mode == network_pb2.NETWORK_MODE_RECORD and recording.proxy == "" and not recording.HasField("ports")
    assert proxied.proxy == "exit" and not proxied.HasField("network")
    assert {(port.port, port.kind) for port in open_.ports.ports} == {
        (8000, common_pb2.PORT_KIND_ENCRYPTED),
        (22, common_pb2.PORT_KIND_UNENCRYPTED),
        (50, common_pb2.PORT_KIND_H2),
    }
    assert closed.HasField("ports") and not closed.ports.ports


async def test_what_makes_no_sense_is_not_sent(sandbox: _Sandbox, world: World) -> None:
    snapshot = await sandbox.snapshot()
    for wrong in (
        {"timeout": 0},
        {"name": "a/b"},
        {"env": {"=": ""}},
        {"tags": {"": "x"}},
        {"block_network": True, "cidr_allowlist": []},
        {"h2_ports": [0]},
    ):
        options: dict[str, Any] = wrong
        with pytest.raises(InvalidError):
            await _Sandbox.from_snapshot(snapshot, **options)
    for number in (0, -1, True, 101, 1.5):
        with pytest.raises(InvalidError):
            await sandbox.fork(number)  # type: ignore[arg-type]  # that is the point
    for seconds in (0, -1, float("nan"), float("inf"), True):
        with pytest.raises(InvalidError):
            await sandbox.snapshot(ttl=seconds)
        with pytest.raises(InvalidError):
            await sandbox.snapshot(timeout=seconds)
        with pytest.raises(InvalidError):
            await snapshot.unpin(ttl=seconds)
    assert not world.memories.restores and len(world.memories.taken) == 1


@pytest.mark.parametrize("wrong", ["", "sb-x", None, 7])
def test_ids_of_other_things_are_refused(wrong: Any) -> None:
    with pytest.raises(InvalidError, match="sn-"):
        _SandboxSnapshot.from_id(wrong)


async def test_whether_there_is_one_shows_when_it_is_used(client: _Client, sandbox: _Sandbox) -> None:
    lost = _SandboxSnapshot.from_id("sn-lost", client=client)
    assert lost.object_id == "sn-lost"
    for attempt in (lost.hydrate, lost.info, lost.verify, lost.pin, lost.unpin, lost.delete):
        with pytest.raises(NotFoundError):
            await attempt()
    with pytest.raises(NotFoundError):
        await _Sandbox.from_snapshot(lost)
    found = _SandboxSnapshot.from_id((await sandbox.snapshot()).object_id)
    assert await found.hydrate(client) is found


async def test_pinning_and_deleting(sandbox: _Sandbox, world: World) -> None:
    snapshot = await sandbox.snapshot(ttl=60)
    await snapshot.pin()
    assert (await snapshot.info()).pinned and (await snapshot.info()).expires_at is None
    with pytest.raises(ConflictError):
        await snapshot.delete()
    await snapshot.unpin(ttl=5)
    assert (await snapshot.info()).expires_at == 5.0
    await snapshot.delete()
    assert not world.memories.known


async def test_damage_is_told(sandbox: _Sandbox, world: World) -> None:
    snapshot = await sandbox.snapshot()
    await snapshot.verify()
    world.memories.damaged.add(snapshot.object_id)
    with pytest.raises(DataLossError, match=r"pages\.img"):
        await snapshot.verify()


async def test_lists_come_page_by_page(client: _Client, world: World) -> None:
    for number in range(LIST_PAGE + 1):
        world.memories.add(f"sb-{number % 2}")
    assert [one.object_id async for one in _SandboxSnapshot.list(client=client)] == list(world.memories.known)
    assert len([one async for one in _SandboxSnapshot.list(sandbox_id="sb-1", client=client)]) == LIST_PAGE // 2


async def test_a_fork_leaves_no_snapshot(sandbox: _Sandbox, world: World) -> None:
    clones = await sandbox.fork(20)
    assert sorted(running(world)) == sorted([sandbox.object_id, *(clone.object_id for clone in clones)])
    assert len({request.idempotency_key for request in world.memories.restores}) == 20
    assert not world.memories.known and world.memories.taken[0].ttl_s > 0


async def test_a_fork_that_fails_leaves_nothing(sandbox: _Sandbox, world: World) -> None:
    world.memories.room = 3
    with pytest.raises(ConflictError, match="avx512"):
        await sandbox.fork(5)
    assert running(world) == [sandbox.object_id] and not world.memories.known


async def test_a_fork_whose_clean_up_fails_tells_why_it_failed(sandbox: _Sandbox, world: World) -> None:
    world.memories.room = 1
    world.fail_next["SandboxTerminate"] = [ConflictError("not now")]
    world.fail_next["SnapshotDelete"] = [ConflictError("not now")]
    with pytest.raises(ConflictError, match="avx512"):
        await sandbox.fork(2)
    assert len(world.memories.known) == 1  # it expires


async def test_a_fork_that_is_given_up_deletes_its_snapshot(sandbox: _Sandbox, world: World) -> None:
    world.memories.restored = asyncio.Event()
    fork = asyncio.create_task(sandbox.fork(2))
    await world.until_called("SandboxRestore", 2)
    fork.cancel()
    await asyncio.wait([fork])
    assert fork.cancelled() and not world.memories.known
    world.memories.restored.set()


def test_the_blocking_face(blocking_server: FakeServer) -> None:
    app = cove.App.lookup("app", create_if_missing=True)
    sandbox = cove.Sandbox.create(app=app, _experimental_enable_snapshot=True)
    snapshot = sandbox._experimental_snapshot()
    assert isinstance(snapshot, cove.SandboxSnapshot) and repr(snapshot) == f"<cove.SandboxSnapshot {snapshot.object_id}>"
    assert isinstance(cove.Sandbox._experimental_from_snapshot(snapshot), cove.Sandbox)
    assert [one.object_id for one in cove.SandboxSnapshot.list()] == [snapshot.object_id]
    again = cove.SandboxSnapshot.from_id(snapshot.object_id).hydrate()
    assert cove.Sandbox.from_snapshot(again, timeout=5).poll() is None
    assert all(isinstance(clone, cove.Sandbox) for clone in sandbox.fork(3))


async def test_the_asynchronous_face(blocking_server: FakeServer) -> None:
    sandbox = await cove.Sandbox.create.aio(app=await cove.App.lookup.aio("app", create_if_missing=True))
    snapshot = await sandbox.snapshot.aio()
    assert [one.object_id async for one in cove.SandboxSnapshot.list.aio()] == [snapshot.object_id]
    (clone,) = await sandbox.fork.aio(1)
    assert clone.object_id != (await cove.Sandbox.from_snapshot.aio(snapshot)).object_id
