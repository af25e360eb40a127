"""How much one sandbox may ask. Bounded in memory; no I/O, the time is passed in.

Two allowances. Questions, so that one sandbox cannot keep the resolver from the others. And letters of names that it has not asked for
before: each such question goes upstream and carries its name to whoever serves it, which is how data leave through DNS. A build that
fetches from a hundred hosts stays far below; a tunnel gets some bytes a second.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

QUESTIONS_BURST: Final = 500
QUESTIONS_PER_S: Final = 200.0
LETTERS_BURST: Final = 8_192
"""Some 400 names."""
LETTERS_PER_S: Final = 32.0
"""A new name a second. What a tunnel could carry is half of it: 58 KB an hour."""
OPEN_FACTOR: Final = 16
"""How much more goes to a sandbox that could send its data anywhere without a tunnel."""
MAX_KNOWN_NAMES: Final = 2_048
"""Names of one sandbox remembered; older ones count as new again."""


class Bucket:
    """A token bucket."""

    __slots__ = ("_at", "_burst", "_left", "_per_s")

    def __init__(self, burst: float, per_s: float, now: float) -> None:
        self._burst, self._per_s = burst, per_s
        self._left, self._at = burst, now

    def take(self, amount: float, now: float) -> bool:
        """Take ``amount`` if there is so much; nothing otherwise."""
        self._left = min(self._burst, self._left + (now - self._at) * self._per_s)
        self._at = now
        if self._left < amount:
            return False
        self._left -= amount
        return True


class Allowance:
    """What one sandbox may still ask."""

    def __init__(self, now: float) -> None:
        self._questions = Bucket(QUESTIONS_BURST, QUESTIONS_PER_S, now)
        self._letters = Bucket(LETTERS_BURST * OPEN_FACTOR, LETTERS_PER_S * OPEN_FACTOR, now)
        self._known: OrderedDict[str, None] = OrderedDict()

    def takes_question(self, now: float) -> bool:
        """Count one question; False: too many."""
        return self._questions.take(1, now)

    def takes_name(self, name: str, now: float, *, restricted: bool) -> bool:
        """Count the letters of ``name`` if it is new; False: too many new ones.

        Args:  restricted: the sandbox cannot send its data anywhere else, so a letter counts for ``OPEN_FACTOR``.
        """
        if name in self._known:
            self._known.move_to_end(name)
            return True
        if not self._letters.take(len(name) * (OPEN_FACTOR if restricted else 1), now):
            return False
        self._known[name] = None
        if len(self._known) > MAX_KNOWN_NAMES:
            self._known.popitem(last=False)
        return True
