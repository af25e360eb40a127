"""No process of the host is visible, signalable or traceable from inside."""

from __future__ import annotations

import os
from pathlib import Path

import cove
from tests.security.host import cove_pids
from tests.security.probe import inside
from tests.support.live_cove import LiveCove
from tests.support.live_fixtures import Sandboxes


def visible_processes() -> dict[str, str]:
    """Command lines by pid."""
    import glob

    seen = {}
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        with open(path) as file:
            seen[path.split("/")[2]] = file.read().split("\0")[0]
    return seen


def test_only_the_sandboxs_processes_are_visible(shared: cove.Sandbox) -> None:
    seen = inside(shared, visible_processes)
    assert seen.pop("1") == "/.cove/init"
    assert set(seen.values()) == {"python3"}


def attack(pids: list[int]) -> dict[str, list[int]]:
    """Which of ``pids`` can be signalled, opened, traced or read; those of processes inside are left out."""
    import ctypes
    import os
    import signal

    libc = ctypes.CDLL(None, use_errno=True)
    targets = [pid for pid in pids if not os.path.exists(f"/proc/{pid}")]
    reached: dict[str, list[int]] = {"signalled": [], "opened": [], "traced": [], "read": [], "prioritised": []}
    buffer = ctypes.create_string_buffer(16)

    class Vector(ctypes.Structure):
        _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]  # as ctypes wants it

    here, there = Vector(ctypes.addressof(buffer), 16), Vector(0x400000, 16)
    for pid in targets:
        for number in (0, signal.SIGCONT, signal.SIGKILL):
            try:
                os.kill(pid, number)
                reached["signalled"].append(pid)
            except ProcessLookupError:
                pass
        try:
            os.close(os.pidfd_open(pid))
            reached["opened"].append(pid)
        except OSError:
            pass
        if libc.ptrace(0x4206, pid, None, None) == 0:  # PTRACE_SEIZE
            reached["traced"].append(pid)
        if libc.process_vm_readv(pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0) >= 0:
            reached["read"].append(pid)
        try:
            os.setpriority(os.PRIO_PROCESS, pid, 19)
            reached["prioritised"].append(pid)
        except OSError:
            pass
    return {kind: found for kind, found in reached.items() if found}


def test_host_processes_cannot_be_signalled_or_traced(live: LiveCove, sandboxes: Sandboxes) -> None:
    sandbox = sandboxes.create()
    sandbox.exec("true").wait()
    targets = [*cove_pids(live), os.getpid(), os.getppid(), 2]
    assert len(targets) > 5  # the daemons, at least one sentry and gofer, and this process
    assert inside(sandbox, attack, targets) == {}
    assert set(cove_pids(live)) >= set(targets[:-3])


def test_killing_everything_kills_the_sandboxs_own_processes_alone(live: LiveCove, sandboxes: Sandboxes) -> None:
    sandbox, neighbour = sandboxes.create(), sandboxes.create()
    sleeping, beside = sandbox.exec("sleep", "1000"), neighbour.exec("sleep", "1000")
    sandbox.exec("python3", "-c", "import os; os.kill(-1, 9)").wait()
    assert sleeping.wait() == 137
    assert beside.poll() is None
    assert sandbox.exec("true").wait() == 0, "PID 1 outlives a kill from inside"
    assert Path(f"/proc/{live.pid('sandboxd')}").exists()
