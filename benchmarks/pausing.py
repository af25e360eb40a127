"""Paused sandboxes: how long pausing and waking take, beside the raw commands under them, and what many cost the machine."""

from __future__ import annotations

import time
from typing import Final

import cove
from benchmarks.forks import IDLE
from benchmarks.host_processes import pss_bytes
from benchmarks.series import MS, Check, Outcome, Series, merged, paired_ratio
from benchmarks.stage import Stage, ask, end_all, timed

MANY: Final = 1000


def run(stage: Stage) -> Outcome:
    return merged([_one(stage), _many(stage, 5 if stage.quick else MANY)])


def _one(stage: Stage) -> Outcome:
    pausing, waking, raw = [], [], []
    with stage.sandbox() as sandbox:
        sandbox.exec("python", "-c", IDLE)
        for _ in stage.times(10):
            raw.append(stage.raw.restore() * MS)
            pausing.append(timed(sandbox.pause) * MS)
            waking.append(timed(ask, sandbox) * MS)
    return Outcome(
        [
            Series.of("pause of an idle Python", "ms", pausing),
            Series.of("raw runsc: create, restore, first process", "ms", raw),
            Series.of("exec in a paused sandbox: wake, first process", "ms", waking),
        ],
        [Check(name="exec that wakes / raw", value=paired_ratio(waking, raw), relation="<=", aim=1.15, unit="x")],
    )


def _many(stage: Stage, count: int) -> Outcome:
    """Made and paused one after the other: all of them would not fit into memory."""
    paused: list[cove.Sandbox] = []
    began = time.perf_counter()
    try:
        for _ in range(count):
            paused.append(stage.create())
            ask(paused[-1])
            paused[-1].pause()
        took_s = time.perf_counter() - began
        left = [sum(map(pss_bytes, stage.host_pids(sandbox))) for sandbox in paused]
        some = paused[:: max(1, count // 20)]
        woken = [timed(ask, sandbox) * MS for sandbox in some]
    finally:
        end_all(paused)
    return Outcome(
        [
            Series.of(f"{count} sandboxes made and paused, one after the other", "s", [took_s]),
            Series.of(f"exec in {len(some)} of {count} paused sandboxes, one after the other", "ms", woken),
        ],
        [
            Check(name="paused sandboxes at once", value=len(paused), relation=">=", aim=MANY, unit=""),
            Check(name="memory of a paused sandbox", value=max(left) / 1e6, relation="<=", aim=0, unit="MB"),
        ],
    )
