"""Puts, leases and roots against a collection, in every order that hypothesis thinks of.

Each task stops before every operation on the backend; a list of choices says whose operation comes next. Nothing else decides the order,
so a failure is found again from its choices.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from contextvars import ContextVar
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cove.exception import NotFoundError
from snapshots import lease
from snapshots.backends.memory import MemoryBackend
from snapshots.backends.protocol import ObjectInfo, Reader, Staged
from snapshots.digest import Chunk, Digest, digest_of
from snapshots.gc import Report, collect
from snapshots.layout import blob_name
from snapshots.lease import SKEW_S, Leases
from snapshots.store import Store
from snapshots.sweeps import LIFE_S, Sweeps

DATA = b"data"
DIGEST = digest_of(DATA)
GRACE_S = 100.0
TURN_S = 0.1

_actor: ContextVar[str] = ContextVar("_actor")


class Turns:
    """Lets one task at a time do one operation."""

    def __init__(self, choices: list[int]) -> None:
        self.now = 1e9
        self._choices = list(choices)
        self._waiting: dict[str, asyncio.Future[None]] = {}

    async def take(self, _seconds: float = 0) -> None:
        """Wait for one's turn; time passes with each. Also serves as the sleep of who polls."""
        self.now += TURN_S
        if actor := _actor.get(""):
            self._waiting[actor] = asyncio.get_running_loop().create_future()
            await self._waiting[actor]

    async def run(self, **actors: Callable[[], Awaitable[None]]) -> None:
        """Run each to its end, in the order of the choices; whoever is first in the alphabet once they are used up."""
        async with asyncio.TaskGroup() as group:
            tasks = {name: group.create_task(self._act(name, actor)) for name, actor in actors.items()}
            while running := sorted(name for name, task in tasks.items() if not task.done()):
                if set(running) <= set(self._waiting):
                    chosen = running[self._choices.pop(0) % len(running)] if self._choices else self._fair(running)
                    self._waiting.pop(chosen).set_result(None)
                await asyncio.sleep(0)

    def _fair(self, running: list[str]) -> str:
        """The one that has waited longest: who polls must not keep others from what it waits for."""
        return next(name for name in self._waiting if name in running)

    async def _act(self, name: str, actor: Callable[[], Awaitable[None]]) -> None:
        _actor.set(name)
        await self.take()
        await actor()


class TurnBackend(MemoryBackend):
    """Every operation waits for its turn, and its effect is at once then."""

    def __init__(self, turns: Turns, clock: Callable[[], float]) -> None:
        super().__init__(clock=clock)
        self._turns = turns

    @asynccontextmanager
    async def stage(self) -> AsyncIterator[Staged]:  # type: ignore[override]  # a wrapped one
        async with super().stage() as staged:
            yield TurnStaged(self._turns, staged)

    @asynccontextmanager
    async def open(self, name: str) -> AsyncIterator[Reader]:  # type: ignore[override]  # the protocol's
        await self._turns.take()
        async with super().open(name) as reader:
            yield reader

    async def stat(self, name: str) -> ObjectInfo:
        await self._turns.take()
        return await super().stat(name)

    async def delete(self, name: str) -> None:
        await self._turns.take()
        await super().delete(name)

    async def list_(self, prefix: str) -> AsyncGenerator[ObjectInfo, None]:
        await self._turns.take()
        async with aclosing(super().list_(prefix)) as infos:
            async for info in infos:
                yield info


class TurnStaged:
    def __init__(self, turns: Turns, staged: Staged) -> None:
        self._turns = turns
        self._staged = staged

    async def write(self, chunk: Chunk) -> None:
        await self._staged.write(chunk)

    async def publish(self, name: str, *, if_absent: bool = False) -> None:
        await self._turns.take()
        await self._staged.publish(name, if_absent=if_absent)


class World:
    """A store with one old blob that nobody needs."""

    def __init__(self, choices: list[int]) -> None:
        self.turns = Turns(choices)
        self.backend = TurnBackend(self.turns, self.clock)
        self.store = Store(self.backend, sweeps=Sweeps(self.backend, clock=self.clock, sleep=self.turns.take))
        self.leases = Leases(self.backend, sweeps=self.store.sweeps, clock=self.clock)
        self.roots: set[Digest] = set()
        self.backend.put(blob_name(DIGEST), DATA, if_absent=False)
        self.turns.now += 2 * GRACE_S

    def clock(self) -> float:
        return self.turns.now

    async def collect(self) -> None:
        async def roots() -> AsyncIterator[Digest]:
            await self.turns.take()
            for root in tuple(self.roots):
                yield root

        await collect(self.store, roots(), self.leases, grace_s=GRACE_S)

    async def put(self) -> None:
        async with self.store.prepare(max_bytes=100) as writer:
            await writer.write(DATA)
            await writer.commit()
        assert await self.store.has(DIGEST)

    async def move_from_lease_to_root(self) -> None:
        """What a build does that finds a layer it needs: if the blob is there under the lease, it stays for good."""
        async with self.leases.hold("a test", {DIGEST}, ttl_s=3600):
            if await self.store.has(DIGEST):
                await self.turns.take()
                self.roots.add(DIGEST)

    def is_there(self) -> bool:
        return any(name == blob_name(DIGEST) for name in self.backend._objects)


async def put_against_collections(world: World) -> None:
    """A blob that was put stays whatever collections do meanwhile."""
    await world.turns.run(a_collector=world.collect, b_user=world.put, c_other=world.collect)
    assert world.is_there()


async def lease_against_collections(world: World) -> None:
    """A blob that was found under a lease stays."""
    with patch.object(lease, "SKEW_S", 0.0):  # which would hide most of what can go wrong
        await world.turns.run(a_collector=world.collect, b_user=world.move_from_lease_to_root, c_other=world.collect)
    assert world.is_there() == bool(world.roots)


async def put_against_discards(world: World) -> None:
    """A blob that was put is there though its damaged predecessor is found and removed at the same time, by two who read it."""
    world.backend.put(blob_name(DIGEST), b"dada", if_absent=False)
    seen = await world.backend.stat(blob_name(DIGEST))

    async def discard() -> None:
        await world.store.discard(DIGEST, seen)

    await world.turns.run(a_collector=discard, b_user=world.put, c_other=discard)
    async with world.store.view(DIGEST) as view:
        assert await view.read(max_bytes=100) == DATA


RACES = pytest.mark.parametrize("race", [put_against_collections, lease_against_collections, put_against_discards])


@RACES
@settings(max_examples=100, deadline=None)
@given(choices=st.lists(st.integers(0, 2), max_size=60))
async def test_in_any_order(race: Callable[[World], Awaitable[None]], choices: list[int]) -> None:
    await race(World(choices))


@RACES
async def test_with_any_two_interruptions(race: Callable[[World], Awaitable[None]]) -> None:
    """Every way in which a collector is interrupted by a user who is interrupted by the collector: most races need no more."""
    for before in range(18):
        for between in range(1, 8):
            for after in range(1, 4):
                await race(World([0] * before + [1] * between + [0] * after))


async def test_without_the_wait_a_put_loses_so_these_tests_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    async def settle_nothing(*_: object) -> None:
        return

    monkeypatch.setattr(Sweeps, "settle", settle_nothing)
    lost = 0
    for delay in range(30):
        world = World([0] * delay + [1] * 40)
        try:
            await world.turns.run(collector=world.collect, put=world.put)
        except* AssertionError:
            lost += 1
        else:
            lost += not world.is_there()
    assert lost


async def test_a_dead_sweeper_holds_nobody_up_for_longer_than_its_record_lives() -> None:
    world = World([])
    announcement = world.store.sweeps.announce({DIGEST})
    await announcement.__aenter__()  # and never leaves: it was killed
    waits = 0

    async def sleep(seconds: float) -> None:
        nonlocal waits
        waits += 1
        world.turns.now += max(seconds, 1.0)

    sweeps = Sweeps(world.backend, clock=world.clock, sleep=sleep)
    await sweeps.settle({digest_of(b"another")})
    assert waits == 0
    begun_at = world.turns.now
    await sweeps.settle({DIGEST})
    assert LIFE_S <= world.turns.now - begun_at <= LIFE_S + 2
    assert [name for name in world.backend._objects if name.startswith("sweeps/")] == []


async def test_a_slow_sweeper_stops_before_puts_stop_waiting() -> None:
    world = World([])
    stat = world.backend.stat

    async def slow_stat(name: str) -> ObjectInfo:
        if name.startswith("blobs/"):
            world.turns.now += LIFE_S / 2
        return await stat(name)

    world.backend.stat = slow_stat  # type: ignore[method-assign]  # a slow network
    with pytest.raises(Exception, match="took too long"):
        await world.collect()
    assert world.is_there()
    assert [name for name in world.backend._objects if name.startswith("sweeps/")] == []


async def test_an_error_of_the_roots_ends_a_collection_before_it_removes_anything() -> None:
    world = World([])

    async def roots() -> AsyncIterator[Digest]:
        yield digest_of(b"")
        raise NotFoundError("the database went away")

    with pytest.raises(NotFoundError):
        await collect(world.store, roots(), world.leases, grace_s=0)
    assert world.is_there()


async def test_a_collection_in_many_batches_removes_all_and_only_garbage() -> None:
    world = World([])
    needed = {digest_of(bytes([number, 0])) for number in range(0, 250, 5)}
    for number in range(250):
        for second in range(4):
            data = bytes([number, second])
            world.backend.put(blob_name(digest_of(data)), data, if_absent=False)
    world.turns.now += 2 * GRACE_S
    report: Report = await collect(world.store, needed, world.leases, grace_s=GRACE_S)
    assert (report.kept, report.removed) == (50, 951)
    assert set(world.backend._objects) == {blob_name(digest) for digest in needed}


async def test_clocks_may_differ_by_the_skew() -> None:
    world = World([])
    await world.leases.acquire("a test", {DIGEST}, ttl_s=10)
    world.turns.now += 10 + SKEW_S - 1  # by the collector's clock
    await world.collect()
    assert world.is_there()
    world.turns.now += 2
    await world.collect()
    assert not world.is_there()
