"""What a sandbox's control group counted: one small reader for each version of control groups.

Each function gets the group's directory in the hierarchy of the controller in question. Raises: FileNotFoundError: there is no such group.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Usage(Protocol):
    """Readings of one group. ``group``: its directory, by controller."""

    def oom_kills(self, group: Path) -> int:
        """Processes the kernel killed for want of memory (controller memory)."""
        ...

    def memory_bytes(self, group: Path) -> int:
        """Memory charged, less file cache that is free to go: what Kubernetes calls the working set (controller memory)."""
        ...

    def memory_peak_bytes(self, group: Path) -> int:
        """The most memory ever charged, file cache included (controller memory)."""
        ...

    def cpu_seconds(self, group: Path) -> float:
        """CPU time used (controller cpuacct in v1, cpu in v2)."""
        ...


class UsageV1:
    """Source: Linux admin guide, cgroup-v1/memory.rst, cpuacct.rst."""

    def oom_kills(self, group: Path) -> int:
        return _field(group / "memory.oom_control", "oom_kill")

    def memory_bytes(self, group: Path) -> int:
        return max(0, _number(group / "memory.usage_in_bytes") - _field(group / "memory.stat", "total_inactive_file"))

    def memory_peak_bytes(self, group: Path) -> int:
        return _number(group / "memory.max_usage_in_bytes")

    def cpu_seconds(self, group: Path) -> float:
        return _number(group / "cpuacct.usage") / 1e9


class UsageV2:
    """Source: Linux admin guide, cgroup-v2.rst."""

    def oom_kills(self, group: Path) -> int:
        return _field(group / "memory.events", "oom_kill")

    def memory_bytes(self, group: Path) -> int:
        return max(0, _number(group / "memory.current") - _field(group / "memory.stat", "inactive_file"))

    def memory_peak_bytes(self, group: Path) -> int:
        """``memory.peak`` came with kernel 5.19; what is charged now is the best answer before that."""
        peak = group / "memory.peak"
        return _number(peak if peak.exists() else group / "memory.current")

    def cpu_seconds(self, group: Path) -> float:
        return _field(group / "cpu.stat", "usage_usec") / 1e6


def _number(file: Path) -> int:
    return int(file.read_text())


def _field(file: Path, name: str) -> int:
    """A field of a file of ``name number`` lines; 0 if the kernel does not count it."""
    for line in file.read_text().splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return 0
