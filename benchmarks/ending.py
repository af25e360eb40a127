"""``terminate`` until processes are dead, and until everything of the sandbox is freed."""

from __future__ import annotations

from benchmarks.series import MS, Outcome, Series
from benchmarks.stage import Stage, timed


def run(stage: Stage) -> Outcome:
    calls, gone = [], []
    for _ in stage.times(20):
        sandbox = stage.create()
        sandbox.exec("true").wait()
        calls.append(timed(sandbox.terminate) * MS)
        freed_ms = timed(sandbox.wait, raise_on_termination=False) * MS
        gone.append(calls[-1] + freed_ms)
        if stage.host_pids(sandbox):
            raise RuntimeError(f"{sandbox.object_id} has stopped and has processes")
    return Outcome([Series.of("terminate returns", "ms", calls), Series.of("terminate until all is gone", "ms", gone)])
