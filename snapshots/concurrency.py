"""Some transfers at a time, all of them or none."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Iterator


async def run_bounded(jobs: Iterable[Coroutine[None, None, None]], parallel: int) -> None:
    """Run all ``jobs``, ``parallel`` at a time. The first that fails ends the others; jobs never begun are not made.

    Raises:  the first job's error, with all of them as its cause.
    """
    waiting = iter(jobs)
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(parallel):
                group.create_task(_work(waiting))
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures


async def _work(jobs: Iterator[Coroutine[None, None, None]]) -> None:
    for job in jobs:
        await job
