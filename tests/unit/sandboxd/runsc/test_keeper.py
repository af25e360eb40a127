"""Builds go when nothing needs them, and not before; who needs which is read from what daemons write."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import msgspec
import pytest

from sandboxd.memory import MemoryCache
from sandboxd.runsc.builds import Builds
from sandboxd.runsc.by_build import BuildRuntimes
from sandboxd.runsc_keeper import UNNAMED, Need, RunscKeeper, find_needs

CURRENT, OLD, OLDER = (f"r{number}-{str(number) * 16}" for number in (3, 2, 1))


class FakeBuilds:
    def __init__(self) -> None:
        self.ids, self.current = frozenset((CURRENT, OLD, OLDER)), CURRENT

    async def forget(self, needed: frozenset[str]) -> list[str]:
        gone = self.ids - needed - {self.current}
        self.ids -= gone
        return sorted(gone)


class World:
    """What runtimes and snapshots need."""

    def __init__(self) -> None:
        self.in_use: set[str] = set()
        self.kept: set[str] = set()
        self.forgotten: list[str] = []
        self.told = 0
        self.store = FakeBuilds()
        self.keeper = RunscKeeper(cast(Builds, self.store), cast(BuildRuntimes, self), cast(MemoryCache, self), changed=self._changed)

    def builds(self) -> frozenset[str]:
        return frozenset(self.kept)

    def forget(self, build_id: str) -> None:
        self.forgotten.append(build_id)

    def _changed(self) -> None:
        self.told += 1


@pytest.fixture
def world() -> World:
    return World()


async def test_what_nothing_needs_twice_goes(world: World) -> None:
    await world.keeper.forget(())
    assert len(world.keeper.builds) == 3 and not world.forgotten
    await world.keeper.forget(())
    assert world.keeper.builds == {CURRENT} and sorted(world.forgotten) == [OLDER, OLD] and world.told == 1
    await world.keeper.forget(())
    assert world.told == 1


async def test_whoever_needs_one_keeps_it(world: World) -> None:
    for _ in range(3):
        world.in_use, world.kept = {OLD}, {OLDER}
        await world.keeper.forget(())
        world.in_use, world.kept = set(), set()
        await world.keeper.forget({OLD, OLDER})
    assert len(world.keeper.builds) == 3


async def test_one_that_is_needed_in_between_begins_anew(world: World) -> None:
    await world.keeper.forget({OLDER})
    await world.keeper.forget({OLDER, OLD})  # a snapshot was just being fetched
    await world.keeper.forget({OLDER})
    assert OLD in world.keeper.builds
    await world.keeper.forget({OLDER})
    assert world.keeper.builds == {CURRENT, OLDER}


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(msgspec.json.encode(content))


def test_needs_are_what_is_written_down(tmp_path: Path) -> None:
    sandboxes, memory = tmp_path / "sandboxes", tmp_path / "memory"
    assert find_needs(sandboxes, memory) == {}
    for number, entry in enumerate(
        (
            {"state": "running", "runsc_build": OLD},
            {"state": "pending"},
            {"state": "stopped", "runsc_build": OLDER},
            {"state": "running", "runsc_build": CURRENT, "more": 1},
            {"state": 7},
            [],
        )
    ):
        write(sandboxes / f"sb-{number}" / "sandbox.json", entry)
    for number, machine in enumerate(({"runsc_build": OLD}, {"runsc_version": "r1"}, {"runsc_build": OLD}, 7)):
        write(memory / f"sn-{number}" / "manifest.json", {"machine": machine})
    write(memory / "sn-9.taken" / "other", {})
    assert find_needs(sandboxes, memory) == {
        OLD: Need(sandboxes=1, snapshots=2),
        CURRENT: Need(sandboxes=1, snapshots=0),
        UNNAMED: Need(sandboxes=1, snapshots=1),
    }
