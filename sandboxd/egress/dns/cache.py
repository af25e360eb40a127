"""Answers of upstreams for as long as they hold. Bounded; no I/O, the time is passed in."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from sandboxd.egress.dns.message import Answer, Rcode

MAX_NAMES: Final = 20_000
"""Of all sandboxes; beyond that the one not asked for the longest goes."""
MIN_TTL_S: Final = 1
"""Even of what must not be kept: all that ask while it is under way get the same answer."""
MAX_TTL_S: Final = 300
"""A changed name is noticed after so long at the latest, whatever it said before."""
MAX_NEGATIVE_TTL_S: Final = 30
"""The same for a name that did not exist; somebody may be waiting for it to."""


class Cache:
    """Name to answer."""

    def __init__(self) -> None:
        self._answers: OrderedDict[str, tuple[Answer, float]] = OrderedDict()

    def get(self, name: str, now: float) -> Answer | None:
        """The answer with the time that is left of it, in whole seconds and at least one; None: not known, or no longer."""
        known = self._answers.get(name)
        if known is None:
            return None
        answer, until = known
        if until <= now:
            del self._answers[name]
            return None
        self._answers.move_to_end(name)
        return answer._replace(ttl_s=max(1, int(until - now)))

    def put(self, name: str, answer: Answer, now: float) -> Answer:
        """Keep ``answer`` within bounds. Failures are not kept. Returns: it with the time for which it holds."""
        most = MAX_TTL_S if answer.addresses else MAX_NEGATIVE_TTL_S
        bounded = answer._replace(ttl_s=max(MIN_TTL_S, min(answer.ttl_s, most)))
        if bounded.rcode in (Rcode.NOERROR, Rcode.NXDOMAIN):
            self._answers[name] = (bounded, now + bounded.ttl_s)
            self._answers.move_to_end(name)
            if len(self._answers) > MAX_NAMES:
                self._answers.popitem(last=False)
        return bounded
