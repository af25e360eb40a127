"""The spares of this node: claimed by creates, refilled when there is time, given up when there is no room.

A sandbox is made here, be there a spare for it or not: :meth:`WarmPool.make` stands in the place of ``Assembly.make``.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Iterator
from typing import Final

import msgspec
import structlog

from cove.exception import Error
from cove.types import SandboxId
from sandboxd.assembly import Assembly, Made
from sandboxd.channel.streams import StreamCut
from sandboxd.journal import Entry
from sandboxd.runtime import Runtime
from sandboxd.warm.demand import Demand
from sandboxd.warm.leaving import Leaving
from sandboxd.warm.plan import plan
from sandboxd.warm.spare import Model, Spare, boot, shape_of, wake

log = structlog.get_logger()

FAILURES: Final = (Error, OSError, StreamCut)
"""What a container that could not be made, or woken, raises."""

TICK_S: Final = 5.0
"""Between two looks at what is wanted while nothing happens."""

QUIET_S: Final = 0.1
"""Without a create, before a spare is made: whoever just created a sandbox has something to run in it."""

LONGEST_WAIT_S: Final = 1.0
"""For such a moment: on a node that is never quiet spares are worth the most."""

RETRY_S: Final = 10.0
"""After a spare could not be made, whoever creates what meanwhile."""

LONGEST_IDLE_S: Final = 3600.0
"""A spare that waited for so long is replaced: a router may have given its id to a sandbox that went elsewhere."""


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """What the node's sandboxes leave."""

    memory_bytes: int
    sandboxes: int


class Figures(msgspec.Struct):
    """What happened since the daemon began."""

    warm: int = 0
    """Sandboxes that were a spare."""
    cold: int = 0
    """Sandboxes that were booted, builds and restores included."""


class WarmPool:
    """Spares by id.

    Args:
        memory_bytes: what they may take together; 0: there are none.
        each_bytes: what one takes.
    """

    def __init__(self, assembly: Assembly, runtime: Runtime, *, memory_bytes: int, each_bytes: int) -> None:
        self.figures = Figures()
        self.version = 0
        """Grows with every change of what :meth:`waiting` and ``figures`` say."""
        self._assembly, self._runtime = assembly, runtime
        self._memory_bytes, self._each_bytes = memory_bytes, each_bytes
        self._demand = Demand()
        self._models: dict[str, Model] = {}
        self._spares: dict[SandboxId, Spare] = {}
        self._watches: dict[SandboxId, asyncio.Task[None]] = {}
        self._making: SandboxId | None = None
        self._leaving = Leaving(assembly, self._note_change)
        self._group: asyncio.TaskGroup | None = None
        self._closed = False
        self._creates = 0
        """That are under way."""
        self._busy_at = 0.0
        self._retry_at = 0.0
        self._due = asyncio.Event()
        self._changed = asyncio.Event()
        self._tell: Callable[[], None] = lambda: None

    def when_changed(self, tell: Callable[[], None]) -> None:
        """Have ``tell`` called whenever ``version`` has grown."""
        self._tell = tell

    def waiting(self) -> dict[SandboxId, str]:
        """The shape of each spare, by id."""
        return {spare.sandbox_id: spare.shape for spare in self._spares.values()}

    def held(self) -> frozenset[SandboxId]:
        """Every id that is the pool's: what waits, what is being made, what is being freed."""
        return frozenset({*self._spares, *self._leaving.ids(), *([self._making] if self._making else [])})

    # --- for sandboxes -----------------------------------------------------------------------------------------------------------------

    async def make(self, entry: Entry) -> Made:
        """As ``Assembly.make``, or in a few milliseconds: the spare that has the entry's id. It gives its guest's marker to ``entry``."""
        with self._creating():
            made = await self._claim(entry)
            if made is not None:
                self._count(warm=1)
                return made
            self._count(cold=1)
            return await self._assembly.make(entry)

    async def release_layer(self, layer_id: str) -> None:
        """Give up every spare that stands on a layer; none does when this returns."""
        for spare in list(self._spares.values()):
            if spare.model.stands_on(layer_id):
                self._give_up(spare, "its layer goes")
        self._models = {shape: model for shape, model in self._models.items() if not model.stands_on(layer_id)}
        await self._leaving.gone()

    @contextlib.contextmanager
    def _creating(self) -> Iterator[None]:
        self._creates += 1
        try:
            yield
        finally:
            self._creates -= 1
            self._busy_at = time.monotonic()
            self._due.set()

    async def _claim(self, entry: Entry) -> Made | None:
        """The spare of the entry's id if there is one that fits and lives; nothing is left of it otherwise."""
        shape = self._note(entry)
        spare = self._spares.get(entry.sandbox_id)
        if spare is not None and spare.shape == shape:
            self._take(spare)
            begin = time.monotonic()
            try:
                made = await wake(self._assembly, self._runtime, spare, entry)
                log.info("spare claimed", sandbox=spare.sandbox_id, took_s=round(time.monotonic() - begin, 4))
                return made
            except FAILURES as error:
                log.warning("spare not woken", sandbox=spare.sandbox_id, error=str(error) or type(error).__name__)
                self._leave(spare.sandbox_id, "it did not wake")
        elif spare is not None:
            self._give_up(spare, "another shape was asked for")
        await self._leaving.gone(entry.sandbox_id)
        return None

    def _note(self, entry: Entry) -> str:
        """Count a create as demand. Returns: its shape."""
        if (shape := shape_of(entry)) and self._memory_bytes:
            self._demand.note(shape, time.monotonic())
            self._models[shape] = Model.of(entry)
        return shape

    # --- life --------------------------------------------------------------------------------------------------------------------------

    def begin(self, group: asyncio.TaskGroup, room: Callable[[], Room]) -> None:
        """Keep what :func:`plan` wants, in tasks of ``group``, to its end."""
        self._group = group
        if self._memory_bytes:
            self._spawn(self._fill(room), "warm pool")

    def clear_away(self, orphans: Collection[SandboxId]) -> None:
        """Free containers of which nobody knows; creates under their ids wait for that."""
        for sandbox_id in orphans:
            self._leave(sandbox_id, "nobody owns it")

    async def cleared(self) -> None:
        """Return when nothing is being freed."""
        await self._leaving.gone()

    async def _fill(self, room: Callable[[], Room]) -> None:
        while True:
            self._due.clear()
            try:
                is_done = await self._fill_one(self._targets(room()))
            except FAILURES as error:
                log.warning("spare not made", error=str(error) or type(error).__name__)
                self._retry_at, is_done = time.monotonic() + RETRY_S, True
            if is_done:
                await self._wait_due(TICK_S)

    async def _fill_one(self, targets: dict[str, int]) -> bool:
        """Give up what is too much, and make one of what lacks the most. Returns: whether there is nothing to do for now."""
        self._yield_to(targets)
        if (shape := self._missing(targets)) is None or time.monotonic() < self._retry_at:
            return True
        if await self._wait_quiet():  # else there were creates meanwhile: what is missing may be another by now
            await self._refill(self._models[shape])
        return False

    async def close(self) -> None:
        """Free every spare and make no more."""
        self._closed = True
        self._due.set()
        while self.held():
            await self.wait_change()

    async def wait_change(self) -> None:
        """Return when ``version`` grows."""
        await self._changed.wait()

    def _targets(self, room: Room) -> dict[str, int]:
        if self._closed:
            return {}
        wanted = {shape: want for shape, want in self._demand.wanted(time.monotonic()).items() if shape in self._models}
        self._models = {shape: model for shape, model in self._models.items() if shape in wanted}
        memory_bytes = min(self._memory_bytes, room.memory_bytes)
        return plan(wanted, memory_bytes=memory_bytes, each_bytes=self._each_bytes, most=room.sandboxes)

    def _yield_to(self, targets: dict[str, int]) -> None:
        """Give up what is too much or too old, the oldest first."""
        have = Counter(self.waiting().values())
        oldest = time.monotonic() - LONGEST_IDLE_S
        for spare in list(self._spares.values()):
            if have[spare.shape] > targets.get(spare.shape, 0) or spare.since < oldest:
                have[spare.shape] -= 1
                self._give_up(spare, "not wanted any more")

    def _missing(self, targets: dict[str, int]) -> str | None:
        """The shape that lacks the most."""
        have = Counter(self.waiting().values())
        lacking = {shape: count - have[shape] for shape, count in targets.items() if have[shape] < count}
        return max(lacking, key=lambda shape: lacking[shape]) if lacking else None

    async def _refill(self, model: Model) -> None:
        """Make one spare. Raises: as :func:`boot`; nothing of it stays."""
        entry = model.entry()
        self._making = entry.sandbox_id
        try:
            spare = await boot(self._assembly, model, entry)
        except FAILURES:
            self._leave(entry.sandbox_id, "it was not made")
            raise
        finally:
            self._making = None
        self._spares[spare.sandbox_id] = spare
        self._watches[spare.sandbox_id] = self._spawn(self._watch(spare), f"spare {spare.sandbox_id}")
        self._note_change()

    async def _watch(self, spare: Spare) -> None:
        """Give a spare up whose sentry dies."""
        await self._runtime.died(spare.sandbox_id)
        if spare.sandbox_id in self._spares:
            del self._watches[spare.sandbox_id]  # this task ends by itself
            self._give_up(spare, "its sentry died")
            self._due.set()

    def _take(self, spare: Spare) -> None:
        del self._spares[spare.sandbox_id]
        if (watch := self._watches.pop(spare.sandbox_id, None)) is not None:
            watch.cancel()
        self._note_change()

    def _give_up(self, spare: Spare, why: str) -> None:
        self._take(spare)
        spare.made.fifos.close()
        self._leave(spare.sandbox_id, why)

    def _leave(self, sandbox_id: SandboxId, why: str) -> None:
        assert self._group is not None, "begin() comes first"
        self._leaving.begin(self._group, sandbox_id, why)

    def _spawn(self, work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
        assert self._group is not None, "begin() comes first"
        return self._group.create_task(work, name=name)

    def _count(self, *, warm: int = 0, cold: int = 0) -> None:
        self.figures.warm += warm
        self.figures.cold += cold
        self._note_change()

    def _note_change(self) -> None:
        self.version += 1
        self._changed.set()
        self._changed = asyncio.Event()
        self._tell()

    # --- time --------------------------------------------------------------------------------------------------------------------------

    async def _wait_due(self, most_s: float) -> None:
        """Return when something happened that may change what is wanted."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(most_s):
                await self._due.wait()

    async def _wait_quiet(self) -> bool:
        """Return when users have what they asked for, or have been busy for so long that it cannot wait. Returns: whether nobody came."""
        begin = time.monotonic()
        quiet = True
        while (now := time.monotonic()) < begin + LONGEST_WAIT_S and (self._creates or now < self._busy_at + QUIET_S):
            quiet = False
            await asyncio.sleep(QUIET_S / 2)
        return quiet or time.monotonic() >= begin + LONGEST_WAIT_S
