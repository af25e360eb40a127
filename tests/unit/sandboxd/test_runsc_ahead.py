"""Commands that wait at a FIFO: let go, given up, or left behind by a daemon that died."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandboxd.runsc.ahead import SUFFIX, end_left_behind, started_ahead

COMMAND = """
import os, pathlib, sys, time
arguments = dict(word.lstrip("-").split("=", 1) for word in sys.argv[1:])
busy_until = time.monotonic() + float(arguments.get("comes-up", "0"))
while time.monotonic() < busy_until:
    for opened in [os.open("/dev/null", os.O_RDONLY) for _ in range(100)]:
        os.close(opened)
log = open(arguments["log"], "w")
print("x" * int(arguments.get("says", "0")), file=log, flush=True)
pathlib.Path(arguments["done"]).touch()
print("acted", file=sys.stderr)
time.sleep(float(arguments.get("lasts", "0")))
sys.exit(int(arguments.get("code", "0")))
"""
"""What of runsc matters here: it opens its log first, and then acts."""


def command(fifo: Path, done: Path, **more: object) -> list[str]:
    return [sys.executable, "-c", COMMAND, f"--log={fifo}", f"--done={done}", *(f"--{name}={value}" for name, value in more.items())]


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    return tmp_path / f"verb-sb{SUFFIX}"


@pytest.fixture
def done(tmp_path: Path) -> Path:
    """Is there once the command has acted."""
    return tmp_path / "done"


async def test_it_acts_when_it_is_let_go_and_not_before(fifo: Path, done: Path) -> None:
    async with started_ahead(command(fifo, done, code=3), fifo) as ahead:
        await asyncio.sleep(0.2)
        assert not done.exists()
        finished = await ahead.go(timeout_s=10.0)
        assert (finished.code, finished.stderr, done.exists()) == (3, b"acted\n", True)
    assert not fifo.exists()


async def test_let_go_before_it_is_up(fifo: Path, done: Path) -> None:
    async with started_ahead(command(fifo, done), fifo) as ahead:
        assert (await ahead.go(timeout_s=10.0)).code == 0


async def test_given_up_it_never_acts(fifo: Path, done: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        async with started_ahead(command(fifo, done), fifo):
            await asyncio.sleep(0.2)
            raise ZeroDivisionError
    assert not fifo.exists()
    end_left_behind(fifo.parent)  # reaps nothing of ours: it is gone
    assert not done.exists()


async def test_one_that_hangs_is_killed(fifo: Path, done: Path) -> None:
    with pytest.raises(TimeoutError):
        async with started_ahead(command(fifo, done, lasts=60), fifo) as ahead:
            await ahead.go(timeout_s=0.3)
    assert not fifo.exists()


async def test_what_it_logs_does_not_hold_it_up(fifo: Path, done: Path) -> None:
    async with started_ahead(command(fifo, done, says=500_000), fifo) as ahead:
        await asyncio.sleep(0.1)
        assert (await ahead.go(timeout_s=10.0)).code == 0


async def test_one_that_cannot_be_started_says_so_when_it_is_let_go(fifo: Path) -> None:
    async with started_ahead(["/nowhere/runsc"], fifo) as ahead:
        with pytest.raises(FileNotFoundError):
            await ahead.go(timeout_s=1.0)
    assert not fifo.exists()


@pytest.fixture
def left_behind(fifo: Path, done: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A command whose daemon is gone."""
    os.mkfifo(fifo)
    process = subprocess.Popen(command(fifo, done, lasts=0.3), stderr=subprocess.DEVNULL)
    while b"--done" not in Path(f"/proc/{process.pid}/cmdline").read_bytes():
        pass
    yield process
    process.kill()
    process.wait()


def test_what_was_left_behind_is_ended_and_has_not_acted(left_behind: subprocess.Popen[bytes], fifo: Path, done: Path) -> None:
    end_left_behind(fifo.parent)
    assert left_behind.wait(10) == -9
    assert not fifo.exists() and not done.exists()


def test_those_that_are_still_coming_up_are_ended_too(fifo: Path, done: Path) -> None:
    """Files are opened and closed in there while it is looked at."""
    os.mkfifo(fifo)
    processes = [subprocess.Popen([*command(fifo, done), "--comes-up=60"], stdout=subprocess.DEVNULL) for _ in range(5)]
    try:
        while not all(Path(f"/proc/{process.pid}/fd/3").exists() for process in processes):
            time.sleep(0.01)
        end_left_behind(fifo.parent)
        assert {process.wait(10) for process in processes} == {-9}
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_one_that_went_on_its_way_is_left_to_its_end(left_behind: subprocess.Popen[bytes], fifo: Path, done: Path) -> None:
    with fifo.open("rb"):
        while not done.exists():
            pass
        end_left_behind(fifo.parent)
    assert left_behind.wait(10) == 0
    assert not fifo.exists()


def test_those_of_another_directory_stay(left_behind: subprocess.Popen[bytes], fifo: Path, done: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    os.mkfifo(tmp_path / "other" / fifo.name)
    end_left_behind(tmp_path / "other")
    assert left_behind.poll() is None and fifo.exists()
