"""How often and when to try again. Pure but for the random jitter and the sleep, both given."""

from __future__ import annotations

import asyncio
import email.utils
import random
import time
from collections.abc import Awaitable, Callable
from typing import Final

from cove.exception import Error
from snapshots.registry.settings import RegistrySettings

RETRY_AFTER: Final = "retry_after_s"
"""Key in an error's context: seconds that the registry asked to wait."""

Sleep = Callable[[float], Awaitable[None]]


class Retry:
    """Counts the tries of one operation and waits between them.

    Exponential with full jitter above one half, so that clients that failed together do not come back together.
    """

    def __init__(self, settings: RegistrySettings, *, sleep: Sleep = asyncio.sleep, attempts: int | None = None) -> None:
        self._settings = settings
        self._sleep = sleep
        self._attempts = attempts or settings.attempts
        self._failures = 0

    def progress(self) -> None:
        """Something came of the last try: count anew."""
        self._failures = 0

    async def after(self, error: Error) -> None:
        """Wait before the next try, or raise ``error`` where none can help."""
        self._failures += 1
        delay_s = self.delay_s(error)
        if not error.retryable or self._failures >= self._attempts or delay_s > self._settings.max_delay_s:
            raise error
        await self._sleep(delay_s)

    def delay_s(self, error: Error) -> float:
        """What the registry asked for, or our own, longer after each failure."""
        asked = error.context.get(RETRY_AFTER)
        if asked is not None:
            return float(asked)
        longest_s = self._settings.first_delay_s * 2.0 ** min(self._failures - 1, 16)
        return min(longest_s, self._settings.max_delay_s) * random.uniform(0.5, 1.0)


def parse_retry_after(value: str | None, now_s: float | None = None) -> float | None:
    """Seconds of a ``Retry-After`` header, a number or a date; None where there is none or it makes no sense.

    Args:  now_s: seconds since the epoch; the clock's when left out.
    """
    text = (value or "").strip()
    if text.isascii() and text.isdigit() and len(text) <= 9:
        return float(text)
    try:
        at_s = email.utils.parsedate_to_datetime(text[:64]).timestamp()
    except (ValueError, OverflowError):
        return None
    return max(0.0, at_s - (time.time() if now_s is None else now_s))
