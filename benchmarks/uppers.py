"""Restores of sandboxes that have written little and much: the time to the first exec beside raw runsc, which has nothing to take over."""

from __future__ import annotations

import statistics
from typing import Final

from benchmarks.forks import TTL_S, restored_s
from benchmarks.series import MS, Check, Outcome, Series, merged, paired_ratio
from benchmarks.stage import Stage

MIB: Final = (10, 1024, 4096)
QUICK_MIB: Final = (10, 64, 256)
FILL: Final = """
import os, sys
chunk = os.urandom(2**23)
with open("/root/data", "wb") as file:
    for number in range(int(sys.argv[1]) // 8 + 1):
        file.write(number.to_bytes(8, "big") + chunk[8:])
    os.fsync(file.fileno())
"""
"""Blocks that differ and do not shrink."""


def run(stage: Stage) -> Outcome:
    sizes = QUICK_MIB if stage.quick else MIB
    took = {mib: _restored(stage, mib) for mib in sizes}
    medians = {mib: statistics.median(ours) for mib, (_, ours) in took.items()}
    flat = Check(
        name=f"restore to first exec, {sizes[-1]} MiB / {sizes[0]} MiB",
        value=medians[sizes[-1]] / medians[sizes[0]],
        relation="<=",
        aim=1.15,
        unit="x",
    )
    return merged([*(_outcome(mib, raw, ours) for mib, (raw, ours) in took.items()), Outcome([], [flat])])


def _outcome(mib: int, raw: list[float], ours: list[float]) -> Outcome:
    name = f"restore to first exec, upper layer of {mib} MiB"
    return Outcome(
        [Series.of("raw runsc: create, restore, first process", "ms", raw), Series.of(name, "ms", ours)],
        [Check(name=f"{name} / raw", value=paired_ratio(ours, raw), relation="<=", aim=1.15, unit="x")],
    )


def _restored(stage: Stage, mib: int) -> tuple[list[float], list[float]]:
    """Milliseconds, raw and ours in turn."""
    raw, ours = [], []
    with stage.sandbox() as sandbox:
        filling = sandbox.exec("python", "-c", FILL, str(mib))
        if filling.wait():
            raise RuntimeError(filling.stderr.read())
        snapshot = sandbox.snapshot(ttl=TTL_S)
        restored_s(snapshot)
        for _ in stage.times(5):
            raw.append(stage.raw.restore() * MS)
            ours.append(restored_s(snapshot) * MS)
        snapshot.delete()
    return raw, ours
