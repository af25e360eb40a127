"""Control groups of this machine (version 1 or 2, whichever it has): counted, killed and removed whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cove.exception import ConflictError, InternalFailure, InvalidError, NotFoundError, ResourceExhaustedError
from cove.types import SandboxId, new_id
from sandboxd import kernel
from sandboxd.cgroup import Cgroups, killer
from sandboxd.cgroup.hierarchy import Hierarchies, find_hierarchies

pytestmark = pytest.mark.needs_root

MIB = 2**20

BURN = """
import time
data = bytearray(64 << 20)
end = time.process_time() + 0.3
while time.process_time() < end:
    pass
time.sleep(60)
"""

HOLD = """
import time
data = bytearray(b"x") * (200 << 20)
time.sleep(60)
"""

BOMB = """
import os, time
end = time.monotonic() + 30
while time.monotonic() < end:
    if os.fork() == 0:
        os.setsid()
        time.sleep(30)
        os._exit(0)
    time.sleep(0.001)
"""


@pytest.fixture(scope="module")
def hierarchies() -> Hierarchies:
    return find_hierarchies(kernel.mounts())


@pytest.fixture
def places(groups: Cgroups, hierarchies: Hierarchies, sandbox_id: SandboxId) -> list[Path]:
    """The sandbox's group in every hierarchy, made as runsc makes them."""
    made = [root / groups.path_for(sandbox_id)[1:] for root in hierarchies.roots]
    for place in made:
        place.mkdir(parents=True)
        for name in ("cpuset.mems", "cpuset.cpus"):
            if hierarchies.version == 1 and (place / name).exists():
                (place.parent / name).write_text((place.parent.parent / name).read_text())
                (place / name).write_text((place.parent / name).read_text())
    return made


def start(places: list[Path], *argv: str) -> subprocess.Popen[bytes]:
    """A program that is in all ``places`` before it begins. The caller reaps it."""
    read, write = os.pipe()
    script = "import os, sys; os.read(int(sys.argv[1]), 1); os.execvp(sys.argv[2], sys.argv[2:])"
    process = subprocess.Popen([sys.executable, "-c", script, str(read), *argv], pass_fds=[read])
    os.close(read)
    for place in places:
        (place / "cgroup.procs").write_text(str(process.pid))
    os.write(write, b"x")
    os.close(write)
    return process


def memory(places: list[Path], hierarchies: Hierarchies) -> Path:
    return next(place for place in places if place.is_relative_to(hierarchies.controllers["memory"]))


def set_limit(place: Path, limit_bytes: int) -> None:
    file = place / "memory.max"
    (file if file.exists() else place / "memory.limit_in_bytes").write_text(str(limit_bytes))


def test_use_is_counted(groups: Cgroups, places: list[Path], sandbox_id: SandboxId) -> None:
    process = start(places, sys.executable, "-c", BURN)
    deadline = time.monotonic() + 15
    while groups.cpu_seconds(sandbox_id) < 0.3 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert groups.pids(sandbox_id) == {process.pid}
    assert 64 * MIB < groups.memory_bytes(sandbox_id) < 256 * MIB
    assert groups.memory_peak_bytes(sandbox_id) >= groups.memory_bytes(sandbox_id)
    assert 0.3 <= groups.cpu_seconds(sandbox_id) < 10
    assert groups.oom_kills(sandbox_id) == 0
    groups.kill(sandbox_id)
    assert process.wait() == -signal.SIGKILL


def test_running_out_of_memory_is_told(groups: Cgroups, places: list[Path], sandbox_id: SandboxId, hierarchies: Hierarchies) -> None:
    set_limit(memory(places, hierarchies), 32 * MIB)
    process = start(places, sys.executable, "-c", "data = bytearray(512 << 20)")
    assert process.wait() == -signal.SIGKILL
    assert groups.oom_kills(sandbox_id) == 1
    assert groups.oom_kills(SandboxId(new_id("sb"))) == 0


def test_a_fork_bomb_dies(groups: Cgroups, places: list[Path], sandbox_id: SandboxId) -> None:
    process = start(places, sys.executable, "-c", BOMB)
    deadline = time.monotonic() + 15
    while len(groups.pids(sandbox_id)) < 50 and time.monotonic() < deadline:
        time.sleep(0.01)
    groups.kill(sandbox_id)
    assert groups.pids(sandbox_id) == frozenset()
    process.wait()
    groups.remove(sandbox_id)
    assert groups.list_() == frozenset()


def test_a_process_in_one_hierarchy_alone_is_found(groups: Cgroups, places: list[Path], sandbox_id: SandboxId) -> None:
    process = start(places[-1:], "sleep", "60")
    assert groups.pids(sandbox_id) == {process.pid}
    groups.kill(sandbox_id)
    assert process.wait() == -signal.SIGKILL


def test_a_process_in_a_group_below_is_found(groups: Cgroups, places: list[Path], sandbox_id: SandboxId, hierarchies: Hierarchies) -> None:
    below = memory(places, hierarchies) / "deep/deeper"
    below.mkdir(parents=True)
    process = start([below], "sleep", "60")
    with pytest.raises(ConflictError):
        groups.remove(sandbox_id)
    groups.kill(sandbox_id)
    process.wait()
    groups.remove(sandbox_id)
    assert not memory(places, hierarchies).exists()


def test_a_frozen_process_dies(groups: Cgroups, places: list[Path], sandbox_id: SandboxId) -> None:
    process = start(places, "sleep", "60")
    for place in places:
        for name, frozen in (("freezer.state", "FROZEN"), ("cgroup.freeze", "1")):
            if (place / name).exists():
                (place / name).write_text(frozen)
    groups.kill(sandbox_id)
    assert process.wait() == -signal.SIGKILL


def test_removing_in_use_is_an_error_and_later_is_not(groups: Cgroups, places: list[Path], sandbox_id: SandboxId) -> None:
    process = start(places, "sleep", "60")
    with pytest.raises(ConflictError, match="in use"):
        groups.remove(sandbox_id)
    assert groups.list_() == {sandbox_id}
    with pytest.raises(ConflictError):
        groups.close()
    groups.kill(sandbox_id)
    process.wait()
    groups.remove(sandbox_id)
    groups.remove(sandbox_id)
    groups.kill(sandbox_id)
    assert groups.list_() == frozenset()


def test_half_made_groups_are_listed_and_removed(groups: Cgroups, hierarchies: Hierarchies, sandbox_id: SandboxId) -> None:
    only = hierarchies.controllers["pids"] / groups.path_for(sandbox_id)[1:]
    only.mkdir()
    assert groups.list_() == {sandbox_id}
    groups.remove(sandbox_id)
    assert not only.exists()


def test_strangers_are_not_listed(groups: Cgroups, hierarchies: Hierarchies, instance: str) -> None:
    stranger = hierarchies.controllers["pids"] / instance / "stranger"
    stranger.mkdir()
    try:
        assert groups.list_() == frozenset()
        with pytest.raises(InvalidError):
            groups.remove(SandboxId("stranger"))
        with pytest.raises(InvalidError):
            groups.kill(SandboxId(".."))
    finally:
        stranger.rmdir()


def test_no_group_is_not_found(groups: Cgroups, sandbox_id: SandboxId) -> None:
    for read in (groups.memory_bytes, groups.memory_peak_bytes, groups.cpu_seconds):
        with pytest.raises(NotFoundError):
            read(sandbox_id)
    assert groups.pids(sandbox_id) == frozenset()


def test_all_sandboxes_together_are_limited(groups: Cgroups, hierarchies: Hierarchies, instance: str) -> None:
    place = hierarchies.controllers["memory"] / instance
    file = place / "memory.max"
    limit_bytes = int((file if file.exists() else place / "memory.limit_in_bytes").read_text())
    machine_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert machine_bytes - 257 * MIB < limit_bytes <= machine_bytes - 256 * MIB
    assert int((hierarchies.controllers["pids"] / instance / "pids.max").read_text()) > 1000


def test_a_restart_keeps_groups_and_updates_limits(
    groups: Cgroups, places: list[Path], sandbox_id: SandboxId, instance: str, hierarchies: Hierarchies
) -> None:
    process = start(places, "sleep", "60")
    again = Cgroups.open(instance=instance, memory_reserve_bytes=512 * MIB, max_tasks=4321)
    assert again.list_() == {sandbox_id}
    assert again.pids(sandbox_id) == {process.pid}
    assert (hierarchies.controllers["pids"] / instance / "pids.max").read_text() == "4321\n"
    again.kill(sandbox_id)
    process.wait()


def test_a_limit_below_what_is_in_use_kills_nobody(
    groups: Cgroups, places: list[Path], sandbox_id: SandboxId, instance: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = start(places, sys.executable, "-c", HOLD)
    deadline = time.monotonic() + 15
    while groups.memory_bytes(sandbox_id) < 200 * MIB and time.monotonic() < deadline:
        time.sleep(0.01)
    monkeypatch.setattr("sandboxd.cgroup.groups._machine_memory_bytes", lambda: 100 * MIB)
    Cgroups.open(instance=instance, memory_reserve_bytes=0)
    assert process.poll() is None
    groups.kill(sandbox_id)
    process.wait()


def test_a_reserve_that_leaves_nothing(instance: str) -> None:
    with pytest.raises(ResourceExhaustedError):
        Cgroups.open(instance=instance, memory_reserve_bytes=2**60)


def test_a_kill_is_bounded_in_time(groups: Cgroups, places: list[Path], sandbox_id: SandboxId, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(killer, "_kill_by_group", lambda groups: None)
    monkeypatch.setattr(killer, "_kill_and_wait", lambda pids, members, wait_s: None)
    process = start(places, "sleep", "60")
    with pytest.raises(InternalFailure, match="did not die"):
        groups.kill(sandbox_id, timeout_s=0.05)
    process.kill()
    process.wait()


def test_kill_from_many_threads(groups: Cgroups, places: list[Path], sandbox_id: SandboxId) -> None:
    processes = [start(places, "sleep", "60") for _ in range(20)]
    threads = [threading.Thread(target=groups.kill, args=[sandbox_id]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [process.wait() for process in processes] == [-signal.SIGKILL] * 20


def test_two_hundred_cycles_leave_nothing(groups: Cgroups, hierarchies: Hierarchies, instance: str) -> None:
    def children() -> list[Path]:
        return [entry for root in hierarchies.roots for entry in (root / instance).glob("*/")]

    before = children()
    for _ in range(200):
        sandbox = SandboxId(new_id("sb"))
        for root in hierarchies.roots:
            (root / groups.path_for(sandbox)[1:]).mkdir(parents=True)
        groups.remove(sandbox)
    assert children() == before
    assert groups.list_() == frozenset()
