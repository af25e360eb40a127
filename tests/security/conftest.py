"""Every test here runs against real sandboxes."""

from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what lies in this directory."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.needs_root)
            item.add_marker(pytest.mark.needs_runsc)
            item.add_marker(pytest.mark.timeout(120))
