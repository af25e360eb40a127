"""Stopping all processes of a group at once: none runs, none notices, and none stays stopped."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cove.exception import InternalFailure, NotFoundError
from cove.types import SandboxId, new_id
from sandboxd import kernel
from sandboxd.cgroup import Cgroups, freezer
from sandboxd.cgroup.hierarchy import find_hierarchies
from snapshots.backends.threads import in_thread

COUNT = "import sys\nn = 0\nwhile True:\n    n += 1\n    if n % 1000 == 0: print(n, flush=True)"


@pytest.fixture
def place(groups: Cgroups, sandbox_id: SandboxId) -> Path:
    """The sandbox's group in the hierarchy that can stop it."""
    for root in find_hierarchies(kernel.mounts()).roots:
        made: Path = root / groups.path_for(sandbox_id)[1:]
        made.mkdir(parents=True)
    found = (root / groups.path_for(sandbox_id)[1:] for root in find_hierarchies(kernel.mounts()).roots)
    return next(path for path in found if (path / "freezer.state").exists() or (path / "cgroup.freeze").exists())


@contextlib.contextmanager
def counting(place: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A busy process in the group that writes how far it is."""
    with log.open("wb") as output, subprocess.Popen([sys.executable, "-c", COUNT], stdout=output) as process:
        (place / "cgroup.procs").write_text(str(process.pid))
        try:
            yield process
        finally:
            process.kill()
            freezer.thaw(place)


def wait_growth(log: Path) -> None:
    """Return when more was written."""
    size, deadline = log.stat().st_size, time.monotonic() + 10
    while log.stat().st_size == size:
        assert time.monotonic() < deadline, "it stands still"
        time.sleep(0.001)


@pytest.mark.needs_root
def test_frozen_it_stands_still_and_thawed_it_goes_on(groups: Cgroups, place: Path, sandbox_id: SandboxId, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with counting(place, log) as process:
        wait_growth(log)
        for _ in range(20):
            groups.freeze(sandbox_id)
            size = log.stat().st_size
            time.sleep(0.01)
            assert log.stat().st_size == size
            groups.thaw(sandbox_id)
            groups.thaw(sandbox_id)
            wait_growth(log)
        assert process.poll() is None


@pytest.mark.needs_root
def test_a_frozen_group_can_be_killed(groups: Cgroups, place: Path, sandbox_id: SandboxId, tmp_path: Path) -> None:
    with counting(place, tmp_path / "log") as process:
        groups.freeze(sandbox_id)
        reaper = threading.Thread(target=process.wait)
        reaper.start()
        groups.kill(sandbox_id)
        reaper.join(10)
        assert process.returncode == -9


@pytest.mark.needs_root
def test_no_group(groups: Cgroups) -> None:
    nobody = SandboxId(new_id("sb"))
    with pytest.raises(NotFoundError):
        groups.freeze(nobody)
    groups.thaw(nobody)


def test_one_that_does_not_stop_runs_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of version 2: a directory never says that it is frozen."""
    (tmp_path / "cgroup.freeze").write_text("0")
    (tmp_path / "cgroup.events").write_text("populated 1\nfrozen 0\n")
    monkeypatch.setattr(freezer, "FREEZE_S", 0.01)
    with pytest.raises(InternalFailure) as caught:
        freezer.freeze(tmp_path)
    assert caught.value.retryable
    assert (tmp_path / "cgroup.freeze").read_text() == "0"


async def test_cancelled_while_it_stops_it_is_thawed_in_the_end(tmp_path: Path) -> None:
    """The thread that asks a v1 freezer again and again must be over before it is thawed."""
    state = tmp_path / "freezer.state"
    state.write_text("THAWED")
    stopping = threading.Event()

    def freeze() -> None:
        stopping.set()
        time.sleep(0.05)
        state.write_text("FROZEN")

    async def snapshot() -> None:
        try:
            await in_thread(freeze)
        finally:
            freezer.thaw(tmp_path)

    task = asyncio.create_task(snapshot())
    await asyncio.to_thread(stopping.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert state.read_text() == "THAWED"
