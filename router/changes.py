"""Wakes long polls when a sandbox changed, so that nobody polls the database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from cove.types import SandboxId


class Changes:
    """Who waits for which sandbox. A wake-up is a hint: look again."""

    def __init__(self) -> None:
        self._watchers: dict[SandboxId, set[asyncio.Event]] = {}
        self._listeners: list[Callable[[SandboxId], None]] = []
        self.closing = False

    @contextmanager
    def watch(self, sandbox_id: SandboxId) -> Iterator[asyncio.Event]:
        """An event that is set on each change from now on; clear it before you look."""
        event = asyncio.Event()
        self._watchers.setdefault(sandbox_id, set()).add(event)
        try:
            yield event
        finally:
            watchers = self._watchers[sandbox_id]
            watchers.discard(event)
            if not watchers:
                del self._watchers[sandbox_id]

    def listen(self, listener: Callable[[SandboxId], None]) -> None:
        """Call ``listener`` for every sandbox that changes, as long as this lasts."""
        self._listeners.append(listener)

    def wake(self, sandbox_ids: Iterable[SandboxId]) -> None:
        """These changed."""
        for sandbox_id in sandbox_ids:
            for event in self._watchers.get(sandbox_id, ()):
                event.set()
            for listener in self._listeners:
                listener(sandbox_id)

    def close(self) -> None:
        """The router stops: every long poll answers with what there is."""
        self.closing = True
        self.wake(list(self._watchers))
