"""Fifty idle sandboxes: what each costs the host in memory, and how long all took to come up.

PSS (proportional set size) counts a page that several processes share in equal parts, so that the sums of all sandboxes add up.
Source: proc(5), /proc/pid/smaps_rollup.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Final

import cove
from benchmarks.series import Check, Outcome, Series
from benchmarks.stage import Stage

COUNT: Final = 50
AIM_PSS_MB: Final = 45.0


def run(stage: Stage) -> Outcome:
    count = 5 if stage.quick else COUNT
    begin = time.perf_counter()
    with stage.sandboxes(count) as alive:
        took_s = time.perf_counter() - begin
        each = [_pss_bytes(stage, one) / 1e6 for one in alive]
    return Outcome(
        [
            Series.of(f"PSS of each of {count} idle sandboxes", "MB", each),
            Series.of(f"{count} sandboxes, until all answered", "s", [took_s]),
        ],
        [Check(name="PSS of an idle sandbox", value=Series.of("", "MB", each).median, relation="<=", aim=AIM_PSS_MB, unit="MB")],
    )


def _pss_bytes(stage: Stage, sandbox: cove.Sandbox) -> int:
    return sum(map(_pss_of, stage.host_pids(sandbox)))


def _pss_of(pid: int) -> int:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0
