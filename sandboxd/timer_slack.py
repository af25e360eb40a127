"""How late a sandbox's timers may be. Whatever is in a sandbox, its sentry looks around a thousand times a second, which is 4 % of a core.

Looking around is a timer of the kernel's. While nothing in the sandbox runs, the sentry's timers may be late, and it looks around twenty
times a second; once something does, they are as exact as everybody's. Newer sentries stop looking around by themselves.

Source: proc_pid_timerslack_ns(5); Documentation/scheduler/sched-stats.rst, /proc/pid/schedstat; google/gvisor pull request 13470.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Final

import msgspec

from cove.types import SandboxId
from snapshots.backends.threads import in_thread

EXACT_S: Final = 0.000_05
"""What the kernel gives to every thread."""

LATE_S: Final = 0.05
"""What a sentry's threads get while nothing in the sandbox runs."""

MAX_STIRRED: Final = 8
"""Sandboxes whose timers become exact between two looks because something is about to run there."""

MAX_PROCESSES: Final = 64
"""A sandbox with more counts as one in which something runs: looking at all of them costs more than it gains."""


class Placed(msgspec.Struct, frozen=True):
    """Where a sandbox's processes are on the host."""

    sentry: int
    processes: Collection[int]


class TimerSlack:
    """One instance per node.

    Args:
        place: finds a sandbox's processes. Raises: OSError: there are none.
    """

    def __init__(self, place: Callable[[SandboxId], Placed], proc: Path = Path("/proc")) -> None:
        self._place, self._proc = place, proc
        self._ran: Mapping[SandboxId, int] = {}
        """What each had run at the last look, in nanoseconds."""
        self._busy: set[SandboxId] = set()
        """Those that had run something between the last two looks."""
        self._late: dict[SandboxId, int] = {}
        """Sentries whose timers may be late now."""
        self._stirred: set[SandboxId] = set()
        """Those that were stirred since the last look began."""

    async def look(self, running: Collection[SandboxId]) -> None:
        """Let timers of sandboxes be late in which nothing has run since the last look, and exact where something keeps running.

        What ran once, for a moment, changes nothing. 0.1 ms for each.
        """
        stirred, self._stirred = self._stirred, set()
        before, self._ran = self._ran, await in_thread(self._running_times, running)
        busy_before, self._busy = self._busy, {one for one, ran in self._ran.items() if before.get(one, ran) != ran}
        for sandbox_id in self._ran:
            if sandbox_id not in before:
                self._make_known(sandbox_id)
            if sandbox_id in stirred | self._stirred or sandbox_id in self._busy & busy_before:
                self._make_exact(sandbox_id)
            elif sandbox_id in before and sandbox_id not in self._busy:
                self.rest(sandbox_id)
        self._late = {one: sentry for one, sentry in self._late.items() if (self._proc / str(sentry)).exists()}

    def stir(self, sandbox_id: SandboxId) -> None:
        """Something is about to run in there: its timers are exact from now on, unless those of many others have just become so.

        A sentry with exact timers answers some 30 ms sooner. A hundred of them leave no processor to answer with: what lasts is found
        by :meth:`look`.
        """
        if len(self._stirred) < MAX_STIRRED:
            self._stirred.add(sandbox_id)
            self._make_exact(sandbox_id)

    def rest(self, sandbox_id: SandboxId) -> None:
        """Nothing runs in there: its timers may be late from now on."""
        if sandbox_id not in self._late:
            with contextlib.suppress(OSError):  # it has ended
                sentry = self._place(sandbox_id).sentry
                self._late[sandbox_id] = sentry
                self._set(sentry, LATE_S)

    def _make_exact(self, sandbox_id: SandboxId) -> None:
        if (sentry := self._late.pop(sandbox_id, None)) is not None:
            with contextlib.suppress(OSError):
                self._set(sentry, EXACT_S)

    def _make_known(self, sandbox_id: SandboxId) -> None:
        """Of one that is new here: an earlier daemon may have let its timers be late."""
        if sandbox_id not in self._late:
            with contextlib.suppress(OSError):
                self._set(self._place(sandbox_id).sentry, EXACT_S)

    def _set(self, sentry: int, slack_s: float) -> None:
        """Threads that come later have that of the one that makes them."""
        done: set[str] = set()
        while more := {thread.name for thread in (self._proc / str(sentry) / "task").iterdir()} - done:
            for thread in more:
                with contextlib.suppress(OSError):  # it has ended
                    (self._proc / thread / "timerslack_ns").write_text(str(round(slack_s * 1e9)))
            done |= more

    def _running_times(self, sandbox_ids: Collection[SandboxId]) -> dict[SandboxId, int]:
        times: dict[SandboxId, int] = {}
        for sandbox_id in sandbox_ids:
            with contextlib.suppress(OSError):
                placed = self._place(sandbox_id)
                programs = [process for process in placed.processes if process != placed.sentry]
                is_crowd = len(programs) > MAX_PROCESSES
                times[sandbox_id] = time.monotonic_ns() if is_crowd else sum(map(self._running_time, programs))
        return times

    def _running_time(self, process: int) -> int:
        """Nanoseconds that the threads of a process have run; less, and so not the same, after one of them has ended."""
        threads = (self._proc / str(process) / "task").iterdir()
        return sum(int((thread / "schedstat").read_bytes().split()[0]) for thread in threads)
