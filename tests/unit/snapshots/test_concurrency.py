"""Some at a time; the first error ends all."""

from __future__ import annotations

import asyncio

import pytest

from snapshots.concurrency import run_bounded


@pytest.mark.parametrize(("jobs", "parallel"), [(0, 3), (2, 3), (10, 3), (10, 1)])
async def test_no_more_than_so_many_run_and_all_do(jobs: int, parallel: int) -> None:
    running, most, done = 0, 0, 0

    async def job() -> None:
        nonlocal running, most, done
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        done += 1

    await run_bounded((job() for _ in range(jobs)), parallel)
    assert (most, done) == (min(jobs, parallel), jobs)


async def test_an_error_cancels_what_runs_and_nothing_more_begins() -> None:
    begun: list[int] = []
    ended: list[int] = []
    both_run = asyncio.Event()

    async def job(number: int) -> None:
        begun.append(number)
        if number == 1:
            both_run.set()
            raise ValueError("the first error")
        try:
            await both_run.wait()
            await asyncio.Event().wait()
        finally:
            ended.append(number)

    with pytest.raises(ValueError, match="the first error"):
        await run_bounded((job(number) for number in range(10)), 2)
    assert (begun, ended) == ([0, 1], [0])


async def test_cancelling_it_cancels_its_jobs() -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def job() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def cancel(group: asyncio.Task[None]) -> None:
        await started.wait()
        group.cancel()

    async with asyncio.TaskGroup() as tasks:
        group = tasks.create_task(run_bounded((job() for _ in range(3)), 2))
        tasks.create_task(cancel(group))
    assert group.cancelled()
    assert ended.is_set()
