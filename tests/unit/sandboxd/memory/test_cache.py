"""Memory snapshots on a node, on a real btrfs, with a store that fails as it likes: whole or not there, and never damaged unnoticed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from cove.exception import ConnectionError, DataLossError, InvalidError, NotFoundError, VersionError
from cove.types import new_id
from sandboxd.journal import MemoryRef
from sandboxd.layers.trees import Stored
from sandboxd.memory import MemoryCache
from sandboxd.memory.machine import Machine, Machines
from sandboxd.memory.manifest import Manifest, hash_files, write_manifest
from sandboxd.storage_pool import StoragePool
from tests.support.memory_blobs import MemoryBlobs

pytestmark = pytest.mark.needs_root

BUILD = f"1-{'a' * 16}"
MACHINE = Machine(architecture="x86_64", runsc_version="1", runsc_build=BUILD, platform="systrap", cpu_features=("sse",))


def on(machine: Machine, *builds: str) -> Machines:
    return Machines(machine, lambda: builds)


@pytest.fixture
def blobs() -> MemoryBlobs:
    return MemoryBlobs()


@pytest.fixture
def memory(pool: StoragePool, blobs: MemoryBlobs) -> MemoryCache:
    return MemoryCache(pool, blobs, on(MACHINE))


async def take(memory: MemoryCache) -> str:
    """A snapshot with some files."""
    snapshot_id = new_id("sn")
    async with memory.taking(snapshot_id) as work:
        (work / "image").mkdir()
        (work / "image/pages.img").write_bytes(bytes(range(256)) * 4000)
        manifest = Manifest(
            snapshot_id=snapshot_id, layer_id=new_id("ly"), machine=MACHINE, stopped_s=0, processes=(), files=hash_files(work)
        )
        write_manifest(work, manifest)
    return snapshot_id


def ref(snapshot_id: str, stored: Stored | None = None) -> MemoryRef:
    fields = msgspec.structs.asdict(stored) if stored else {}
    return MemoryRef(snapshot_id=snapshot_id, **fields)


async def test_it_goes_to_the_store_and_comes_back_on_another_node(memory: MemoryCache, blobs: MemoryBlobs) -> None:
    snapshot_id = await take(memory)
    place = await memory.ensure(ref(snapshot_id))
    content = (place / "image/pages.img").read_bytes()
    stored = await memory.store(snapshot_id)
    assert await memory.store(snapshot_id) == stored and len(blobs.content) == 1
    await memory.verify(ref(snapshot_id, stored))
    await memory.remove(snapshot_id)
    assert not place.exists() and memory.list_() == []
    assert ((await memory.ensure(ref(snapshot_id, stored))) / "image/pages.img").read_bytes() == content
    await memory.ensure(ref(snapshot_id))
    assert blobs.fetches == 2  # one was the verification


async def test_one_that_is_cut_short_is_not_there(memory: MemoryCache, pool: StoragePool) -> None:
    snapshot_id = new_id("sn")
    with contextlib.suppress(OSError):
        async with memory.taking(snapshot_id) as work:
            (work / "half").touch()
            raise OSError("full")
    assert list(pool.memory.iterdir()) == [] and memory.taken(snapshot_id) is None


async def test_a_daemon_that_dies_leaves_whole_ones_alone(memory: MemoryCache, pool: StoragePool) -> None:
    whole = await take(memory)
    (pool.memory / f"{new_id('sn')}.taken").mkdir()
    (pool.memory / f"{new_id('sn')}.partial").mkdir()
    (pool.memory / f"{new_id('sn')}.json").touch()
    (pool.memory / "stranger").mkdir()
    await memory.sweep()
    assert [path.name for path in pool.memory.iterdir()] == [whole]


async def test_damage_after_the_first_use_is_found_at_the_next(memory: MemoryCache) -> None:
    snapshot_id = await take(memory)
    pages = await memory.ensure(ref(snapshot_id)) / "image/pages.img"
    content = bytearray(pages.read_bytes())
    content[77] ^= 1
    pages.write_bytes(content)
    for use in (memory.ensure(ref(snapshot_id)), memory.store(snapshot_id), memory.verify(ref(snapshot_id))):
        with pytest.raises(DataLossError, match=r"pages\.img"):
            await use


async def test_damage_before_the_first_use_is_found(memory: MemoryCache, pool: StoragePool) -> None:
    snapshot_id = await take(memory)
    pages = pool.memory / snapshot_id / "image/pages.img"
    pages.write_bytes(b"\1" + pages.read_bytes()[1:])
    with pytest.raises(DataLossError, match=r"pages\.img"):
        await memory.ensure(ref(snapshot_id))


async def test_what_was_hashed_when_it_was_taken_is_hashed_again_by_the_next_daemon_alone(
    memory: MemoryCache, pool: StoragePool, blobs: MemoryBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[Path] = []
    monkeypatch.setattr("sandboxd.memory.cache.check_files", lambda place, manifest: checked.append(place))
    snapshot_id = await take(memory)
    await memory.ensure(ref(snapshot_id))
    assert checked == []
    await MemoryCache(pool, blobs, on(MACHINE)).ensure(ref(snapshot_id))
    assert checked == [pool.memory / snapshot_id]


async def test_every_damage_in_the_store_is_found(memory: MemoryCache, blobs: MemoryBlobs) -> None:
    snapshot_id = await take(memory)
    stored = await memory.store(snapshot_id)
    whole = blobs.content[stored.digest]
    await memory.remove(snapshot_id)
    for damaged in (whole[:-1], whole + b"x", b"", whole[:50] + bytes([whole[50] ^ 1]) + whole[51:]):
        blobs.content[stored.digest] = damaged
        with pytest.raises((DataLossError, InvalidError)):
            await memory.ensure(ref(snapshot_id, stored))
        with pytest.raises(DataLossError):
            await memory.verify(ref(snapshot_id, stored))
        assert memory.list_() == []
    blobs.content[stored.digest] = whole
    await memory.ensure(ref(snapshot_id, stored))


async def test_a_store_that_breaks_off_leaves_nothing(memory: MemoryCache, blobs: MemoryBlobs, pool: StoragePool) -> None:
    snapshot_id = await take(memory)
    blobs.broken = ConnectionError("cut")
    with pytest.raises(ConnectionError):
        await memory.store(snapshot_id)
    assert [path.name for path in pool.memory.iterdir()] == [snapshot_id]
    blobs.broken = None
    stored = await memory.store(snapshot_id)
    await memory.remove(snapshot_id)
    blobs.broken = ConnectionError("cut")
    with pytest.raises(ConnectionError):
        await memory.ensure(ref(snapshot_id, stored))
    assert list(pool.memory.iterdir()) == []


async def test_another_machine_is_refused(pool: StoragePool, blobs: MemoryBlobs, memory: MemoryCache) -> None:
    snapshot_id = await take(memory)
    other = MemoryCache(pool, blobs, on(msgspec.structs.replace(MACHINE, runsc_version="2", runsc_build=f"2-{'b' * 16}")))
    with pytest.raises(VersionError, match="runsc"):
        await other.ensure(ref(snapshot_id))


async def test_what_is_nowhere_is_not_found(memory: MemoryCache) -> None:
    for use in (memory.ensure(ref(new_id("sn"))), memory.store(new_id("sn")), memory.verify(ref(new_id("sn")))):
        with pytest.raises(NotFoundError):
            await use
    await memory.remove(new_id("sn"))


@pytest.mark.parametrize("snapshot_id", ["", "sn-", "../x", "sn-" + "a" * 21 + "/", "ly-" + "a" * 22])
async def test_ids_become_paths_only_if_they_are_ids(memory: MemoryCache, snapshot_id: str) -> None:
    for use in (memory.ensure(ref(snapshot_id)), memory.store(snapshot_id), memory.verify(ref(snapshot_id)), memory.remove(snapshot_id)):
        with pytest.raises(InvalidError):
            await use
    with pytest.raises(InvalidError):
        memory.taken(snapshot_id)


async def test_many_at_once_fetch_once(memory: MemoryCache, blobs: MemoryBlobs) -> None:
    snapshot_id = await take(memory)
    stored = await memory.store(snapshot_id)
    await memory.remove(snapshot_id)
    places: list[Path] = await asyncio.gather(*(memory.ensure(ref(snapshot_id, stored)) for _ in range(5)))
    assert len(set(places)) == 1 and blobs.fetches == 1


@pytest.fixture
async def pool(tmp_path: Path) -> AsyncIterator[StoragePool]:
    opened = await StoragePool.open(tmp_path / "state", instance=f"cove-t{new_id('xx')[3:11].lower()}", size_bytes=4 * 2**30)
    yield opened
    await opened.close()
