"""Paused sandboxes: how long pausing and waking take, beside the raw commands under them, and what many cost the machine."""

from __future__ import annotations

import time
from typing import Final

from benchmarks.forks import IDLE
from benchmarks.host_processes import pss_bytes
from benchmarks.series import MS, Check, Outcome, Series, merged, paired_ratio
from benchmarks.stage import Stage, ask, timed

MANY: Final = 100


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
    began = time.perf_counter()
    with stage.sandboxes(count) as paused:
        for sandbox in paused:
            sandbox.pause()
        took_s = time.perf_counter() - began
        left = [sum(map(pss_bytes, stage.host_pids(sandbox))) for sandbox in paused]
        woken = sum(ask(sandbox) for sandbox in paused[:: max(1, count // 10)])
    return Outcome(
        [
            Series.of(f"{count} sandboxes made and paused, one after the other", "s", [took_s]),
            Series.of("of them woken afterwards, all that were asked", "", [woken]),
        ],
        [Check(name="memory of a paused sandbox", value=max(left) / 1e6, relation="<=", aim=0, unit="MB")],
    )
