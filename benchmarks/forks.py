"""Memory snapshots: how long a sandbox stands still, restores beside raw runsc and on large upper layers, forks of a live session."""

from __future__ import annotations

import time
from typing import Final

import cove
from benchmarks.series import MS, Check, Outcome, Series, paired_ratio
from benchmarks.stage import Stage, end, timed

FORKS: Final = 20
UPPERS_MIB: Final = (10, 1024)
IDLE: Final = "import sys; data = list(range(100_000)); sys.stdin.read()"


def run(stage: Stage) -> Outcome:
    outcomes = [_stopped(stage), _restored(stage), *(_on_upper(stage, mib) for mib in UPPERS_MIB), _forked(stage)]
    return Outcome([one for outcome in outcomes for one in outcome.series], [one for outcome in outcomes for one in outcome.checks])


def _stopped(stage: Stage) -> Outcome:
    stopped, usable = [], []
    with stage.sandbox() as sandbox:
        sandbox.exec("python", "-c", IDLE)
        for _ in stage.times(10):
            begin = time.perf_counter()
            snapshot = sandbox.snapshot()
            usable.append((time.perf_counter() - begin) * MS)
            stopped.append(snapshot.info().stopped_s * MS)
            snapshot.delete()
    return Outcome(
        [Series.of("memory snapshot of an idle Python, stopped", "ms", stopped), Series.of("the same, usable", "ms", usable)],
        [
            Check(
                name="memory snapshot of an idle Python, stopped",
                value=Series.of("", "ms", stopped).median,
                relation="<=",
                aim=100,
                unit="ms",
            )
        ],
    )


def _restored(stage: Stage) -> Outcome:
    raw, ours = [], []
    with stage.sandbox() as sandbox:
        snapshot = sandbox.snapshot()
        for _ in stage.times(10):
            raw.append(stage.raw.restore())
            ours.append(_restore(snapshot))
        snapshot.delete()
    return Outcome(
        [
            Series.of("raw runsc: create, restore, first process", "ms", [one * MS for one in raw]),
            Series.of("the same by cove", "ms", [one * MS for one in ours]),
        ],
        [Check(name="restore to first exec / raw", value=paired_ratio(ours, raw), relation="<=", aim=1.15, unit="x")],
    )


def _on_upper(stage: Stage, mib: int) -> Outcome:
    size = 10 if stage.quick else mib
    with stage.sandbox() as sandbox:
        sandbox.exec("sh", "-c", f"head -c {size}M /dev/urandom > /root/data").wait()
        snapshot = sandbox.snapshot()
        took = [_restore(snapshot) * MS for _ in stage.times(5)]
        snapshot.delete()
    return Outcome([Series.of(f"restore to first exec, upper layer of {size} MiB", "ms", took)], [])


def _forked(stage: Stage) -> Outcome:
    count = 3 if stage.quick else FORKS
    took = []
    with stage.sandbox() as sandbox:
        sandbox.exec("python", "-c", IDLE)
        sandbox.exec("bash", pty=True)
        for _ in stage.times(3):
            begin = time.perf_counter()
            forks = sandbox.fork(count)
            for one in forks:
                one.exec("true").wait()
            took.append(time.perf_counter() - begin)
            for one in forks:
                end(one)
    return Outcome(
        [Series.of(f"fork of a live Python and bash into {count}, all answered", "s", took)],
        [Check(name=f"fork into {count}", value=Series.of("", "s", took).median, relation="<=", aim=1.5, unit="s")],
    )


def _restore(snapshot: cove.SandboxSnapshot) -> float:
    """Seconds to the end of the first process in a sandbox restored from ``snapshot``."""
    made: list[cove.Sandbox] = []

    def work() -> None:
        made.append(cove.Sandbox.from_snapshot(snapshot))
        made[0].exec("true").wait()

    took_s = timed(work)
    end(made[0])
    return took_s
