"""Blocking calls off the event loop."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run ``function`` in a worker thread and return what it returns.

    Unlike ``asyncio.to_thread``, a cancelled call ends only when the thread is done: whoever closes the file next must not do it under a
    thread that still writes, into a descriptor that by then may be another file's.
    """
    future = asyncio.get_running_loop().run_in_executor(None, functools.partial(function, *args, **kwargs))
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await _finish(future)
        raise


async def _finish(future: asyncio.Future[T]) -> None:
    """Wait for ``future`` whatever else happens; its outcome is of no interest any more."""
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError:
            continue
    if not future.cancelled():
        future.exception()
