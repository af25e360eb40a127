"""Marks that a whole directory of tests has."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest


def mark_real_sandboxes(items: Iterable[pytest.Item], directory: Path) -> None:
    """What lies in ``directory`` needs root and runsc, and more time than other tests."""
    for item in items:
        if item.path.is_relative_to(directory):
            item.add_marker(pytest.mark.needs_root)
            item.add_marker(pytest.mark.needs_runsc)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(120))
