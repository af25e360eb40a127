"""The edge with everything behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.ingress_stage import IngressStage, ingress_stage


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[IngressStage]:
    async with ingress_stage(tmp_path) as made:
        yield made
