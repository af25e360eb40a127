"""``true`` in a running sandbox, beside the guest's own spawn and ``runsc exec``."""

from __future__ import annotations

from typing import Final

from benchmarks.series import MS, Check, Outcome, Series, paired_difference, paired_ratio
from benchmarks.stage import Stage, timed

AIM_ABOVE_SPAWN_MS: Final = 3.0
AIM_OF_RUNSC_EXEC: Final = 0.2


def run(stage: Stage) -> Outcome:
    raw, ours, by_runsc, python = [], [], [], []
    with stage.sandbox() as sandbox:
        for _ in stage.times(100):
            raw.append(stage.raw.spawn("true") * MS)
            ours.append(timed(lambda: sandbox.exec("true").wait()) * MS)
            by_runsc.append(stage.raw.runsc_exec("true") * MS)
        for _ in stage.times(20):
            python.append(timed(lambda: sandbox.exec("python3", "-c", "print(1)").stdout.read()) * MS)
    return Outcome(
        [
            Series.of("spawn by the guest, true", "ms", raw),
            Series.of("Sandbox.exec, true", "ms", ours),
            Series.of("runsc exec, true", "ms", by_runsc),
            Series.of("Sandbox.exec, python3 -c print(1), output read", "ms", python),
        ],
        [
            Check(name="exec - spawn", value=paired_difference(ours, raw), relation="<=", aim=AIM_ABOVE_SPAWN_MS, unit="ms"),
            Check(name="exec / runsc exec", value=paired_ratio(ours, by_runsc), relation="<=", aim=AIM_OF_RUNSC_EXEC, unit="x"),
        ],
    )
