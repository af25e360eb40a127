"""The group of all sandboxes together: limits that keep them, whatever each may have, from taking the machine down."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

import structlog

from sandboxd.cgroup.hierarchy import NEEDED, Hierarchies

log = structlog.get_logger()

_OPTIONAL: Final = ("cpuset", "io")
"""Controllers that runsc uses where the machine has them."""

_TASKS_SHARE: Final = 0.8
"""Of the machine's process ids and threads: the rest lets an operator log in."""


def default_max_tasks() -> int:
    """Host processes and threads that all sandboxes may have together."""
    limits = (int(Path("/proc/sys/kernel", name).read_text()) for name in ("threads-max", "pid_max"))
    return int(min(limits) * _TASKS_SHARE)


def make_parent(hierarchies: Hierarchies, instance: str, *, memory_bytes: int, max_tasks: int) -> None:
    """Make the group if there is none, and set its limits. Raises: OSError."""
    if hierarchies.version == 2:
        _enable_controllers(hierarchies.roots[0], hierarchies)
    memory = hierarchies.controllers["memory"] / instance
    pids = hierarchies.controllers["pids"] / instance
    for group in (memory, pids):
        group.mkdir(exist_ok=True)
    (pids / "pids.max").write_text(str(max_tasks))
    if hierarchies.version == 2:
        _set_memory(memory / "memory.max", memory / "memory.current", memory_bytes)
        _write_if_there(memory / "memory.swap.max", "0")
        _enable_controllers(memory, hierarchies)
    else:
        _account_for_children(memory)
        _set_memory(memory / "memory.limit_in_bytes", memory / "memory.usage_in_bytes", memory_bytes)
        _write_if_there(memory / "memory.swappiness", "0")  # groups made below inherit it
        if "cpuset" in hierarchies.controllers:
            _share_cores(hierarchies.controllers["cpuset"], instance)


def _share_cores(root: Path, instance: str) -> None:
    """A v1 cpuset starts empty, and nothing can be given to the groups below it before it has cores and memory nodes itself."""
    group = root / instance
    group.mkdir(exist_ok=True)
    for name in ("cpuset.mems", "cpuset.cpus"):
        (group / name).write_text((root / name).read_text())


def _set_memory(file: Path, usage: Path, memory_bytes: int) -> None:
    """Not below what is in use: that would have the kernel kill sandboxes because a setting changed."""
    used_bytes = int(usage.read_text())
    if used_bytes >= memory_bytes:
        log.warning("memory limit of all sandboxes left as it was", used_bytes=used_bytes, limit_bytes=memory_bytes)
        return
    file.write_text(str(memory_bytes))


def _account_for_children(memory: Path) -> None:
    """Old v1 kernels count a group's children into it only if asked, before there are any."""
    flag = memory / "memory.use_hierarchy"
    if flag.exists() and flag.read_text().strip() == "0":
        flag.write_text("1")


def _enable_controllers(group: Path, hierarchies: Hierarchies) -> None:
    """Let the children of ``group`` be limited. One write a controller: one that fails must not take others with it."""
    for name in NEEDED:
        (group / "cgroup.subtree_control").write_text(f"+{name}")
    for name in _OPTIONAL:
        if name in hierarchies.controllers:
            with contextlib.suppress(OSError):
                (group / "cgroup.subtree_control").write_text(f"+{name}")


def _write_if_there(file: Path, text: str) -> None:
    """For files that kernels without swap accounting lack."""
    if file.exists():
        file.write_text(text)
