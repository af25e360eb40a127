"""A clock that stands, a node that remembers what it was told, and pins in a directory of the test's."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandboxd.egress.pin_store import PinStore
from tests.support.egress_node import FakeNode


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def node() -> FakeNode:
    return FakeNode()


@pytest.fixture
def pins(tmp_path: Path, clock: Clock) -> PinStore:
    return PinStore(tmp_path / "pins", clock)
