"""Work that outlives the call it came with: finished even if the client hangs up, and waited for at shutdown."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Self, TypeVar

T = TypeVar("T")


class Finisher:
    """Runs coroutines to their end; leaving its block waits for all of them.

    A task group would cancel them where the block is left by an error, and wrap that error; here neither is wanted.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def finish(self, work: Coroutine[Any, Any, T]) -> T:
        """Await ``work``; a cancelled caller goes, the work stays."""
        outcome: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(_settle(work, outcome))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(outcome)


async def _settle(work: Coroutine[Any, Any, T], outcome: asyncio.Future[T]) -> None:
    try:
        result = await work
    except Exception as error:  # whatever it is, it belongs to the caller
        outcome.set_exception(error)
        outcome.exception()  # marks it as seen: the caller may have gone
    except BaseException:
        outcome.cancel()
        raise
    else:
        outcome.set_result(result)
