"""Memory snapshots over fake nodes: taken once whatever is lost on the way, kept as long as promised, restored where that is possible."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, cast

import pytest

from cove.exception import (
    AlreadyExistsError,
    ConflictError,
    DataLossError,
    Error,
    InvalidError,
    NotFoundError,
    ResourceExhaustedError,
)
from cove.types import new_id
from cove.wire import common_pb2, control_pb2, image_pb2, ingress_pb2, network_pb2, snapshot_pb2
from snapshots.digest import Digest
from snapshots.store import Store
from tests.integration.router.conftest import Cluster, running_cluster, settings_for
from tests.integration.router.image_client import image_ids, sandbox_of
from tests.integration.router.image_client import snapshot as files_of
from tests.integration.router.test_crash import router_process
from tests.support.fake_node import FakeNode, fake_node
from tests.support.fake_tree import put
from tests.support.router_client import ControlClient


@pytest.fixture
async def patient(tmp_path: Path) -> AsyncIterator[Cluster]:
    """A router that gives no node up however far its clock is moved."""
    async with running_cluster(settings_for(tmp_path, node_unreachable_after_s=1e6, node_lost_after_s=2e6)) as cluster:
        yield cluster


@pytest.fixture
async def node(patient: Cluster) -> FakeNode:
    return await patient.node()


async def take(client: ControlClient, sandbox_id: str, key: str = "", **fields: Any) -> snapshot_pb2.SnapshotInfo:
    request = snapshot_pb2.SandboxSnapshotRequest(sandbox_id=sandbox_id, idempotency_key=key or new_id("rq"), **fields)
    info: snapshot_pb2.SnapshotInfo = await client.call("SandboxSnapshot", request)
    return info


async def restore(client: ControlClient, snapshot_id: str, key: str = "", **fields: Any) -> str:
    request = snapshot_pb2.SandboxRestoreRequest(snapshot_id=snapshot_id, idempotency_key=key or new_id("rq"), **fields)
    answer: control_pb2.SandboxCreateResponse = await client.call("SandboxRestore", request)
    return answer.sandbox_id


async def get(client: ControlClient, snapshot_id: str) -> snapshot_pb2.SnapshotInfo:
    info: snapshot_pb2.SnapshotInfo = await client.call("SnapshotGet", snapshot_pb2.SnapshotGetRequest(snapshot_id=snapshot_id))
    return info


async def delete(client: ControlClient, snapshot_id: str) -> None:
    await client.call("SnapshotDelete", snapshot_pb2.SnapshotDeleteRequest(snapshot_id=snapshot_id))


async def pin(client: ControlClient, snapshot_id: str, *, pinned: bool = True, ttl_s: float = 0) -> snapshot_pb2.SnapshotInfo:
    request = snapshot_pb2.SnapshotPinRequest(snapshot_id=snapshot_id, pinned=pinned, ttl_s=ttl_s)
    info: snapshot_pb2.SnapshotInfo = await client.call("SnapshotPin", request)
    return info


async def verify(client: ControlClient, snapshot_id: str) -> None:
    await client.call("SnapshotVerify", snapshot_pb2.SnapshotVerifyRequest(snapshot_id=snapshot_id))


async def listed(client: ControlClient, **fields: Any) -> list[str]:
    """Ids, newest first."""
    answer: snapshot_pb2.SnapshotListResponse = await client.call("SnapshotList", snapshot_pb2.SnapshotListRequest(**fields))
    return [info.snapshot_id for info in answer.snapshots]


async def until(node: FakeNode, condition: Callable[[], bool]) -> None:
    """Wait until what the node was told to store or to remove fulfils the condition."""
    async with asyncio.timeout(5):
        while not condition():
            node.memory.changed.clear()
            await node.memory.changed.wait()


async def stored(client: ControlClient, snapshot_id: str) -> None:
    """Wait until memory and files are in the store."""
    async with asyncio.timeout(5):
        while True:
            info = await get(client, snapshot_id)
            image = await client.call("ImageGet", image_pb2.ImageGetRequest(image_id=info.image_id))
            if info.stored and image.stored:
                return
            await asyncio.sleep(0.005)


async def sweep(cluster: Cluster) -> None:
    await cluster.router.parts.snapshots.sweeper.round()


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


async def test_secrets_of_a_node_that_tells_them_are_not_kept(patient: Cluster, node: FakeNode, tmp_path: Path) -> None:
    source = await sandbox_of(patient.client, env={"KEY": "hidden-value"})
    answer = node.memory._answer(source)
    answer.spec.env["KEY"] = "hidden-value"
    node.memory._answer = lambda sandbox_id: answer  # type: ignore[method-assign]
    snapshot = await take(patient.client, source)
    assert not node.specs[await restore(patient.client, snapshot.snapshot_id)].env
    assert not any(b"hidden-value" in path.read_bytes() for path in (tmp_path / "router").glob("router.db*"))


async def test_of_an_expired_snapshot_nothing_is_left(patient: Cluster, node: FakeNode) -> None:
    client = patient.client
    source = await sandbox_of(client)
    short, long, kept = await take(client, source, ttl_s=10), await take(client, source, ttl_s=3000), await take(client, source)
    await stored(client, kept.snapshot_id)
    await stored(client, long.snapshot_id)
    assert short.snapshot_id not in node.memory.stored  # not worth it
    patient.clock.advance(11)
    assert await listed(client) == [kept.snapshot_id, long.snapshot_id]
    for attempt in (get, restore, delete, verify, pin):
        with pytest.raises(NotFoundError):
            await attempt(client, short.snapshot_id)
    await sweep(patient)
    assert node.memory.removed == [short.snapshot_id] and short.image_id not in await image_ids(client)
    assert node.layers.removed == [node.memory.taken[0].layer_id]
    patient.clock.advance(3000)
    await sweep(patient)
    assert await listed(client) == [kept.snapshot_id] and await image_ids(client) == [kept.image_id]
    assert set(node.memory.snapshots) == {kept.snapshot_id}
    text = patient.router.parts.metrics.text().decode()
    assert 'cove_router_snapshots_total{event="expired"} 2.0' in text and 'cove_router_snapshots_total{event="removed"} 2.0' in text


async def test_a_pinned_snapshot_neither_expires_nor_can_be_deleted(patient: Cluster, node: FakeNode) -> None:
    client = patient.client
    snapshot = await take(client, await sandbox_of(client), ttl_s=10)
    pinned = await pin(client, snapshot.snapshot_id, ttl_s=20)
    assert pinned.pinned and 15 < pinned.expires_at - patient.clock() <= 20
    patient.clock.advance(1000)
    await sweep(patient)
    with pytest.raises(ConflictError) as caught:
        await delete(client, snapshot.snapshot_id)
    assert "npin" in caught.value.remedy
    for ttl_s in (-1.0, float("nan")):
        with pytest.raises(InvalidError):
            await pin(client, snapshot.snapshot_id, ttl_s=ttl_s)
    assert (await pin(client, snapshot.snapshot_id)).expires_at == 0
    assert not (await pin(client, snapshot.snapshot_id, pinned=False, ttl_s=5)).pinned
    patient.clock.advance(6)
    await sweep(patient)
    assert not await listed(client) and node.memory.removed == [snapshot.snapshot_id]


async def test_deleting_waits_for_nobody_and_spares_what_goes_on(patient: Cluster, node: FakeNode) -> None:
    """Memory and files stay until what was restored from them has stopped, and nobody asks the node in vain meanwhile."""
    client = patient.client
    snapshot = await take(client, await sandbox_of(client))
    copies = [await restore(client, snapshot.snapshot_id) for _ in range(2)]
    on_files = await sandbox_of(client, snapshot.image_id)
    await delete(client, snapshot.snapshot_id)
    assert not await listed(client)
    image = image_pb2.ImageDeleteRequest(image_id=snapshot.image_id)
    for sandbox_id in (*copies, on_files):
        await sweep(patient)
        with pytest.raises(ConflictError):
            await client.call("ImageDelete", image)
        await node.run(sandbox_id)
        await sweep(patient)
        assert bool(node.memory.removed) == (sandbox_id == on_files) and not node.layers.removed
        await node.end(sandbox_id)
    await sweep(patient)
    assert not await image_ids(client) and len(node.layers.removed) == 1
    assert [method for method, _ in node.calls].count("MemoryRemove") == 1
    with pytest.raises(NotFoundError):
        await delete(client, snapshot.snapshot_id)


async def test_an_image_that_a_snapshot_stands_on_stays(patient: Cluster, node: FakeNode) -> None:
    client = patient.client
    snapshot = await take(client, await sandbox_of(client))
    with pytest.raises(ConflictError) as caught:
        await client.call("ImageDelete", image_pb2.ImageDeleteRequest(image_id=snapshot.image_id))
    assert snapshot.snapshot_id in caught.value.cause
    child = await take(client, await restore(client, snapshot.snapshot_id))
    await node.end(next(iter(node.memory.restored)))
    await delete(client, snapshot.snapshot_id)
    await sweep(patient)
    assert await image_ids(client) == [child.image_id] and not node.layers.removed  # the child's files lie on its layer
    assert await restore(client, child.snapshot_id)


async def blob(store: Store, content: bytes) -> Digest:
    async def chunks() -> AsyncIterator[bytes]:
        yield content

    return (await store.put(chunks(), max_bytes=100)).digest


async def test_memory_in_the_store_is_kept_as_long_as_its_snapshot(patient: Cluster, node: FakeNode) -> None:
    client = patient.client
    snapshot = await take(client, await sandbox_of(client))
    await stored(client, snapshot.snapshot_id)
    assert node.memory.stored == [snapshot.snapshot_id]
    store = patient.router.parts.images.store
    memory, other = await blob(store, b"memory"), await blob(store, b"garbage")
    record = await patient.router.parts.db.snapshots.get(snapshot.snapshot_id)
    assert record is not None
    await patient.router.parts.db.snapshots.stored(record.snapshot_id, digest=memory, diff_id=memory, size_bytes=6)
    await client.call("ImagePrune", image_pb2.ImagePruneRequest())
    assert await store.has(memory) and not await store.has(other)
    await delete(client, snapshot.snapshot_id)
    await client.call("ImagePrune", image_pb2.ImagePruneRequest())
    assert not await store.has(memory)


@pytest.mark.parametrize("digest", ["nonsense", "sha256:", "sha256:../../x"])
async def test_a_digest_that_is_none_is_not_stored(patient: Cluster, node: FakeNode, digest: str) -> None:
    node.memory.digest = digest
    snapshot = await take(patient.client, await sandbox_of(patient.client))
    await until(node, lambda: bool(node.memory.stored))
    assert not (await get(patient.client, snapshot.snapshot_id)).stored
    node.memory.digest = ""
    patient.router.parts.images.keeper.wake()
    await stored(patient.client, snapshot.snapshot_id)


async def test_memory_left_over_goes_after_two_looks(patient: Cluster, node: FakeNode) -> None:
    client, keeper = patient.client, patient.router.parts.images.keeper
    snapshot = await take(client, await sandbox_of(client))
    node.memory.snapshots["sn-left"] = ("", snapshot_pb2.MemorySnapshotResponse())
    await keeper.memories.audit()
    assert not node.memory.removed
    node.memory.snapshots["sn-young"] = ("", snapshot_pb2.MemorySnapshotResponse())
    await keeper.memories.audit()
    assert node.memory.removed == ["sn-left"] and set(node.memory.snapshots) == {snapshot.snapshot_id, "sn-young"}


async def test_verifying_tells_what_is_damaged(patient: Cluster, node: FakeNode) -> None:
    client = patient.client
    snapshot = await take(client, await sandbox_of(client))
    await verify(client, snapshot.snapshot_id)
    node.memory.damaged.add(snapshot.snapshot_id)
    with pytest.raises(DataLossError) as caught:
        await verify(client, snapshot.snapshot_id)
    assert "pages.img" in caught.value.cause


@pytest.mark.parametrize(
    "refusal", [ConflictError("Another CPU: avx512 is missing."), DataLossError("pages.img is damaged."), NotFoundError("It is lost.")]
)
async def test_a_node_that_cannot_restore_says_why(patient: Cluster, node: FakeNode, refusal: Error) -> None:
    snapshot = await take(patient.client, await sandbox_of(patient.client))
    before = set(node.sandboxes)
    node.memory.restore_refusal = refusal
    with pytest.raises(type(refusal)) as caught:
        await restore(patient.client, snapshot.snapshot_id)
    assert caught.value.cause == refusal.cause and set(node.sandboxes) == before
    assert len((await patient.client.list_()).sandboxes) == 1


async def test_a_restore_goes_where_the_memory_is_or_to_nodes_of_its_kind(cluster: Cluster) -> None:
    client, home = cluster.client, await cluster.node("home")
    snapshot = (await take(client, await sandbox_of(client))).snapshot_id
    other, alien = await cluster.node("other"), FakeNode("alien", cluster.router.grpc_address, "")
    for _ in range(8):
        await restore(client, snapshot)
    assert not other.sandboxes and not alien.sandboxes
    await stored(client, snapshot)
    await home.stop()
    cluster.clock.advance(8)
    await other.report()
    copy = await restore(client, snapshot)
    assert other.memory.restored[copy].digest and other.memory.texts[copy] == "fetched"
    await verify(client, snapshot)
    await other.stop()
    cluster.clock.advance(8)
    with pytest.raises(ResourceExhaustedError) as caught:
        await restore(client, snapshot)
    assert "healthy" in caught.value.cause


async def test_memory_that_is_on_its_node_alone_waits_for_it(cluster: Cluster) -> None:
    client, home = cluster.client, await cluster.node("home")
    home.memory.refusal = ResourceExhaustedError("the store is full")
    snapshot = (await take(client, await sandbox_of(client))).snapshot_id
    other = await cluster.node("other")
    await home.stop()
    cluster.clock.advance(8)
    await other.report()
    for attempt in (restore, verify):
        with pytest.raises(ResourceExhaustedError) as caught:
            await attempt(client, snapshot)
        assert caught.value.retryable and "alone" in caught.value.cause
    assert not other.sandboxes


async def test_another_gvisor_is_no_place_to_go_on(cluster: Cluster) -> None:
    client, home = cluster.client, await cluster.node("home")
    home.memory.machine.runsc_version = "release-1"
    snapshot = (await take(client, await sandbox_of(client))).snapshot_id
    await stored(client, snapshot)
    other = await cluster.node("other")
    home.draining = True
    await home.report()
    await other.report()
    with pytest.raises(ResourceExhaustedError) as caught:
        await restore(client, snapshot)
    assert "release-1" in caught.value.cause and not other.sandboxes


@pytest.mark.parametrize(("page_bytes", "pages"), [(2**20, 3), (1, 5)])
async def test_listing_pages_and_refuses_foreign_cursors(
    patient: Cluster, node: FakeNode, monkeypatch: pytest.MonkeyPatch, page_bytes: int, pages: int
) -> None:
    monkeypatch.setattr("router.snapshots.shelf.MAX_PAGE_BYTES", page_bytes)
    client = patient.client
    source = await sandbox_of(client)
    made = [(await take(client, source)).snapshot_id for _ in range(5)]
    seen: list[str] = []
    cursor = ""
    while True:
        page = await client.call("SnapshotList", snapshot_pb2.SnapshotListRequest(limit=2, cursor=cursor))
        seen += [info.snapshot_id for info in page.snapshots]
        if not (cursor := page.next_cursor):
            break
        pages -= 1
    assert seen == made[::-1] and pages == 1
    with pytest.raises(InvalidError):
        await listed(client, cursor="x")


async def test_snapshots_of_another_workspace_do_not_exist(patient: Cluster, node: FakeNode) -> None:
    client, key = patient.client, new_id("rq")
    source = await sandbox_of(client)
    snapshot = (await take(client, source, key)).snapshot_id
    foreigner = patient.new_client(await patient.router.parts.authenticator.create("elsewhere", "t"))
    for attempt in (restore, get, delete, verify, pin):
        with pytest.raises(NotFoundError):
            await attempt(foreigner, snapshot)
    with pytest.raises(NotFoundError):
        await take(foreigner, source, key)
    assert not await listed(foreigner) and await listed(client) == [snapshot]


@pytest.mark.parametrize(("worked", "text"), [(True, "then"), (False, "now")])
async def test_kill_in_mid_snapshot_loses_nothing_and_doubles_nothing(tmp_path: Path, worked: bool, text: str) -> None:
    """kill -9 while the node works, or while its answer is on its way: what it took then is what the same key gives after a restart."""
    key = new_id("rq")
    async with AsyncExitStack() as stack:
        before = await stack.enter_async_context(router_process(tmp_path))
        join_token = (tmp_path / "router/join-token").read_text()
        node = await stack.enter_async_context(fake_node("a", before.addresses["grpc"], join_token))
        source = await sandbox_of(before.client)
        node.memory.texts[source] = "then"
        if worked:
            node.memory.drop_answers = True
        else:
            node.memory.gate.clear()
        call = asyncio.create_task(take(before.client, source, key))
        await node.memory.arrived.wait()
        await before.kill()
        await asyncio.wait([call])
        assert call.exception() is not None
        assert len(node.memory.taken) == worked
        node.memory.texts[source] = "now"
        node.memory.drop_answers = False
        node.memory.gate.set()

        after = await stack.enter_async_context(router_process(tmp_path))
        await node.register(router_address=after.addresses["grpc"])
        await node.report(complete=True)
        assert not await listed(after.client)
        snapshot = await take(after.client, source, key)
        assert len(node.memory.taken) == 1
        assert node.memory.texts[await restore(after.client, snapshot.snapshot_id)] == text


async def test_what_was_written_is_there_after_a_restart(tmp_path: Path) -> None:
    key = new_id("rq")
    async with running_cluster(settings_for(tmp_path)) as before:
        node = await before.node()
        source = await sandbox_of(before.client)
        snapshot, doomed = await take(before.client, source, key), await take(before.client, source)
        await pin(before.client, snapshot.snapshot_id)
        await delete(before.client, doomed.snapshot_id)
        memory = node.memory.snapshots
    async with running_cluster(settings_for(tmp_path), before.clock) as after:
        node = await after.node()
        node.memory.snapshots |= memory
        found = await take(after.client, source, key)
        assert found.image_id == snapshot.image_id and found.pinned and not node.memory.taken
        await sweep(after)
        assert await listed(after.client) == [snapshot.snapshot_id] and doomed.snapshot_id not in node.memory.snapshots
