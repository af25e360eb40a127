"""Programs run to their end, or are ended."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from sandboxd import programs


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def test_output_and_code_come_back() -> None:
    finished = await programs.capture(["sh", "-c", "echo out; echo err >&2; exit 3"], timeout_s=10)
    assert finished == (3, b"out\n", b"err\n")


async def test_death_by_signal_is_negative() -> None:
    assert (await programs.capture(["sh", "-c", "kill -9 $$"], timeout_s=10)).code == -signal.SIGKILL


async def test_missing_program_says_so() -> None:
    with pytest.raises(FileNotFoundError):
        await programs.capture(["/no/such/program"], timeout_s=10)


async def test_late_program_is_killed() -> None:
    with pytest.raises(TimeoutError):
        await programs.capture(["sleep", "1000"], timeout_s=0.05)


async def test_cancelled_program_is_killed_and_collected() -> None:
    before = set(_children())  # servers of other tests
    running = asyncio.create_task(programs.capture(["sleep", "1000"], timeout_s=100))
    while not (children := set(_children()) - before):  # noqa: ASYNC110  # a child appears without an event
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert all(gone(pid) for pid in children)


def _children() -> list[int]:
    with open(f"/proc/{os.getpid()}/task/{os.getpid()}/children") as file:
        return [int(pid) for pid in file.read().split()]


async def test_huge_output_is_cut_and_blocks_nobody() -> None:
    finished = await programs.capture(["head", "-c", "5000000", "/dev/zero"], timeout_s=10)
    assert finished.code == 0
    assert len(finished.stdout) == programs.MAX_OUTPUT_BYTES
