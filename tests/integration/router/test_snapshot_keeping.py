"""Memory snapshots over fake nodes, later: kept as long as promised, restored where that is possible, there after a restart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from cove.exception import (
    ConflictError,
    DataLossError,
    Error,
    InvalidError,
    NotFoundError,
    ResourceExhaustedError,
)
from cove.types import new_id
from cove.wire import image_pb2, snapshot_pb2
from snapshots.digest import Digest
from snapshots.store import Store
from tests.integration.router.conftest import Cluster, running_cluster, settings_for
from tests.integration.router.image_client import image_ids, sandbox_of
from tests.integration.router.snapshot_client import delete, get, listed, node, patient, pin, restore, stored, sweep, take, until, verify
from tests.integration.router.test_crash import router_process
from tests.support.fake_node import FakeNode, fake_node

__all__ = ["node", "patient"]


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


async def test_a_node_that_kept_an_older_gvisor_is_a_place_to_go_on(cluster: Cluster) -> None:
    client, home = cluster.client, await cluster.node("home")
    old = home.memory.machine.runsc_build = f"release-1-{'a' * 16}"
    snapshot = (await take(client, await sandbox_of(client))).snapshot_id
    await stored(client, snapshot)
    other = await cluster.node("other")
    home.draining = True
    await home.report()
    with pytest.raises(ResourceExhaustedError, match=old):
        await restore(client, snapshot)
    other.runsc_builds = [f"release-2-{'b' * 16}", old]
    await other.register()
    await other.report()
    assert await restore(client, snapshot) in other.sandboxes


async def test_a_hundred_deleted_at_once_are_removed_one_by_one_and_counted(patient: Cluster, node: FakeNode) -> None:
    client, source = patient.client, await sandbox_of(patient.client)
    made = [(await take(client, source)).snapshot_id for _ in range(100)]
    remove, at_once, most = node.memory.remove, 0, 0

    async def removing(request: snapshot_pb2.MemoryRemoveRequest) -> snapshot_pb2.MemoryRemoveResponse:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0)
        try:
            return await remove(request)
        finally:
            at_once -= 1

    node.memory.remove = removing  # type: ignore[method-assign]
    async with asyncio.TaskGroup() as group:
        for snapshot_id in made:
            group.create_task(delete(client, snapshot_id))
    assert await listed(client) == []

    def counted(event: str) -> bool:
        return f'cove_router_snapshots_total{{event="{event}"}} 100.0' in patient.router.parts.metrics.text().decode()

    async with asyncio.timeout(15):
        while not counted("removed"):
            await sweep(patient)
    assert set(node.memory.removed) == set(made) and counted("deleted")
    assert most <= 2  # the router's own sweeper and the test's


async def test_what_nodes_are_still_removing_is_counted(patient: Cluster, node: FakeNode) -> None:
    node.freeing = 93
    await node.report()
    assert "cove_router_freeing 93.0" in patient.router.parts.metrics.text().decode()
    node.freeing = 0
    await node.report()
    assert "cove_router_freeing 0.0" in patient.router.parts.metrics.text().decode()


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
