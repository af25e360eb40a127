"""How many sandboxes of a shape come at once, as far as the past tells. Pure: callers say what time it is, in seconds of any clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Final

import msgspec

WINDOW_S: Final = 5.0
"""Creates within this time count as coming at once: refilling waits for such a burst to be over."""

HALF_LIFE_S: Final = 1800.0
"""What came at once long ago counts half after this time: the rhythm of a day is followed, a pause for lunch is not."""

WORTH: Final = 0.5
"""Less than this is no demand: a shape that was asked for once is forgotten after one half-life."""

MAX_SHAPES: Final = 256
"""Remembered; the least wanted is forgotten for a new one. A client could ask for another memory limit each time."""

MAX_AT_ONCE: Final = 4096
"""Counted; more spares than that nobody has room for."""


class _Shape(msgspec.Struct):
    recent: deque[float]
    peak: float = 0.0
    peak_at: float = 0.0

    def value(self, now: float) -> float:
        return self.peak * float(0.5 ** ((now - self.peak_at) / HALF_LIFE_S))


class Demand:
    """Creates by shape."""

    def __init__(self) -> None:
        self._shapes: dict[str, _Shape] = {}

    def note(self, shape: str, now: float) -> None:
        """A sandbox of this shape was asked for."""
        known = self._shapes.get(shape)
        if known is None:
            self._make_room(now)
            known = self._shapes[shape] = _Shape(deque(maxlen=MAX_AT_ONCE))
        known.recent.append(now)
        while known.recent[0] <= now - WINDOW_S:
            known.recent.popleft()
        if len(known.recent) >= known.value(now):
            known.peak, known.peak_at = len(known.recent), now

    def wanted(self, now: float) -> Mapping[str, float]:
        """How many may come at once, by shape; what is worth nothing any more is forgotten."""
        values = {shape: known.value(now) for shape, known in self._shapes.items()}
        for shape, value in values.items():
            if value <= WORTH:
                del self._shapes[shape]
        return {shape: value for shape, value in values.items() if value > WORTH}

    def _make_room(self, now: float) -> None:
        if len(self._shapes) >= MAX_SHAPES:
            del self._shapes[min(self._shapes, key=lambda shape: self._shapes[shape].value(now))]
