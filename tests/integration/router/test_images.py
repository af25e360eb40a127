"""Snapshots, where their layers are, and whose they are: over fake nodes, with what fails on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from cove.exception import (
    AlreadyExistsError,
    ConflictError,
    Error,
    InvalidError,
    NotFoundError,
    ResourceExhaustedError,
)
from cove.types import new_id
from cove.wire import image_pb2
from router.images.manifests import CHAIN_LENGTH
from tests.integration.router.conftest import Cluster, running_cluster, settings_for
from tests.integration.router.image_client import Bench, bench_on, build, definition, image_ids, sandbox_of, snapshot
from tests.integration.router.test_crash import router_process
from tests.support.fake_node import fake_node
from tests.support.fake_tree import put


@pytest.fixture
async def bench(cluster: Cluster) -> AsyncIterator[Bench]:
    async with bench_on(cluster) as found:
        yield found


async def told(bench: Bench, condition: Callable[[], bool]) -> None:
    """Wait until what the node was told fulfils the condition."""
    async with asyncio.timeout(5):
        while not condition():
            bench.work.layers.changed.clear()
            await bench.work.layers.changed.wait()


async def stored(bench: Bench, image_id: str) -> image_pb2.ImageInfo:
    """The image once all of it is in the store."""
    async with asyncio.timeout(5):
        while not (image := await bench.cluster.client.call("ImageGet", image_pb2.ImageGetRequest(image_id=image_id))).stored:  # noqa: ASYNC110 - a record has no event
            await asyncio.sleep(0.005)
    return image  # type: ignore[no-any-return]  # the client's answers are untyped


@pytest.fixture
async def patient(tmp_path: Path) -> AsyncIterator[Bench]:
    """A router that gives no node up however far its clock is moved."""
    async with (
        running_cluster(settings_for(tmp_path, node_unreachable_after_s=1e6, node_lost_after_s=2e6)) as cluster,
        bench_on(cluster) as found,
    ):
        yield found


def look_again(bench: Bench) -> None:
    """The storekeeper's next audit is due."""
    bench.cluster.clock.advance(601)
    bench.cluster.router.parts.images.keeper.wake()


async def audited(bench: Bench, count: int) -> None:
    async with asyncio.timeout(5):
        while [name for name, _ in bench.node.calls].count("LayerList") < count:  # noqa: ASYNC110 - a call has no event
            await asyncio.sleep(0.005)


async def test_a_snapshot_is_an_image_of_the_files(bench: Bench) -> None:
    client = bench.cluster.client
    source = await sandbox_of(client)
    put(bench.work.layers.trees[source], "/made", b"1")
    image = await snapshot(client, source)
    assert (image.source, image.sandbox_id, image.layers) == ("snapshot", source, 2) and not image.parent_image_id
    copy = await sandbox_of(client, image.image_id)
    assert bench.work.layers.trees[copy] == bench.work.layers.trees[source]
    second = await snapshot(client, copy)
    assert (second.parent_image_id, second.layers) == (image.image_id, 3)
    assert not bench.node.builds


async def test_the_same_key_gives_the_same_image_whatever_happened_since(bench: Bench) -> None:
    client, key = bench.cluster.client, new_id("ik")
    source = await sandbox_of(client)
    at_once = await asyncio.gather(*(snapshot(client, source, key) for _ in range(10)))
    first = at_once[0].image_id
    assert {image.image_id for image in at_once} == {first} and len(bench.work.layers.taken) == 1
    put(bench.work.layers.trees[source], "/later", b"1")
    assert (await snapshot(client, source, key)).image_id == first
    assert (await snapshot(client, source)).image_id != first
    other = await sandbox_of(client)
    assert (await snapshot(client, other, key)).image_id != first
    await bench.node.end(source)
    assert (await snapshot(client, source, key)).image_id == first
    with pytest.raises(ConflictError) as caught:
        await snapshot(client, source)
    assert caught.value.code == "sandbox_ended"


async def test_an_answer_that_was_lost_is_the_layer_that_was_taken(tmp_path: Path) -> None:
    """The node has the layer, the router never writes; files change; the client asks again."""
    key = new_id("ik")
    async with running_cluster(settings_for(tmp_path)) as cluster, bench_on(cluster) as bench:
        source = await sandbox_of(cluster.client)
        put(bench.work.layers.trees[source], "/then", b"1")
        bench.work.layers.drop_answers = True
        with pytest.raises(Error) as caught:
            await snapshot(cluster.client, source, key, timeout_s=0.2)
        assert caught.value.retryable and not await image_ids(cluster.client)
        put(bench.work.layers.trees[source], "/now", b"1")
        bench.work.layers.drop_answers = False
        image = await snapshot(cluster.client, source, key)
        copy = await sandbox_of(cluster.client, image.image_id)
        assert "/then" in bench.work.layers.trees[copy] and "/now" not in bench.work.layers.trees[copy]
        assert len(bench.work.layers.taken) == 1


async def test_a_client_that_hangs_up_gets_its_image_with_the_next_call(bench: Bench) -> None:
    client, key = bench.cluster.client, new_id("ik")
    source = await sandbox_of(client)
    bench.work.layers.gate.clear()
    call = asyncio.create_task(snapshot(client, source, key))
    await bench.work.layers.arrived.wait()
    call.cancel()
    await asyncio.wait([call])
    bench.work.layers.gate.set()
    image = await snapshot(client, source, key)
    assert len(bench.work.layers.taken) == 1 and await image_ids(client) == [image.image_id]


@pytest.mark.parametrize("timeout_s", [-1.0, float("nan"), float("inf"), 601.0])
async def test_timeouts_out_of_range_are_refused(bench: Bench, timeout_s: float) -> None:
    source = await sandbox_of(bench.cluster.client)
    with pytest.raises(InvalidError):
        await snapshot(bench.cluster.client, source, timeout_s=timeout_s)
    assert not bench.work.layers.taken


@pytest.mark.parametrize("sandbox_id", ["", "sb-" + "0" * 22, "../x", "\u0000"])
async def test_sandboxes_that_are_not_there_have_no_snapshots(bench: Bench, sandbox_id: str) -> None:
    with pytest.raises(NotFoundError):
        await snapshot(bench.cluster.client, sandbox_id)


async def test_a_node_that_is_away_is_said_to_be_and_asked_again_later(bench: Bench) -> None:
    client, key = bench.cluster.client, new_id("ik")
    source = await sandbox_of(client)
    await bench.node.stop()
    with pytest.raises(Error) as caught:
        await snapshot(client, source, key)
    assert caught.value.retryable and not await image_ids(client)
    await bench.node.listen(bench.work.handler())
    await bench.node.register()
    await bench.node.report(complete=True)
    assert (await snapshot(client, source, key)).sandbox_id == source


async def test_until_it_is_stored_an_image_runs_on_its_node_alone(bench: Bench) -> None:
    client = bench.cluster.client
    bench.work.layers.refusal = ResourceExhaustedError("the store is full")
    source = await sandbox_of(client)
    image = await snapshot(client, source)
    async with bench_on(bench.cluster, "node-b") as other:
        for _ in range(8):
            await sandbox_of(client, image.image_id)
        assert not other.node.sandboxes and not (await client.call("ImageGet", image_pb2.ImageGetRequest(image_id=image.image_id))).stored
        await bench.node.stop()
        with pytest.raises(Error) as caught:
            await sandbox_of(client, image.image_id)
        assert caught.value.retryable and not other.node.sandboxes
        bench.work.layers.refusal = None
        await bench.node.listen(bench.work.handler())
        await bench.node.register()
        await bench.node.report(complete=True)
        bench.cluster.router.parts.images.keeper.wake()
        assert (await stored(bench, image.image_id)).size_bytes == 100
        for _ in range(8):
            await sandbox_of(client, image.image_id)
        assert other.node.sandboxes


async def test_layers_are_stored_after_a_restart(tmp_path: Path) -> None:
    clock = None
    async with running_cluster(settings_for(tmp_path)) as before, bench_on(before) as bench:
        bench.work.layers.refusal = ResourceExhaustedError("the store is full")
        image = await snapshot(before.client, await sandbox_of(before.client))
        clock, layers = before.clock, bench.work.layers
    layers.refusal = None
    async with running_cluster(settings_for(tmp_path), clock) as after, bench_on(after) as bench:
        bench.work.layers.layers |= layers.layers
        after.router.parts.images.keeper.wake()
        assert (await stored(bench, image.image_id)).stored
        assert len(bench.work.layers.stored) == 1


async def test_one_lost_layer_does_not_keep_others_from_the_store(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.upkeep.ROUND_LIMIT", 1)
    client, layers = bench.cluster.client, bench.work.layers
    source = await sandbox_of(client)
    layers.refusal = ResourceExhaustedError("the store is full")
    lost = await snapshot(client, source)
    layers.layers.clear()
    kept = await snapshot(client, source)
    layers.refusal = None
    assert (await stored_in_rounds(bench, kept.image_id)).stored
    assert not (await client.call("ImageGet", image_pb2.ImageGetRequest(image_id=lost.image_id))).stored


async def stored_in_rounds(bench: Bench, image_id: str) -> image_pb2.ImageInfo:
    """As :func:`stored`, with a round of the storekeeper's for each look."""
    async with asyncio.timeout(5):
        while True:
            image = await bench.cluster.client.call("ImageGet", image_pb2.ImageGetRequest(image_id=image_id))
            if image.stored:
                return image  # type: ignore[no-any-return]  # the client's answers are untyped
            bench.cluster.router.parts.images.keeper.wake()


@pytest.mark.parametrize("digest", ["nonsense", "sha256:", "sha256:../../x"])
async def test_a_node_that_answers_nonsense_is_not_believed(bench: Bench, digest: str) -> None:
    bench.work.layers.digest = digest
    image = await snapshot(bench.cluster.client, await sandbox_of(bench.cluster.client))
    await told(bench, lambda: bool(bench.work.layers.stored))
    bench.work.layers.digest = ""
    assert (await stored_in_rounds(bench, image.image_id)).stored
    assert "nonsense" not in await bench.cluster.router.parts.db.images.digests()


async def test_layers_left_over_go_after_two_looks(patient: Bench) -> None:
    bench = patient
    client, layers = bench.cluster.client, bench.work.layers
    image = await snapshot(client, await sandbox_of(client))
    known = set(layers.layers)
    layers.layers["ly-left"] = {}
    look_again(bench)
    await audited(bench, 1)
    assert not layers.removed
    layers.layers["ly-young"] = {}
    look_again(bench)
    await told(bench, lambda: bool(layers.removed))
    await audited(bench, 2)
    assert layers.removed == ["ly-left"] and set(layers.layers) == known | {"ly-young"}
    assert (await client.call("ImageGet", image_pb2.ImageGetRequest(image_id=image.image_id))).image_id


async def test_a_node_that_cannot_be_asked_does_not_spoil_the_audit_of_others(patient: Bench) -> None:
    bench = patient
    async with bench_on(bench.cluster, "node-0") as broken:
        await broken.node.stop()
        bench.work.layers.layers["ly-left"] = {}
        for count in (1, 2):
            look_again(bench)
            await audited(bench, count)
        await told(bench, lambda: bench.work.layers.removed == ["ly-left"])


async def test_pruning_removes_layers_that_no_image_has(bench: Bench) -> None:
    client, layers = bench.cluster.client, bench.work.layers
    source = await sandbox_of(client)
    first, second = await snapshot(client, source), await snapshot(client, source)
    gone, kept = (request.layer_id for request in layers.taken)
    await stored(bench, second.image_id)
    await client.call("ImageDelete", image_pb2.ImageDeleteRequest(image_id=first.image_id))
    assert not (await client.call("ImagePrune", image_pb2.ImagePruneRequest(dry_run=True, older_than_s=0))).image_ids
    assert set(layers.layers) == {gone, kept}
    await client.call("ImagePrune", image_pb2.ImagePruneRequest())
    assert layers.removed == [gone] and await image_ids(client) == [second.image_id]
    for older_than_s in (-1.0, float("nan")):
        with pytest.raises(InvalidError):
            await client.call("ImagePrune", image_pb2.ImagePruneRequest(older_than_s=older_than_s))


async def test_an_image_that_sandboxes_run_on_stays(bench: Bench) -> None:
    client = bench.cluster.client
    image = await snapshot(client, await sandbox_of(client))
    user = await sandbox_of(client, image.image_id)
    delete = image_pb2.ImageDeleteRequest(image_id=image.image_id)
    with pytest.raises(ConflictError):
        await client.call("ImageDelete", delete)
    await bench.node.end(user)
    await client.call("ImageDelete", delete)
    for method, request in (("ImageDelete", delete), ("ImageGet", image_pb2.ImageGetRequest(image_id=image.image_id))):
        with pytest.raises(NotFoundError):
            await client.call(method, request)
    with pytest.raises(NotFoundError):
        await sandbox_of(client, image.image_id)


async def test_a_long_chain_of_snapshots_is_merged_where_it_is_taken(bench: Bench) -> None:
    client, image_id = bench.cluster.client, ""
    for number in range(CHAIN_LENGTH + 2):
        sandbox_id = await sandbox_of(client, image_id)
        put(bench.work.layers.trees[sandbox_id], f"/{number}", b"x")
        image = await snapshot(client, sandbox_id)
        image_id = image.image_id
        await bench.node.end(sandbox_id)
    merged = [list(request.merge_layer_ids) for request in bench.work.layers.taken]
    assert [len(ids) for ids in merged] == [0] * CHAIN_LENGTH + [CHAIN_LENGTH, 0]
    assert merged[CHAIN_LENGTH] == [request.layer_id for request in bench.work.layers.taken[:CHAIN_LENGTH]]
    assert image.layers == 3  # the base, the merged ones, the last one
    tree = bench.work.layers.layers[bench.work.layers.taken[-1].layer_id]
    assert {f"/{number}" for number in range(CHAIN_LENGTH + 2)} <= tree.keys()


async def test_differences_of_images_and_of_a_sandbox(bench: Bench) -> None:
    client = bench.cluster.client
    source = await sandbox_of(client)
    old = await snapshot(client, source)
    put(bench.work.layers.trees[source], "/new", b"1")
    new = await snapshot(client, source)
    asked: list[tuple[str, Any]] = [
        ("ImageDiff", image_pb2.ImageDiffRequest(old_image_id=old.image_id, new_image_id=new.image_id)),
        ("SandboxDiff", image_pb2.SandboxDiffRequest(sandbox_id=source)),
    ]
    for method, request in asked:
        changes = [change async for batch in client.stream(method, request) for change in batch.changes]
        assert [(change.path, change.kind) for change in changes] == [(b"/new", "added")]


async def test_images_on_two_nodes_are_brought_together_to_be_compared(bench: Bench) -> None:
    client = bench.cluster.client
    async with bench_on(bench.cluster, "node-b") as other:
        for each in (bench, other):
            each.work.layers.refusal = ResourceExhaustedError("the store is full")
        images: dict[str, str] = {}
        while len(images) < 2:
            sandbox_id = await sandbox_of(client)
            images["a" if sandbox_id in bench.node.sandboxes else "b"] = (await snapshot(client, sandbox_id)).image_id
        for each in (bench, other):
            each.work.layers.refusal = None
        for old, new in (("a", "b"), ("b", "a")):
            request = image_pb2.ImageDiffRequest(old_image_id=images[old], new_image_id=images[new])
            assert [change async for change in client.stream("ImageDiff", request)] == []


async def test_listing_pages_and_refuses_foreign_cursors(bench: Bench) -> None:
    client = bench.cluster.client
    source = await sandbox_of(client)
    made = [(await snapshot(client, source)).image_id for _ in range(5)]
    seen: list[str] = []
    cursor = ""
    while True:
        page = await client.call("ImageList", image_pb2.ImageListRequest(limit=2, cursor=cursor))
        seen += [image.image_id for image in page.images]
        if not (cursor := page.next_cursor):
            break
    assert seen == made[::-1]
    for wrong in ("x", "!!!!", "bnVsbA==", "WzEsMl0=", "é", "W05hTiwgImEiXQ=="):
        with pytest.raises(InvalidError):
            await client.call("ImageList", image_pb2.ImageListRequest(cursor=wrong))


async def test_images_of_another_workspace_do_not_exist(bench: Bench) -> None:
    client = bench.cluster.client
    source, key = await sandbox_of(client), new_id("ik")
    ours = (await snapshot(client, source, key)).image_id
    foreigner = bench.cluster.new_client(await bench.cluster.router.parts.authenticator.create("elsewhere", "t"))
    theirs = (await build(foreigner, definition("RUN echo a"))).image.image_id
    target = image_pb2.RegistryImage(reference="127.0.0.1:1/a")

    def attempts(image_id: str) -> list[tuple[str, Any]]:
        return [
            ("ImageGet", image_pb2.ImageGetRequest(image_id=image_id)),
            ("ImageDelete", image_pb2.ImageDeleteRequest(image_id=image_id)),
            ("SandboxSnapshotFilesystem", image_pb2.SandboxSnapshotFilesystemRequest(sandbox_id=source, idempotency_key=key)),
        ]

    def streams(image_id: str) -> list[tuple[str, Any]]:
        return [
            ("ImagePush", image_pb2.ImagePushRequest(image_id=image_id, target=target)),
            ("ImageDiff", image_pb2.ImageDiffRequest(old_image_id=image_id, new_image_id=theirs)),
            ("ImageDiff", image_pb2.ImageDiffRequest(old_image_id=theirs, new_image_id=image_id)),
            ("SandboxDiff", image_pb2.SandboxDiffRequest(sandbox_id=source)),
            ("ImageBuild", image_pb2.ImageBuildRequest(definition=definition(image_id=image_id))),
            ("ImageBuild", image_pb2.ImageBuildRequest(definition=definition("RUN echo b", image_id=image_id))),
        ]

    for image_id in (ours, "im-" + "0" * 22, "x"):
        for method, request in attempts(image_id):
            with pytest.raises(NotFoundError):
                await foreigner.call(method, request)
        for method, request in streams(image_id):
            with pytest.raises((NotFoundError, InvalidError)) as caught:
                _ = [answer async for answer in foreigner.stream(method, request)]
            assert isinstance(caught.value, NotFoundError) or image_id == "x"
        with pytest.raises((NotFoundError, InvalidError)) as caught:
            await sandbox_of(foreigner, image_id)
        assert isinstance(caught.value, NotFoundError) or image_id == "x"
    assert not bench.work.layers.diffs
    assert ours not in await image_ids(foreigner) and theirs not in await image_ids(client)
    assert not (await foreigner.call("ImagePrune", image_pb2.ImagePruneRequest())).image_ids
    assert await image_ids(client) == [ours]


@pytest.mark.parametrize("kind", ["docker", "ECR"])
async def test_a_push_to_no_kind_of_registry_is_the_callers_mistake(bench: Bench, kind: str) -> None:
    image = await snapshot(bench.cluster.client, await sandbox_of(bench.cluster.client))
    target = image_pb2.RegistryImage(reference="127.0.0.1:1/a", kind=kind, secret={"A": "hidden-value"})
    request = image_pb2.ImagePushRequest(image_id=image.image_id, target=target)
    with pytest.raises(InvalidError) as caught:
        _ = [event async for event in bench.cluster.client.stream("ImagePush", request)]
    assert "hidden-value" not in str(caught.value)


async def test_no_two_requests_share_a_key_by_accident(bench: Bench) -> None:
    """A snapshot's key is checked like any other."""
    source = await sandbox_of(bench.cluster.client)
    request = image_pb2.SandboxSnapshotFilesystemRequest(sandbox_id=source, idempotency_key="")
    with pytest.raises((InvalidError, AlreadyExistsError)):
        await bench.cluster.client.call("SandboxSnapshotFilesystem", request)


async def test_kill_between_the_nodes_work_and_the_routers_write_loses_no_snapshot(tmp_path: Path) -> None:
    """kill -9 while the node's answer is on its way; after a restart the same key gives the layer that was taken then."""
    key = new_id("ik")
    async with AsyncExitStack() as stack:
        before = await stack.enter_async_context(router_process(tmp_path))
        join_token = (tmp_path / "router/join-token").read_text()
        node = await stack.enter_async_context(fake_node("a", before.addresses["grpc"], join_token))
        source = await sandbox_of(before.client)
        put(node.layers.trees[source], "/then", b"1")
        node.layers.drop_answers = True
        call = asyncio.create_task(snapshot(before.client, source, key))
        await node.layers.arrived.wait()
        await before.kill()
        await asyncio.wait([call])
        assert call.exception() is not None
        (taken,) = node.layers.layers
        put(node.layers.trees[source], "/now", b"1")
        node.layers.drop_answers = False

        after = await stack.enter_async_context(router_process(tmp_path))
        await node.register(router_address=after.addresses["grpc"])
        await node.report(complete=True)
        assert not await image_ids(after.client)
        image = await snapshot(after.client, source, key)
        copy = await sandbox_of(after.client, image.image_id)
        assert [item.layer_id for item in node.layers.images[copy].layers if item.layer_id] == [taken]
        assert "/then" in node.layers.trees[copy] and "/now" not in node.layers.trees[copy]
