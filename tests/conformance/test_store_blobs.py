"""One suite over every backend: the content-addressed store, its leases and its collections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from cove.exception import ConflictError, DataLossError, InvalidError, NotFoundError, RequestSizeError
from snapshots.backends.protocol import Backend, put_bytes
from snapshots.digest import Digest, digest_of, hex_of
from snapshots.gc import collect
from snapshots.layout import blob_name
from snapshots.lease import SKEW_S, Leases
from snapshots.store import Store
from tests.support.store_places import backend, place

__all__ = ["backend", "place"]

pytestmark = pytest.mark.timeout(120)  # the first test over S3 starts the server

MIB = 1 << 20
EMPTY = digest_of(b"")


class Clock:
    """Seconds that pass when told to."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def store(backend: Backend) -> Store:
    return Store(backend)


async def put(store: Store, data: bytes) -> Digest:
    async with store.prepare(max_bytes=len(data)) as writer:
        await writer.write(data)
        return (await writer.commit()).digest


async def get(store: Store, digest: Digest) -> bytes:
    async with store.view(digest) as view:
        return await view.read(max_bytes=64 * MIB)


async def there(store: Store, digits: str = "") -> set[Digest]:
    async with aclosing(store.walk(digits)) as blobs:
        return {blob.digest async for blob in blobs}


async def objects(store: Store) -> set[str]:
    async with aclosing(store.backend.list_("")) as infos:
        return {info.name async for info in infos}


async def repeated(chunk: bytes, times: int) -> AsyncIterator[bytes]:
    for _ in range(times):
        yield chunk


@pytest.mark.parametrize(
    "sizes",
    [[], [0], [1], [3, 0, 5], [MIB - 1, 1, 1], [10] * 1000, [9 * MIB, 1]],
    ids=lambda sizes: f"{len(sizes)} chunks, {sum(sizes)} bytes",
)
async def test_a_blob_comes_back_under_its_digest(store: Store, sizes: list[int]) -> None:
    chunks = [bytes([number % 256]) * size for number, size in enumerate(sizes)]
    data = b"".join(chunks)
    async with store.prepare(max_bytes=len(data), expect=digest_of(data)) as writer:
        for chunk in chunks:
            await writer.write(chunk)
        blob = await writer.commit()
    assert (blob.digest, blob.size_bytes) == (digest_of(data), len(data))
    assert await store.stat(blob.digest) == blob
    assert await get(store, blob.digest) == data


async def test_a_chunk_may_be_reused_after_it_was_written(store: Store) -> None:
    buffer = bytearray(b"aaaa")
    async with store.prepare(max_bytes=8) as writer:
        await writer.write(buffer)
        buffer[:] = b"bbbb"
        await writer.write(memoryview(buffer))
        buffer[:] = b"cccc"
        assert (await writer.commit()).digest == digest_of(b"aaaabbbb")


async def test_a_wrong_digest_leaves_nothing(store: Store) -> None:
    with pytest.raises(InvalidError, match="not sha256:"):
        await store.put(repeated(b"x", 3), max_bytes=3, expect=EMPTY)
    assert await objects(store) == set()


async def test_a_blob_that_grows_too_large_leaves_nothing(store: Store) -> None:
    async with store.prepare(max_bytes=10) as writer:
        await writer.write(b"x" * 10)
        with pytest.raises(RequestSizeError):
            await writer.write(b"x")
        with pytest.raises(ConflictError):
            await writer.commit()
    assert await objects(store) == set()


async def test_leaving_without_commit_or_in_the_middle_of_an_error_leaves_nothing(store: Store) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * 2 * MIB
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await store.put(broken(), max_bytes=64 * MIB)
    async with store.prepare(max_bytes=10) as writer:
        await writer.write(b"x")
    assert await objects(store) == set()
    assert await store.backend.sweep() == 0


async def test_a_cancelled_put_leaves_all_of_the_blob_or_nothing(store: Store) -> None:
    data = b"x" * 3 * MIB
    for turns in range(0, 40, 3):
        task = asyncio.create_task(put(store, data))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        left = await objects(store)  # S3 may do what it was asked even later
        assert left <= {blob_name(digest_of(data))}
        if left:
            assert await get(store, digest_of(data)) == data
            await store.remove(digest_of(data))
        assert await store.backend.sweep() == 0


async def test_a_writer_is_over_after_commit(store: Store) -> None:
    async with store.prepare(max_bytes=10) as writer:
        await writer.commit()
        with pytest.raises(ConflictError):
            await writer.write(b"x")
        with pytest.raises(ConflictError):
            await writer.commit()
    assert await there(store) == {EMPTY}


async def test_identical_puts_at_the_same_time_are_one_blob(store: Store) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(store.put(repeated(b"x" * 1000, 3), max_bytes=3000)) for _ in range(8)]
    assert {task.result().digest for task in tasks} == {digest_of(b"x" * 3000)} == await there(store)
    assert await objects(store) == {blob_name(digest_of(b"x" * 3000))}


@pytest.mark.parametrize("size_bytes", [1, 10, MIB + 1, 9 * MIB])
@pytest.mark.parametrize("damage", ["flip first", "flip last", "cut", "empty", "longer"])
async def test_damage_is_found_before_the_last_chunk_and_the_blob_can_be_put_again(store: Store, size_bytes: int, damage: str) -> None:
    data = b"\x55" * size_bytes
    digest = await put(store, data)
    damaged = {
        "flip first": b"\x54" + data[1:],
        "flip last": data[:-1] + b"\x54",
        "cut": data[:-1],
        "empty": b"",
        "longer": data + b"\x55",
    }[damage]
    await put_bytes(store.backend, blob_name(digest), damaged)
    got = 0
    async with store.view(digest) as view:
        with pytest.raises(DataLossError):
            async for chunk in view.chunks():
                got += len(chunk)
        assert got < max(len(damaged), 1)
    assert await there(store) == set()
    await put(store, data)
    assert await get(store, digest) == data


async def test_a_damaged_blob_is_healed_by_putting_it_again(store: Store) -> None:
    digest = await put(store, b"data")
    await put_bytes(store.backend, blob_name(digest), b"dada")
    assert await put(store, b"data") == digest
    assert await get(store, digest) == b"data"


async def test_a_blob_that_was_healed_while_damage_was_read_stays(store: Store) -> None:
    digest = await put(store, b"data")
    await put_bytes(store.backend, blob_name(digest), b"dada")
    seen = await store.backend.stat(blob_name(digest))
    await put(store, b"data")
    await store.discard(digest, seen)
    assert await get(store, digest) == b"data"


async def test_parts_can_be_read_but_the_name_says_they_are_unverified(store: Store) -> None:
    digest = await put(store, b"0123456789")
    async with store.view_unverified(digest) as reader:
        assert (reader.info.size_bytes, await reader.read_at(2, 3)) == (10, b"234")


async def test_a_view_does_not_read_more_than_it_was_asked_for(store: Store) -> None:
    digest = await put(store, b"0123456789")
    async with store.view(digest) as view:
        with pytest.raises(RequestSizeError):
            await view.read(max_bytes=9)


async def test_walk_finds_blobs_by_their_first_digits_and_nothing_else(store: Store) -> None:
    digests = {await put(store, bytes([number])) for number in range(20)}
    await put_bytes(store.backend, "blobs/sha256/00/not-a-digest", b"")
    await put_bytes(store.backend, f"blobs/sha256/00/{'f' * 64}", b"")  # in a place that is not its own
    assert await there(store) == digests
    for digits in ("0", "a", "ab", hex_of(min(digests)), hex_of(min(digests))[:7]):
        assert await there(store, digits) == {digest for digest in digests if hex_of(digest).startswith(digits)}
    for digits in ("A", "../", "x", "0" * 65):
        with pytest.raises(InvalidError):
            await there(store, digits)


async def test_what_was_removed_is_not_found(store: Store) -> None:
    digest = await put(store, b"data")
    await store.remove(digest)
    await store.remove(digest)
    assert not await store.has(digest)
    with pytest.raises(NotFoundError):
        await store.stat(digest)
    with pytest.raises(NotFoundError):
        await get(store, digest)


async def test_a_collection_keeps_roots_and_leases_and_removes_the_rest(store: Store) -> None:
    clock = Clock(1e9)
    leases = Leases(store.backend, clock=clock)
    root, leased, ended, garbage = [await put(store, data) for data in (b"root", b"leased!", b"ended", b"garbage")]
    await leases.acquire("a test", [leased], ttl_s=10 * SKEW_S)
    short = await leases.acquire("a test", [ended], ttl_s=1)
    clock.now += SKEW_S + 2

    planned = await collect(store, {root}, leases, grace_s=0, dry_run=True)
    assert await there(store) == {root, leased, ended, garbage}
    report = await collect(store, {root}, leases, grace_s=0)
    assert await there(store) == {root, leased}
    assert (report.kept, report.kept_bytes, report.removed, report.removed_bytes) == (2, 11, 2, 12)
    assert (planned.kept, planned.kept_bytes, planned.removed, planned.removed_bytes) == (2, 11, 2, 12)
    assert (planned.dry_run, report.dry_run) == (True, False)
    assert f"leases/{short.lease_id}" not in await objects(store)


async def test_a_collection_spares_what_is_young(store: Store) -> None:
    await put(store, b"data")
    report = await collect(store, set(), Leases(store.backend), grace_s=60)
    assert (report.kept, report.removed) == (1, 0)


async def test_leases_are_seen_by_all_who_share_the_backend(store: Store) -> None:
    clock = Clock(1e9)
    ours, theirs = Leases(store.backend, clock=clock), Leases(store.backend, clock=clock)
    digests = [digest_of(b"a"), digest_of(b"b")]
    lease = await ours.acquire("us", digests[:1], ttl_s=10)
    async with aclosing(theirs.list_()) as leases:
        assert [other async for other in leases] == [lease]
    clock.now += 9
    lease = await theirs.renew(lease, ttl_s=10, add=digests[1:])
    clock.now += 9
    assert await ours.needed(since=clock.now) == set(digests)
    clock.now += 2
    with pytest.raises(ConflictError):
        await ours.renew(lease, ttl_s=10)
    async with aclosing(ours.list_()) as leases:
        assert [other async for other in leases] == []


async def test_a_released_lease_counts_for_collections_that_had_begun(store: Store) -> None:
    clock = Clock(1e9)
    leases = Leases(store.backend, clock=clock)
    begun_at = clock.now
    clock.now += 10
    async with leases.hold("a test", [EMPTY], ttl_s=3600) as lease:
        clock.now += 10
    clock.now += 2 * SKEW_S
    assert await leases.needed(since=begun_at) == {EMPTY}
    assert await leases.needed(since=clock.now) == set()
    with pytest.raises(ConflictError):
        await leases.renew(lease, ttl_s=10)
    await leases.release(lease)


async def test_users_of_the_same_blobs_never_lose_one_while_all_garbage_is_collected(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snapshots.lease.SKEW_S", 0.0)  # so that what was given back is garbage at once
    leases, blobs = Leases(store.backend), [bytes([number]) * 1000 for number in range(3)]
    done, removed = asyncio.Event(), 0

    async def use(first: int) -> None:
        for number in range(first, first + 8):
            data = blobs[number % len(blobs)]
            async with leases.hold("a test", [digest_of(data)], ttl_s=600):
                if not await store.has(digest_of(data)):
                    await put(store, data)
                assert await get(store, digest_of(data)) == data

    async def collect_all() -> None:
        nonlocal removed
        while not done.is_set():
            removed += (await collect(store, set(), leases, grace_s=0)).removed

    async with asyncio.TaskGroup() as collectors:
        for _ in range(2):
            collectors.create_task(collect_all())
        try:
            async with asyncio.TaskGroup() as users:
                for first in range(4):
                    users.create_task(use(first))
        finally:
            done.set()
    assert removed + (await collect(store, set(), leases, grace_s=0)).removed
    assert await there(store) == set()
