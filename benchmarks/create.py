"""A new sandbox until its first exec has answered, beside ``runsc create``, ``runsc start`` and a first process."""

from __future__ import annotations

from typing import Final

from benchmarks.series import MS, Check, Outcome, Series, paired_ratio
from benchmarks.stage import Stage, end, timed

AIM_RATIO: Final = 1.15


def run(stage: Stage) -> Outcome:
    raw, ours, networked = [], [], []
    for _ in stage.times(20):
        raw.append(stage.raw.create() * MS)
        ours.append(_first_exec(stage, block_network=True) * MS)
        networked.append(_first_exec(stage, block_network=False) * MS)
    return Outcome(
        [
            Series.of("runsc create + start, first process", "ms", raw),
            Series.of("Sandbox.create, first exec", "ms", ours),
            Series.of("Sandbox.create with network, first exec", "ms", networked),
        ],
        [Check(name="create / raw", value=paired_ratio(ours, raw), relation="<=", aim=AIM_RATIO, unit="x")],
    )


def _first_exec(stage: Stage, *, block_network: bool) -> float:
    made = []

    def work() -> None:
        made.append(stage.create(block_network=block_network))
        made[0].exec("true").wait()

    took_s = timed(work)
    end(made[0])
    return took_s
