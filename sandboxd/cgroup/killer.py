"""Killing every process of a control group, including those it starts meanwhile."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from sandboxd.cgroup import freezer

_LONGEST_WAIT_S: Final = 0.1
"""Between two looks at a group: a process that appears after the signals went out is found then."""


def read_pids(groups: Iterable[Path]) -> frozenset[int]:
    """All processes in ``groups`` and the groups below them; groups that do not exist have none."""
    pids: set[int] = set()
    for group in groups:
        for directory in tree(group):
            with contextlib.suppress(FileNotFoundError):
                pids.update(int(line) for line in _read_procs(directory))
    return frozenset(pids - {0})  # 0: in a pid namespace that we cannot see into


def tree(group: Path) -> Sequence[Path]:
    """``group`` and all groups below it, the deepest first; empty if there is no such group."""
    return [Path(path) for path, _, _ in os.walk(group, topdown=False)]


def kill_all(groups: Sequence[Path], timeout_s: float) -> bool:
    """SIGKILL until no process is left. Blocks; returns whether all died in time."""
    deadline = time.monotonic() + timeout_s
    while pids := read_pids(groups):
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            return False
        _kill_by_group(groups)
        _kill_and_wait(pids, lambda: read_pids(groups), min(left_s, _LONGEST_WAIT_S))
        for group in groups:  # a frozen process of a v1 freezer dies only when it thaws
            freezer.thaw(group)
    return True


def _kill_by_group(groups: Iterable[Path]) -> None:
    """At one stroke where the kernel can: v2 from 5.14 on. A group that went meanwhile has nobody to kill."""
    for group in groups:
        if (group / "cgroup.kill").exists():
            with contextlib.suppress(OSError):
                (group / "cgroup.kill").write_text("1")


def _kill_and_wait(pids: Iterable[int], members: Callable[[], frozenset[int]], wait_s: float) -> None:
    """Signal those of ``pids`` that still are members once we hold them, so that a reused number meets no stranger; await their ends."""
    with contextlib.ExitStack() as stack:
        held: dict[int, int] = {}
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                held[pid] = os.pidfd_open(pid)
                stack.callback(os.close, held[pid])
        poll = select.poll()
        waiting = held.keys() & members()
        for pid in waiting:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(held[pid], signal.SIGKILL)
            poll.register(held[pid], select.POLLIN)
        _await_all(poll, len(waiting), wait_s)


def _await_all(poll: select.poll, count: int, wait_s: float) -> None:
    deadline = time.monotonic() + wait_s
    while count > 0 and (left_s := deadline - time.monotonic()) > 0:
        for fd, _ in poll.poll(left_s * 1000):
            poll.unregister(fd)
            count -= 1


def _read_procs(group: Path) -> list[str]:
    try:
        return (group / "cgroup.procs").read_text().split()
    except OSError as error:
        if error.errno == errno.ENODEV:  # removed while we held the file open
            return []
        raise
