"""A node daemon over simulated containers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sandboxd.sim.runtime import SimMachine
from tests.support.sim_node import SimDaemon, simulated


@pytest.fixture
async def machine() -> AsyncIterator[SimMachine]:
    async with simulated() as machine:
        yield machine


@pytest.fixture
def key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


@pytest.fixture
async def daemon(machine: SimMachine, tmp_path: Path, key: Ed25519PrivateKey) -> AsyncIterator[SimDaemon]:
    async with SimDaemon(machine, tmp_path, key).running() as daemon:
        yield daemon
