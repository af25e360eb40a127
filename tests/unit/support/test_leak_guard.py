"""The guard that looks for what tests leave behind must itself find it and name it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandboxd import kernel
from tests.support import leak_guard
from tests.support.leak_guard import Traces, watch_instance


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leak_guard, "GRACE_S", 0.05)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def test_a_child_that_runs_and_one_that_nobody_waited_for_are_named(tmp_path: Path) -> None:
    before = Traces.take(tmp_path)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert before.left(tmp_path) == [f"child process {process.pid}: {sys.executable} -c input()"]
        process.kill()
        while "zombie" not in (left := before.left(tmp_path))[0]:
            pass
        assert left == [f"child process {process.pid} (a zombie: nobody waited for it)"]
    assert before.left(tmp_path) == []


def test_what_was_there_before_does_not_count(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    assert Traces.take(tmp_path).left(tmp_path) == []


def test_what_goes_in_time_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leak_guard, "GRACE_S", 10)
    before = Traces.take(tmp_path)
    with subprocess.Popen([sys.executable, "-c", "pass"]) as process:
        monkeypatch.setattr("time.sleep", lambda seconds: process.poll())
        assert before.left(tmp_path) == []


@pytest.mark.needs_root
def test_a_mount_is_named_and_one_elsewhere_is_not(tmp_path: Path) -> None:
    place, own = tmp_path / "place", tmp_path / "own"
    place.mkdir()
    own.mkdir()
    before = Traces.take(tmp_path)
    kernel.mount("none", place, "tmpfs")
    try:
        assert before.left(tmp_path) == [f"mount on {place}"]
        assert before.left(own) == []
    finally:
        kernel.umount(place)
    assert before.left(tmp_path) == []


@pytest.mark.needs_root
def test_a_loop_device_is_named(tmp_path: Path) -> None:
    file = tmp_path / "disk"
    file.touch()
    with file.open("r+b") as opened:
        opened.truncate(2**20)
    before = Traces.take(tmp_path)
    device = subprocess.run(["losetup", "--find", "--show", file], capture_output=True, text=True, check=True).stdout.strip()
    try:
        assert before.left(tmp_path) == [f"loop device {Path(device).name} over {file}"]
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)


@pytest.mark.needs_root
def test_a_control_group_of_a_watched_instance_is_named(tmp_path: Path) -> None:
    name = watch_instance(f"cove-tguard{os.getpid()}")
    root = next(entry.path for entry in kernel.mounts() if entry.fstype.startswith("cgroup"))
    before = Traces.take(tmp_path)
    group = root / name
    group.mkdir()
    try:
        assert before.left(tmp_path) == [f"control group {group}"]
    finally:
        group.rmdir()
    assert before.left(tmp_path) == []
