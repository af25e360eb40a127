"""Waiting for processes by their pidfd."""

from __future__ import annotations

import asyncio

import pytest

from snapshots.children import ended


async def test_several_may_wait_for_one_process() -> None:
    process = await asyncio.create_subprocess_exec("sleep", "0.1")
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(ended(process.pid))
    await process.wait()


async def test_a_process_that_is_none_is_told() -> None:
    process = await asyncio.create_subprocess_exec("true")
    await process.wait()
    with pytest.raises(ProcessLookupError):
        await ended(process.pid)
