"""Waiting for what has no event."""

from __future__ import annotations

import time
from collections.abc import Callable


def eventually(true: Callable[[], bool], timeout_s: float = 10.0) -> None:
    """Return once the condition holds. Raises: AssertionError: it does not, in time."""
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)
