"""Blocking calls off the event loop, and what must be done to its end."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run ``function`` in a worker thread and return what it returns.

    Unlike ``asyncio.to_thread``, a cancelled call ends only when the thread is done: whoever closes the file next must not do it under a
    thread that still writes, into a descriptor that by then may be another file's.
    """
    return await to_its_end(asyncio.get_running_loop().run_in_executor(None, functools.partial(function, *args, **kwargs)))


async def to_its_end(work: Awaitable[T]) -> T:
    """What ``work`` gives. A cancellation takes effect when it is done, for what must not be left half-way."""
    future = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await _finish(future)
        raise


@asynccontextmanager
async def opened_in_thread(opening: Callable[[], T], closing: Callable[[T], None]) -> AsyncIterator[T]:
    """What ``opening`` returns, until ``closing`` has it, each in a worker thread; a cancellation during either leaks nothing."""
    future = asyncio.get_running_loop().run_in_executor(None, opening)
    try:
        yield await asyncio.shield(future)
    finally:
        await _finish(future)
        if future.exception() is None:
            await in_thread(closing, future.result())


async def _finish(future: asyncio.Future[T]) -> None:
    """Wait for ``future`` whatever else happens; its outcome is of no interest to who was cancelled."""
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError:
            continue
    if not future.cancelled():
        future.exception()
