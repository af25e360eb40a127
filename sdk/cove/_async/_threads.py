"""Threads that work for a coroutine and ask the event loop for what they need."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

R = TypeVar("R")


class Aborted(Exception):
    """The coroutine no longer wants the thread's work."""


class Link:
    """The thread's way to the event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._aborted = False
        self._waiting: concurrent.futures.Future[Any] | None = None

    def run(self, work: Coroutine[Any, Any, R]) -> R:
        """Run ``work`` on the loop and wait for it, in the thread.

        Raises:  Aborted: after :meth:`abort`.
        """
        if self._aborted:
            work.close()
            raise Aborted
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        self._waiting = future
        if self._aborted:
            future.cancel()
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise Aborted from None

    def abort(self) -> None:
        """Make the thread's current and next :meth:`run` raise. On the loop."""
        self._aborted = True
        if self._waiting is not None:
            self._waiting.cancel()


@contextlib.asynccontextmanager
async def worker(work: Callable[[Link], R]) -> AsyncIterator[asyncio.Task[R]]:
    """Run ``work`` in a thread while the block runs; at its end the thread is told to stop, and waited for."""
    link = Link()
    task = asyncio.create_task(asyncio.to_thread(work, link))
    try:
        yield task
    finally:
        link.abort()
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # seen: the block either asked for it or had an error of its own
