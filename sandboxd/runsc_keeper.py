"""What on a node needs which build of runsc, told and looked after: builds that nothing needs are removed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from itertools import chain
from pathlib import Path
from typing import Final, TypeVar

import msgspec
import structlog

from sandboxd.lifecycle import State
from sandboxd.memory import MemoryCache
from sandboxd.memory.layout import MANIFEST
from sandboxd.runsc.builds import Builds
from sandboxd.runsc.by_build import BuildRuntimes
from snapshots.backends.threads import in_thread

log = structlog.get_logger()

T = TypeVar("T")

UNNAMED: Final = "unnamed"
"""Stands for the build of what an older cove made, which did not write it down."""


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """How much goes on with one build alone."""

    sandboxes: int
    snapshots: int

    def __str__(self) -> str:
        return f"{self.sandboxes} sandboxes, {self.snapshots} snapshots"


class RunscKeeper:
    """One per daemon.

    Args:    changed: called when the set of builds is another one than before.
    """

    def __init__(self, builds: Builds, runtimes: BuildRuntimes, memory: MemoryCache, *, changed: Callable[[], None]) -> None:
        self._builds, self._runtimes, self._memory, self._changed = builds, runtimes, memory, changed
        self._idle: frozenset[str] = frozenset()

    @property
    def builds(self) -> frozenset[str]:
        """Those that are here."""
        return self._builds.ids

    async def forget(self, used: Collection[str]) -> None:
        """Remove builds that nothing needed now, nor the last time: a snapshot that is just being fetched shows by then.

        Args:    used: those of sandboxes, running or not, that have not ended. Raises: OSError.
        """
        if len(self._builds.ids) < 2:  # the current one always stays, and this is done often
            return
        needed = {*used, *self._runtimes.in_use, *await in_thread(self._memory.builds)}
        idle = self._builds.ids - needed - {self._builds.current}
        gone = await self._builds.forget(self._builds.ids - (idle & self._idle))
        self._idle = idle
        for build_id in gone:
            self._runtimes.forget(build_id)
            log.info("runsc build removed, nothing needed it", build=build_id)
        if gone:
            self._changed()


def log_change(builds: Builds, needs: Mapping[str, Need]) -> None:
    """Say, after an upgrade of runsc, what goes on with builds that are kept for it, and what cannot go on."""
    if builds.before in ("", builds.current):
        return
    log.warning("runsc build changed", before=builds.before, now=builds.current)
    for build_id, need in needs.items():
        if build_id == builds.current or build_id == UNNAMED:
            continue
        if build_id in builds.ids:
            log.info("runsc build kept", build=build_id, sandboxes=need.sandboxes, snapshots=need.snapshots)
        else:
            log.error("runsc build missing", build=build_id, sandboxes=need.sandboxes, snapshots=need.snapshots)


def find_needs(sandboxes: Path, *memory: Path) -> dict[str, Need]:
    """Who needs which build, as journal and snapshots have it. Blocking. What cannot be read needs none.

    Args:    sandboxes: ``<state>/node/sandboxes``. memory: where memory snapshots may be. None of them need be there.
    Returns: by build id; by :data:`UNNAMED` for what names none.
    """
    living, kept = Counter[str](), Counter[str]()
    for path in sandboxes.glob("sb-*/sandbox.json"):
        if (entry := _read(path, _Entry)) is not None and entry.state != State.STOPPED:
            living[entry.runsc_build or UNNAMED] += 1
    for path in chain.from_iterable(place.glob(f"sn-*/{MANIFEST}") for place in memory):
        if (manifest := _read(path, _Manifest)) is not None:
            kept[manifest.machine.runsc_build or UNNAMED] += 1
    return {build: Need(sandboxes=living[build], snapshots=kept[build]) for build in sorted({*living, *kept})}


class _Entry(msgspec.Struct):
    state: str
    runsc_build: str = ""


class _Machine(msgspec.Struct):
    runsc_build: str = ""


class _Manifest(msgspec.Struct):
    machine: _Machine


def _read(path: Path, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError):
        return None
