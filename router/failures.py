"""Limits failures per peer: a token bucket each. Bounded in memory; no I/O."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

BURST: Final = 20.0
REFILL_PER_S: Final = 0.5
MAX_PEERS: Final = 10_000
"""Peers remembered; beyond that the one that failed longest ago is forgotten, which is what time would have done."""


class FailureLimiter:
    """Says which failures still deserve a full answer."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allows(self, peer: str) -> bool:
        """Count one failure of ``peer``; False once it had too many."""
        now = self._clock()
        left, at = self._buckets.pop(peer, (BURST, now))
        left = min(BURST, left + (now - at) * REFILL_PER_S)
        self._buckets[peer] = (max(0.0, left - 1), now)
        if len(self._buckets) > MAX_PEERS:
            self._buckets.popitem(last=False)
        return left >= 1
