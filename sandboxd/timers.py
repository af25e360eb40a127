"""A sandbox's time: the end of its lifetime, and how long nothing has happened in it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator

from sandboxd.journal import Entry
from sandboxd.lifecycle import Event, IdleOver, LifetimeOver, PauseAsked


class Timers:
    """One sandbox's.

    Args:
        post: hears when time is over; once armed.
        running: the number of processes that count as activity.
    """

    def __init__(self, entry: Entry, *, post: Callable[[Event], None], running: Callable[[], int]) -> None:
        self._entry, self._post, self._running = entry, post, running
        self._holds = 0
        self._idle_since = time.monotonic()
        self._lifetime: asyncio.TimerHandle | None = None
        self._idle: asyncio.TimerHandle | None = None

    @property
    def idle_since(self) -> float:
        """Unix seconds since when nothing counts as activity; 0 while something does."""
        return 0.0 if self._active else time.time() - (time.monotonic() - self._idle_since)

    @property
    def _active(self) -> bool:
        return self._running() > 0 or self._holds > 0

    def touch(self) -> None:
        """Something counted as activity just now, or has just stopped to."""
        self._idle_since = time.monotonic()

    @contextlib.contextmanager
    def activity(self) -> Iterator[None]:
        """The block counts as activity."""
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1
            self.touch()

    def arm(self) -> None:
        """Time runs from now on; it stands where the entry says."""
        self.cancel()
        entry = self._entry
        over = PauseAsked() if entry.pause_on_timeout else LifetimeOver(entry.timeout_s)
        left_s = max(0.0, entry.expires_at - time.time())
        self._lifetime = asyncio.get_running_loop().call_later(left_s, self._post, over)
        self.touch()
        if entry.idle_timeout_s:
            self._check_idle()

    def cancel(self) -> None:
        """Time stands still. Idempotent."""
        for timer in (self._lifetime, self._idle):
            if timer is not None:
                timer.cancel()

    def _check_idle(self) -> None:
        entry = self._entry
        idle_s = 0.0 if self._active else time.monotonic() - self._idle_since
        left_s = entry.idle_timeout_s - idle_s
        if left_s <= 0:
            self._post(PauseAsked() if entry.pause_on_idle else IdleOver(entry.idle_timeout_s))
        else:
            self._idle = asyncio.get_running_loop().call_later(left_s, self._check_idle)
