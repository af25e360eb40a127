"""When a failed call is tried again: exponential backoff with jitter, for a bounded time that starts anew with every success."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from typing import Final

from cove.exception import Error

FIRST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 1.0


def pauses() -> Iterator[float]:
    """Seconds to wait before each next attempt: doubling, each between half and the whole of its step so that clients spread out."""
    step_s = FIRST_PAUSE_S
    while True:
        yield step_s * random.uniform(0.5, 1.0)
        step_s = min(step_s * 2, LONGEST_PAUSE_S)


class Attempts:
    """The attempts at one thing, up to ``patience_s`` after its first failure in a row."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._give_up_at: float | None = None
        self._pauses = pauses()
        self.renewed = False
        """Whether new credentials were fetched since the last success."""

    def succeeded(self) -> None:
        """Forget earlier failures."""
        if self._give_up_at is not None or self.renewed:
            self.__init__(self._patience_s)  # type: ignore[misc]  # back to the start, whatever fields there are

    async def pause(self, error: Error) -> None:
        """Wait before the next attempt.

        Raises:  ``error`` itself when patience has run out.
        """
        now = asyncio.get_running_loop().time()
        if self._give_up_at is None:
            self._give_up_at = now + self._patience_s
        left_s = self._give_up_at - now
        if left_s <= 0:
            raise error
        await asyncio.sleep(min(next(self._pauses), left_s))
