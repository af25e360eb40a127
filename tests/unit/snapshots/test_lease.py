"""Leases and collections where somebody asks for too much, or a record is damaged."""

from __future__ import annotations

import pytest

from cove.exception import ConflictError, DataLossError, InvalidError, NotFoundError
from snapshots.backends.memory import MemoryBackend
from snapshots.backends.protocol import put_bytes
from snapshots.digest import Digest, digest_of
from snapshots.gc import collect
from snapshots.layout import blob_name
from snapshots.lease import MAX_DIGESTS, MAX_TTL_S, SKEW_S, Lease, Leases
from snapshots.store import Store

DIGEST = digest_of(b"data")


class World:
    """A store with one blob that nobody needs, and a clock."""

    def __init__(self) -> None:
        self.now = 1e9
        self.backend = MemoryBackend(clock=self.clock)
        self.store = Store(self.backend)
        self.leases = Leases(self.backend, sweeps=self.store.sweeps, clock=self.clock)
        self.backend.put(blob_name(DIGEST), b"data", if_absent=False)

    def clock(self) -> float:
        return self.now


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize("ttl_s", [0.0, -1.0, MAX_TTL_S + 1, float("nan"), float("inf")])
async def test_a_lease_has_a_sensible_time(world: World, ttl_s: float) -> None:
    with pytest.raises(InvalidError):
        await world.leases.acquire("a test", [DIGEST], ttl_s=ttl_s)
    assert await world.leases.needed(since=0) == set()


async def test_a_lease_has_not_too_many_blobs_however_they_came(world: World) -> None:
    digests = [digest_of(str(number).encode()) for number in range(MAX_DIGESTS + 1)]
    with pytest.raises(InvalidError):
        await world.leases.acquire("a test", digests, ttl_s=10)
    lease = await world.leases.acquire("a test", digests[1:], ttl_s=10)
    with pytest.raises(InvalidError):
        await world.leases.renew(lease, ttl_s=10, add=digests[:1])
    assert await world.leases.needed(since=world.now) == set(digests[1:])
    assert (await world.leases.renew(lease, ttl_s=20, add=digests[1:5])).digests == sorted(digests[1:])


async def test_a_lease_that_was_never_taken_cannot_be_renewed_and_may_be_released(world: World) -> None:
    lease = Lease(lease_id="f" * 32, owner="a test", expires_at=2e9, digests=[DIGEST])
    with pytest.raises(ConflictError):
        await world.leases.renew(lease, ttl_s=10)
    await world.leases.release(lease)
    assert await world.leases.needed(since=0) == set()


async def test_an_owner_is_said_shortly(world: World) -> None:
    with pytest.raises(InvalidError):
        await world.leases.acquire("x" * 201, [DIGEST], ttl_s=10)


@pytest.mark.parametrize("lease_id", ["../blobs/x", "", "A", "a b"])
async def test_an_odd_lease_id_is_refused(world: World, lease_id: str) -> None:
    with pytest.raises(InvalidError):
        await world.leases.release(Lease(lease_id=lease_id, owner="a test", expires_at=2e9, digests=[]))


async def test_a_context_releases_its_lease_when_it_fails(world: World) -> None:
    with pytest.raises(ZeroDivisionError):
        async with world.leases.hold("a test", [DIGEST], ttl_s=MAX_TTL_S):
            raise ZeroDivisionError
    assert await world.leases.needed(since=world.now + SKEW_S + 1) == set()


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"{",
        b"null",
        b'{"lease_id":"a","owner":"b","expires_at":9e9}',
        b'{"lease_id":"a","owner":"b","expires_at":9e9,"digests":["sha256:x"]}',
        b'{"lease_id":"a","owner":"b","expires_at":"9","digests":[]}',
        b" " * (1 << 21),
    ],
    ids=["empty", "cut", "null", "no digests", "no digest", "no time", "huge"],
)
async def test_a_damaged_lease_ends_a_collection_before_it_removes_anything(world: World, record: bytes) -> None:
    await put_bytes(world.backend, "leases/damaged", record)
    world.now += 1e6
    with pytest.raises(DataLossError, match="leases/damaged"):
        await collect(world.store, set(), world.leases, grace_s=0)
    assert await world.store.has(DIGEST)


async def test_a_damaged_announcement_is_told(world: World) -> None:
    await put_bytes(world.backend, "sweeps/damaged", b"{")
    with pytest.raises(DataLossError, match="sweeps/damaged"):
        await world.leases.acquire("a test", [DIGEST], ttl_s=10)


async def test_the_grace_is_counted_from_the_last_put_by_the_backends_clock(world: World) -> None:
    behind = Leases(world.backend, clock=lambda: world.now - 1e6)
    world.now += 100
    await collect(world.store, set(), behind, grace_s=101)
    assert await world.store.has(DIGEST)
    async with world.store.prepare(max_bytes=10) as writer:
        await writer.write(b"data")
        await writer.commit()
    world.now += 99
    await collect(world.store, set(), behind, grace_s=100)
    assert await world.store.has(DIGEST)
    world.now += 1
    await collect(world.store, set(), behind, grace_s=100)
    assert not await world.store.has(DIGEST)


@pytest.mark.parametrize("grace_s", [-1.0, float("nan")])
async def test_a_grace_that_is_none_is_refused(world: World, grace_s: float) -> None:
    with pytest.raises(InvalidError):
        await collect(world.store, set(), world.leases, grace_s=grace_s)
    assert await world.store.has(DIGEST)


async def test_roots_that_are_not_stored_do_no_harm(world: World) -> None:
    report = await collect(world.store, {Digest("sha256:" + "0" * 64), DIGEST}, world.leases, grace_s=0)
    assert (report.kept, report.removed) == (1, 0)
    with pytest.raises(NotFoundError):
        await world.store.stat(digest_of(b"another"))
