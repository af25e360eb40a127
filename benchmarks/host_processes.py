"""What processes cost the host, read from /proc. Source: proc(5), /proc/pid/stat and /proc/pid/smaps_rollup."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from pathlib import Path
from typing import Final

_TICKS_S: Final = os.sysconf("SC_CLK_TCK")
_UTIME: Final = 11
"""Of the fields after the name; the next one is the time in the kernel."""


def pss_bytes(pid: int) -> int:
    """Memory of a process, pages that several share counted in equal parts; 0: it is gone."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def cpu_s(pid: int) -> float:
    """Processor time of a process so far; 0: it is gone."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[_UTIME]) + int(fields[_UTIME + 1])) / _TICKS_S
    return 0.0


async def cpu_share(pid: int, wait_s: float) -> float:
    """Share of a core that a process takes in the next ``wait_s``."""
    before, begin = cpu_s(pid), time.perf_counter()
    await asyncio.sleep(wait_s)
    return (cpu_s(pid) - before) / (time.perf_counter() - begin)
