"""Memory snapshots: how long a sandbox stands still, restores and forks of a live session beside as many of raw runsc."""

from __future__ import annotations

import time
from typing import Final

import cove
from benchmarks.series import MS, Check, Outcome, Series, merged, paired_ratio
from benchmarks.stage import Stage, end, timed
from benchmarks.standstill import felt_s

FORKS: Final = (3, 20)
IDLE: Final = "import sys; data = list(range(100_000)); sys.stdin.read()"
LIVE: Final = (("python3", "-c", IDLE), ("bash", "-c", "read line"))
"""What runs in raw memory, as an idle Python and a shell do in the sandbox's."""

TTL_S: Final = 590
"""Snapshots that go so soon are not brought to the store: packing them would be measured, too."""

SETTLE_S: Final = 1.0
"""After which nothing is left to do for the snapshot before."""


def run(stage: Stage) -> Outcome:
    return merged([_stopped(stage), _restored(stage), *(_forked(stage, count) for count in FORKS)])


def _stopped(stage: Stage) -> Outcome:
    stopped, usable, felt = [], [], []
    with stage.sandbox() as sandbox:
        sandbox.exec("python", "-c", IDLE)
        for _ in stage.times(10):
            time.sleep(SETTLE_S)
            begin = time.perf_counter()
            snapshot = sandbox.snapshot(ttl=TTL_S)
            usable.append((time.perf_counter() - begin) * MS)
            stopped.append(snapshot.info().stopped_s * MS)
            felt.append(felt_s(sandbox, lambda: sandbox.snapshot(ttl=TTL_S)) * MS)
            snapshot.delete()
    median = Series.of("", "ms", stopped).median
    return Outcome(
        [
            Series.of("memory snapshot of an idle Python, stopped", "ms", stopped),
            Series.of("the same, as a process inside feels it", "ms", felt),
            Series.of("the same, usable", "ms", usable),
        ],
        [Check(name="memory snapshot of an idle Python, stopped", value=median, relation="<=", aim=100, unit="ms")],
    )


def _restored(stage: Stage) -> Outcome:
    raw, ours = [], []
    with stage.sandbox() as sandbox:
        snapshot = sandbox.snapshot(ttl=TTL_S)
        restored_s(snapshot)  # verifies it, as a daemon does once
        for _ in stage.times(10):
            raw.append(stage.raw.restore())
            ours.append(restored_s(snapshot))
        snapshot.delete()
    return Outcome(
        [
            Series.of("raw runsc: create, restore, first process", "ms", [one * MS for one in raw]),
            Series.of("the same by cove", "ms", [one * MS for one in ours]),
        ],
        [Check(name="restore to first exec / raw", value=paired_ratio(ours, raw), relation="<=", aim=1.15, unit="x")],
    )


def _forked(stage: Stage, count: int) -> Outcome:
    raw, ours, felt = [], [], []
    with stage.sandbox() as sandbox:
        sandbox.exec("python", "-c", IDLE)
        sandbox.exec("bash", pty=True)
        for _ in stage.times(3):
            raw.append(stage.raw.restore(count, beside=LIVE))
            ours.append(_fork_s(sandbox, count))
            felt.append(felt_s(sandbox, lambda: _fork_s(sandbox, 1)) * MS)
    what = f"fork of a live Python and bash into {count}"
    return Outcome(
        [
            Series.of(f"raw runsc: {count} x create, restore, first process, at once", "s", raw),
            Series.of(f"{what}, all answered", "s", ours),
            Series.of(f"{what}: its parent stands still, as felt inside", "ms", felt),
        ],
        [
            Check(name=what, value=Series.of("", "s", ours).median, relation="<=", aim=1.5, unit="s"),
            Check(name=f"{what} / raw", value=paired_ratio(ours, raw), relation="<=", aim=1.3, unit="x"),
            Check(name=f"{what}, parent stopped", value=Series.of("", "ms", felt).median, relation="<=", aim=100, unit="ms"),
        ],
    )


def _fork_s(sandbox: cove.Sandbox, count: int) -> float:
    """Seconds until each of ``count`` forks has answered."""
    begin = time.perf_counter()
    forks = sandbox.fork(count)
    started = [one.exec("true") for one in forks]
    for process in started:
        process.wait()
    took_s = time.perf_counter() - begin
    for one in forks:
        one.terminate()
    for one in forks:
        one.wait(raise_on_termination=False)
    return took_s


def restored_s(snapshot: cove.SandboxSnapshot) -> float:
    """Seconds to the end of the first process in a sandbox restored from ``snapshot``."""
    made: list[cove.Sandbox] = []

    def work() -> None:
        made.append(cove.Sandbox.from_snapshot(snapshot))
        made[0].exec("true").wait()

    took_s = timed(work)
    end(made[0])
    return took_s
