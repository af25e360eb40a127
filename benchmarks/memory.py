"""Idle sandboxes: what each costs the host in memory and in processor time, and how long all took to come up.

PSS (proportional set size) counts a page that several processes share in equal parts, so that the sums of all sandboxes add up.
"""

from __future__ import annotations

import statistics
import time
from typing import Final

import cove
from benchmarks.host_processes import cpu_s, pss_bytes
from benchmarks.series import MS, Check, Outcome, Series
from benchmarks.stage import Stage, ask, timed

COUNT: Final = 300
AIM_PSS_MB: Final = 45.0
AIM_ALIVE: Final = 300
"""Sandboxes that shall live on AIM_NODE_BYTES."""
AIM_NODE_BYTES: Final = 24 * 2**30
RESERVED_MIB: Final = 64
"""What each reserves, so that so many are admitted."""
SETTLE_S: Final = 6.0
"""Until the daemon has seen that nothing runs in any."""
WATCH_S: Final = 10.0


def run(stage: Stage) -> Outcome:
    count = 5 if stage.quick else COUNT
    raw = [100 * stage.raw.idle_cpu(WATCH_S / 2) for _ in stage.times(3)]
    begin = time.perf_counter()
    with stage.sandboxes(count, memory=RESERVED_MIB) as alive:
        took_s = time.perf_counter() - begin
        each = [sum(map(pss_bytes, stage.host_pids(one))) for one in alive]
        time.sleep(SETTLE_S)
        busy = _busy_percent(stage, alive)
        answers = [timed(ask, one) * MS for one in alive[:: max(1, count // 20)]]
    pss = Series.of(f"PSS of each of {count} idle sandboxes", "MB", [one / 1e6 for one in each])
    fit = AIM_NODE_BYTES / (sum(each) / count)
    return Outcome(
        [
            pss,
            Series.of("raw runsc: processor time of an idle container", "% of a core", raw),
            Series.of(f"processor time of each of {count} idle sandboxes", "% of a core", busy),
            Series.of(f"{count} sandboxes made one after the other, until all answered", "s", [took_s]),
            Series.of(f"exec in one of {count} idle sandboxes", "ms", answers),
        ],
        [
            Check(name="PSS of an idle sandbox", value=pss.median, relation="<=", aim=AIM_PSS_MB, unit="MB"),
            Check(name="idle sandboxes in 24 GiB, by PSS", value=fit, relation=">=", aim=AIM_ALIVE, unit=""),
            Check(
                name="processor time of an idle sandbox / raw",
                value=statistics.median(busy) / statistics.median(raw),
                relation="<=",
                aim=0.2,
                unit="x",
            ),
        ],
    )


def _busy_percent(stage: Stage, alive: list[cove.Sandbox]) -> list[float]:
    """Of a core, for each, while all are there."""
    pids = [stage.host_pids(one) for one in alive]
    before, begin = [sum(map(cpu_s, each)) for each in pids], time.perf_counter()
    time.sleep(WATCH_S)
    passed_s = time.perf_counter() - begin
    return [100 * (sum(map(cpu_s, each)) - was) / passed_s for each, was in zip(pids, before, strict=True)]
