"""Containers that nobody wants any more, or never did: killed at once, freed a few at a time. Each is somebody's until it is gone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Set
from typing import Final

import structlog

from cove.exception import Error
from cove.types import SandboxId
from sandboxd.assembly import Assembly

log = structlog.get_logger()

FREED_AT_ONCE: Final = 4
"""Each keeps runsc busy for a second or two, and there may be as many as there are spares."""


class Leaving:
    """Those of one node, by id.

    Args:    changed: called whenever one is gone.
    """

    def __init__(self, assembly: Assembly, changed: Callable[[], None]) -> None:
        self._assembly, self._changed = assembly, changed
        self._tasks: dict[SandboxId, asyncio.Task[None]] = {}
        self._turns = asyncio.Semaphore(FREED_AT_ONCE)

    def ids(self) -> Set[SandboxId]:
        """Of those that are not gone yet."""
        return self._tasks.keys()

    def begin(self, group: asyncio.TaskGroup, sandbox_id: SandboxId, why: str) -> None:
        """Free a container in a task of ``group``; one that is leaving already goes on doing so."""
        if sandbox_id not in self._tasks:
            log.info("container given up", sandbox=sandbox_id, why=why)
            self._tasks[sandbox_id] = group.create_task(self._free(sandbox_id), name=f"freeing {sandbox_id}")

    async def gone(self, *sandbox_ids: SandboxId) -> None:
        """Return when none of these, or none at all, is leaving."""
        tasks = [task for sandbox_id, task in self._tasks.items() if not sandbox_ids or sandbox_id in sandbox_ids]
        if tasks:
            await asyncio.wait(tasks)

    async def _free(self, sandbox_id: SandboxId) -> None:
        try:
            with contextlib.suppress(Error, OSError):  # what does not die now, free() tells
                await self._assembly.kill(sandbox_id)  # its memory is wanted; the rest has time
            async with self._turns:
                await self._assembly.free(sandbox_id)
        except ExceptionGroup as group:  # from now on nobody owns it, so the reconciler tries again
            log.error("container not freed", sandbox=sandbox_id, errors=[str(error) for error in group.exceptions])
        finally:
            del self._tasks[sandbox_id]
            self._changed()
