"""Turns for removing what sandboxes had: off everybody's path, a few at a time, and counted.

Deleting a container and what is under it takes 50 ms, most of it processor time. A hundred that end at once would keep the processors from
the sandboxes that run; their memory is free before, since they are killed at once.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

FREED_AT_ONCE: Final = 8


class Freeing:
    """One per node."""

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(FREED_AT_ONCE)
        self.pending = 0
        """Removals that wait for their turn or have it."""

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """The block is one of at most ``FREED_AT_ONCE``; first come, first served."""
        self.pending += 1
        try:
            async with self._slots:
                yield
        finally:
            self.pending -= 1
