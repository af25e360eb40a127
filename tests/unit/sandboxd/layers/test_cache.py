"""Layers on a node, on a real btrfs, with a store that fails as it likes: a layer is whole or not there."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from cove.exception import ConflictError, ConnectionError, DataLossError, InvalidError, NotFoundError
from cove.types import SandboxId, new_id
from cove.wire.image_pb2 import LayerRef
from sandboxd.layers import LayerCache, cache
from sandboxd.storage_pool import StoragePool, Upper
from snapshots.digest import Digest
from tests.support.memory_blobs import MemoryBlobs

pytestmark = pytest.mark.needs_root

MIB = 2**20


@pytest.fixture
async def pool(tmp_path: Path) -> AsyncIterator[StoragePool]:
    opened = await StoragePool.open(tmp_path / "state", instance=f"cove-t{secrets.token_hex(4)}", size_bytes=4096 * MIB)
    yield opened
    for sandbox in opened.list_():
        await opened.remove_upper(sandbox)
    await opened.close()


@pytest.fixture
def blobs() -> MemoryBlobs:
    return MemoryBlobs()


@pytest.fixture
def layers(pool: StoragePool, blobs: MemoryBlobs) -> LayerCache:
    return LayerCache(pool, blobs)


@pytest.fixture
def sandbox_id() -> SandboxId:
    return SandboxId(new_id("sb"))


@pytest.fixture
def upper(pool: StoragePool, sandbox_id: SandboxId) -> Upper:
    made = pool.create_upper(sandbox_id, 64 * MIB)
    (made.upper_dir / "file").write_bytes(os.urandom(MIB))
    return made


def layer_id() -> str:
    return new_id("ly")


@contextlib.asynccontextmanager
async def standing() -> AsyncIterator[None]:
    """Nothing runs anyway."""
    yield


async def take(layers: LayerCache, sandbox_id: SandboxId, name: str, merge: Sequence[str] = ()) -> float:
    return await layers.take(sandbox_id, name, merge, own=[], stopped=standing)


def left(pool: StoragePool) -> set[str]:
    return {path.name for path in pool.layers.iterdir()}


async def test_a_layer_is_what_the_sandbox_had(layers: LayerCache, pool: StoragePool, sandbox_id: SandboxId, upper: Upper) -> None:
    name = layer_id()
    await take(layers, sandbox_id, name)
    before = (upper.upper_dir / "file").read_bytes()
    (upper.upper_dir / "file").write_bytes(b"changed")
    await pool.remove_upper(sandbox_id)
    assert (await layers.ensure(LayerRef(layer_id=name)) / "file").read_bytes() == before
    assert left(pool) == {name}


async def test_taken_again_it_stays_as_it_was(layers: LayerCache, sandbox_id: SandboxId, upper: Upper) -> None:
    name = layer_id()
    await take(layers, sandbox_id, name)
    (upper.upper_dir / "later").touch()
    assert await take(layers, sandbox_id, name) == 0.0
    assert not (await layers.ensure(LayerRef(layer_id=name)) / "later").exists()


async def test_a_sandbox_that_has_gone(layers: LayerCache, pool: StoragePool, sandbox_id: SandboxId) -> None:
    with pytest.raises(ConflictError) as caught:
        await take(layers, sandbox_id, layer_id())
    assert caught.value.code == "sandbox_ended"
    assert left(pool) == set()


async def test_a_failure_while_it_stands_still_leaves_nothing(
    layers: LayerCache, pool: StoragePool, sandbox_id: SandboxId, upper: Upper
) -> None:
    @contextlib.asynccontextmanager
    async def refusing() -> AsyncIterator[None]:
        raise ConflictError("It did not stop.")
        yield

    with pytest.raises(ConflictError):
        await layers.take(sandbox_id, layer_id(), [], own=[], stopped=refusing)
    assert left(pool) == set()


async def test_cancelled_at_any_time_it_leaves_nothing_or_all(
    layers: LayerCache, pool: StoragePool, sandbox_id: SandboxId, upper: Upper
) -> None:
    below = layer_id()
    await take(layers, sandbox_id, below)
    for steps in range(60):
        name = layer_id()
        task = asyncio.create_task(take(layers, sandbox_id, name, [below]))
        for _ in range(steps):
            await asyncio.sleep(0.0005)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert left(pool) <= {below, name}
        if name in left(pool):
            assert (await layers.ensure(LayerRef(layer_id=name)) / "file").stat().st_size == MIB
            await layers.remove(name)


async def test_a_cancelled_copy_is_over_before_it_is_cleaned_up(
    layers: LayerCache, pool: StoragePool, sandbox_id: SandboxId, upper: Upper, monkeypatch: pytest.MonkeyPatch
) -> None:
    copying, go_on = threading.Event(), threading.Event()
    copy = StoragePool._copy_upper

    def slow(pool: StoragePool, name: str, target: Path) -> None:
        copying.set()
        assert go_on.wait(10)
        copy(pool, name, target)

    monkeypatch.setattr(StoragePool, "_copy_upper", slow)
    task = asyncio.create_task(take(layers, sandbox_id, layer_id()))
    await asyncio.to_thread(copying.wait, 10)
    for _ in range(3):  # a caller that is impatient
        task.cancel()
        await asyncio.sleep(0.01)
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert left(pool) == set()


async def test_merging_what_is_not_here(layers: LayerCache, pool: StoragePool, sandbox_id: SandboxId, upper: Upper) -> None:
    with pytest.raises(NotFoundError):
        await take(layers, sandbox_id, layer_id(), [layer_id()])
    assert left(pool) == set()


async def test_merged_layers_are_one(layers: LayerCache, pool: StoragePool, sandbox_id: SandboxId, upper: Upper) -> None:
    below, name = layer_id(), layer_id()
    (upper.upper_dir / "lower").write_text("lower")
    await take(layers, sandbox_id, below)
    (upper.upper_dir / "lower").unlink()
    (upper.upper_dir / "file").write_text("upper")
    await take(layers, sandbox_id, name, [below])
    await layers.remove(below)
    merged = await layers.ensure(LayerRef(layer_id=name))
    assert (merged / "file").read_text() == "upper"
    assert (merged / "lower").read_text() == "lower"
    assert left(pool) == {name}


async def stored(layers: LayerCache, sandbox_id: SandboxId) -> LayerRef:
    """A layer that is in the store and no longer here."""
    name = layer_id()
    await take(layers, sandbox_id, name)
    reference = await layers.store(LayerRef(layer_id=name))
    await layers.remove(name)
    return reference


async def test_from_the_store_and_back(
    layers: LayerCache, pool: StoragePool, sandbox_id: SandboxId, upper: Upper, blobs: MemoryBlobs
) -> None:
    reference = await stored(layers, sandbox_id)
    assert left(pool) == set()
    fetched = await layers.ensure(reference)
    assert (fetched / "file").read_bytes() == (upper.upper_dir / "file").read_bytes()
    assert await layers.store(LayerRef(layer_id=reference.layer_id)) == reference
    assert left(pool) == {reference.layer_id, f"{reference.layer_id}.json"}


async def test_many_at_once_fetch_it_once(
    layers: LayerCache, pool: StoragePool, sandbox_id: SandboxId, upper: Upper, blobs: MemoryBlobs
) -> None:
    reference = await stored(layers, sandbox_id)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(layers.ensure(reference)) for _ in range(10)]
    assert len({task.result() for task in tasks}) == 1
    assert blobs.fetches == 1


async def test_the_first_of_two_that_gives_up_leaves_it_to_the_second(
    layers: LayerCache, pool: StoragePool, sandbox_id: SandboxId, upper: Upper, blobs: MemoryBlobs
) -> None:
    reference = await stored(layers, sandbox_id)
    blobs.gate.clear()
    first = asyncio.create_task(layers.ensure(reference))
    second = asyncio.create_task(layers.ensure(reference))
    await blobs.waiting.wait()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    blobs.gate.set()
    assert (await second / "file").stat().st_size == MIB
    assert left(pool) == {reference.layer_id, f"{reference.layer_id}.json"}


@pytest.mark.parametrize("damage", ["flipped", "cut", "longer", "another", "broken off"])
async def test_damage_on_the_way_leaves_nothing(
    layers: LayerCache, pool: StoragePool, sandbox_id: SandboxId, upper: Upper, blobs: MemoryBlobs, damage: str
) -> None:
    reference = await stored(layers, sandbox_id)
    digest = Digest(reference.digest)
    whole = blobs.content[digest]
    middle = len(whole) // 2
    match damage:
        case "flipped":
            blobs.content[digest] = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
        case "cut":
            blobs.content[digest] = whole[:middle]
        case "longer":
            blobs.content[digest] = whole + b"x"
        case "another":
            (upper.upper_dir / "file").write_bytes(os.urandom(MIB))
            blobs.content[digest] = blobs.content[Digest((await stored(layers, sandbox_id)).digest)]
        case _:
            blobs.broken = ConnectionError("The store broke off.")
    with pytest.raises((DataLossError, ConnectionError)):
        await layers.ensure(reference)
    assert left(pool) == set()
    blobs.content[digest], blobs.broken = whole, None
    assert (await layers.ensure(reference) / "file").stat().st_size == MIB


async def test_a_store_that_refuses_gets_it_later(
    layers: LayerCache, pool: StoragePool, sandbox_id: SandboxId, upper: Upper, blobs: MemoryBlobs
) -> None:
    name = layer_id()
    await take(layers, sandbox_id, name)
    blobs.broken = ConnectionError("The store is away.")
    with pytest.raises(ConnectionError):
        await layers.store(LayerRef(layer_id=name))
    assert left(pool) == {name}
    blobs.broken = None
    assert (await layers.store(LayerRef(layer_id=name))).size_bytes > MIB


async def test_sweeping_keeps_layers_alone(layers: LayerCache, pool: StoragePool, sandbox_id: SandboxId, upper: Upper) -> None:
    name = layer_id()
    await take(layers, sandbox_id, name)
    await layers.store(LayerRef(layer_id=name))
    await pool.copy_upper(sandbox_id, pool.layers / f"{layer_id()}.taken")
    (pool.layers / f"{layer_id()}.partial/upper/deep").mkdir(parents=True)
    for odd in (f"{layer_id()}.json", f"{name}.new", "lost+found", "..json", ".json", f"{name}.pack", "base-debian:3.11.pack"):
        (pool.layers / odd).touch()
    (pool.layers / "link").symlink_to("/etc")
    await layers.sweep()
    assert left(pool) == {name, f"{name}.json"}
    assert Path("/etc/passwd").exists()


@pytest.mark.parametrize("bad", ["", "..", "../../etc", "ly-short", f"ly-{'0' * 22}.taken", f"im-{'0' * 22}"])
async def test_ids_become_no_paths(layers: LayerCache, sandbox_id: SandboxId, bad: str) -> None:
    for call in (layers.ensure(LayerRef(layer_id=bad)), take(layers, sandbox_id, bad), layers.remove(bad)):
        with pytest.raises(InvalidError):
            await call
    with pytest.raises(InvalidError):
        await layers.store(LayerRef(layer_id=bad) if bad else LayerRef())


async def test_removal_is_idempotent(layers: LayerCache, pool: StoragePool, sandbox_id: SandboxId, upper: Upper) -> None:
    name = layer_id()
    await take(layers, sandbox_id, name)
    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(layers.remove(name))
    assert left(pool) == set()
    with pytest.raises(NotFoundError):
        await layers.ensure(LayerRef(layer_id=name))


async def test_differences_while_the_sandbox_writes_are_those_of_a_copy(
    layers: LayerCache, pool: StoragePool, sandbox_id: SandboxId, upper: Upper, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    base.mkdir()
    for number in range(cache.CHANGES_AT_ONCE + 10):
        (upper.upper_dir / f"{number:05d}").touch()
    async with layers.copied(sandbox_id, "df-one") as changes:
        (upper.upper_dir / "00000").unlink()
        found = [change async for batch in layers.diff([base], [base, changes]) for change in batch]
    assert [change.path for change in found] == sorted([b"file", *(b"%05d" % number for number in range(cache.CHANGES_AT_ONCE + 10))])
    assert left(pool) == set()
