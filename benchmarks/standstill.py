"""How long a sandbox stands still, as a process in it feels it: the longest time between two looks at its clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import cove

TICK_MS: Final = 1
"""The process looks so often: gaps are found to that, and to what else the machine is busy with."""

_PROGRAM: Final = f"""
import os, select, sys, time
name, worst, last = os.uname().nodename, 0.0, time.monotonic()
print("ready", flush=True)
while os.uname().nodename == name and not select.select([sys.stdin], [], [], {TICK_MS / 1000})[0]:
    now = time.monotonic()
    worst, last = max(worst, now - last), now
print(worst)
"""
"""Ends when it is told to, and in clones, which have names of their own."""


def felt_s(sandbox: cove.Sandbox, work: Callable[[], object]) -> float:
    """Seconds that ``sandbox`` stood still at most while ``work`` went on."""
    process = sandbox.exec("python", "-c", _PROGRAM)
    lines = iter(process.stdout)
    next(lines)
    work()
    process.stdin.write("\n")
    process.stdin.drain()
    return float(next(lines))
