"""Every test here runs against real sandboxes."""

from pathlib import Path

import pytest

from tests.support.marks import mark_real_sandboxes


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mark_real_sandboxes(items, Path(__file__).parent)
