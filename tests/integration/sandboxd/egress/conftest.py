"""Resolver and relay on loopback. Addresses of 127.0.0.0/8 stand for the sandboxes'."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest
import uvloop

from sandboxd.egress import EgressServices, EgressSettings
from sandboxd.egress.relay.proxies import Proxy
from sandboxd.egress.relay.relayed import Destination
from tests.support.dns_upstream import FakeUpstream, from_table
from tests.support.egress_node import FakeNode
from tests.support.origin import Origin


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The daemon runs on uvloop; how transports end, reset and pause is not alike everywhere."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
def node() -> FakeNode:
    return FakeNode()


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream.serving(from_table({})) as serving:
        yield serving


class Serving:
    """Makes services with the fake node and the fake nameserver; again in the same directory, as a restarted daemon does."""

    def __init__(self, node: FakeNode, upstream: FakeUpstream, directory: Path) -> None:
        self._node, self._upstream, self._directory = node, upstream, directory
        self.proxies: dict[str, Proxy] = {}
        self.destination: Destination | None = None
        """Where connections to the relay were going."""

    def __call__(self) -> contextlib.AbstractAsyncContextManager[EgressServices]:
        settings = EgressSettings(
            host="127.0.0.1",
            dns_port=0,
            directory=self._directory,
            proxies=self.proxies,
            nameservers=lambda: [self._upstream.server],
            destination=lambda _: self.destination,
        )
        return EgressServices.serving(self._node, settings)


@pytest.fixture
def serving(node: FakeNode, upstream: FakeUpstream, tmp_path: Path) -> Serving:
    return Serving(node, upstream, tmp_path / "pins")


@pytest.fixture
async def services(serving: Serving) -> AsyncIterator[EgressServices]:
    async with serving() as running:
        yield running


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    async with Origin.serving() as serving:
        yield serving
