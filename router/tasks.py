"""Work that outlives the call it came with: finished even if the client hangs up, and waited for at shutdown."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Finisher:
    """Runs coroutines to their end inside a task group that the router waits for."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Future[T]:
        """Begin ``work``; its result or error is in the future, for as many as ask, or nobody."""
        outcome: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._group.create_task(_settle(work, outcome))
        return outcome

    async def finish(self, work: Coroutine[Any, Any, T]) -> T:
        """Await ``work``; a cancelled caller goes, the work stays."""
        return await asyncio.shield(self.start(work))


async def _settle(work: Coroutine[Any, Any, T], outcome: asyncio.Future[T]) -> None:
    try:
        result = await work
    except Exception as error:  # whatever it is, it belongs to those who wait; an escape would end the whole router
        outcome.set_exception(error)
        outcome.exception()  # marks it as seen: nobody may be left to ask
    except BaseException:
        outcome.cancel()
        raise
    else:
        outcome.set_result(result)
