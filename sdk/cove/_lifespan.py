"""What must be closed before the interpreter ends: connections register here, the event loop's owner closes them."""

from __future__ import annotations

import asyncio
import weakref
from typing import Final, Protocol


class Closeable(Protocol):
    """Something with an asynchronous end."""

    loop: asyncio.AbstractEventLoop
    """Where it was opened and has to be closed."""

    async def close(self) -> None:
        """Free what it holds. Idempotent."""


_open: Final[weakref.WeakSet[Closeable]] = weakref.WeakSet()


def opened(resource: Closeable) -> None:
    """Remember ``resource`` for :func:`close_all`; it may be collected or closed before."""
    _open.add(resource)


async def close_all() -> None:
    """Close what was opened on the running loop."""
    loop = asyncio.get_running_loop()
    for resource in [resource for resource in _open if resource.loop is loop]:
        await resource.close()
