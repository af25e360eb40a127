"""A router in-process on port 0, a client with the bootstrap token, and simulated nodes on real sockets."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from router.app import Router, running
from router.auth import Credentials
from router.bootstrap import FILE_NAME
from router.settings import RouterSettings
from tests.support.fake_node import FakeNode, fake_node
from tests.support.router_client import ControlClient
from tests.support.s3_server import s3

__all__ = ["s3"]


class Clock:
    """Time that moves when told to, from the real one on: tokens are checked by others."""

    def __init__(self) -> None:
        self.offset_s = 0.0

    def __call__(self) -> float:
        return time.time() + self.offset_s

    def advance(self, seconds: float) -> None:
        self.offset_s += seconds


class Cluster:
    """A router with what tests need around it."""

    def __init__(self, router: Router, settings: RouterSettings, clock: Clock, stack: AsyncExitStack) -> None:
        self.router, self.settings, self.clock, self._stack = router, settings, clock, stack
        self.nodes: dict[str, FakeNode] = {}
        self.credentials = msgspec.json.decode((settings.router_dir / FILE_NAME).read_bytes(), type=Credentials)
        self.client = self.new_client(self.credentials)

    def new_client(self, credentials: Credentials | None) -> ControlClient:
        client = ControlClient(self.router.grpc_address, credentials)
        self._stack.push_async_callback(client.channel.close, None)
        return client

    async def node(self, node_id: str = "node-a", **options: Any) -> FakeNode:
        join_token = (self.settings.router_dir / "join-token").read_text()
        node = await self._stack.enter_async_context(fake_node(node_id, self.router.grpc_address, join_token, **options))
        self.nodes[node_id] = node
        return node

    @property
    def http(self) -> str:
        return f"http://{self.router.http_address}"

    async def round(self) -> None:
        await self.router.parts.reconciler.round()


def settings_for(tmp_path: Path, **changes: Any) -> RouterSettings:
    """Quick and quiet: the reconciler sleeps unless a test calls it."""
    defaults: dict[str, Any] = {
        "state_dir": tmp_path,
        "grpc_address": "127.0.0.1:0",
        "http_address": "127.0.0.1:0",
        "reconcile_interval_s": 3600.0,
        "node_call_timeout_s": 1.0,
        "shutdown_grace_s": 0.2,
    }
    return RouterSettings(**{**defaults, **changes})


@asynccontextmanager
async def running_cluster(settings: RouterSettings, clock: Clock | None = None) -> AsyncIterator[Cluster]:
    clock = clock or Clock()
    async with running(settings, clock=clock) as router, AsyncExitStack() as stack:
        yield Cluster(router, settings, clock, stack)


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with running_cluster(settings_for(tmp_path)) as found:
        yield found
