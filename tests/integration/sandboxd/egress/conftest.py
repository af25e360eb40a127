"""Resolver and relay on loopback. Addresses of 127.0.0.0/8 stand for the sandboxes'."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from sandboxd.egress import EgressServices
from tests.support.dns_upstream import FakeUpstream, from_table
from tests.support.egress_node import FakeNode


@pytest.fixture
def node() -> FakeNode:
    return FakeNode()


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream.serving(from_table({})) as serving:
        yield serving


Serving = Callable[[], contextlib.AbstractAsyncContextManager[EgressServices]]


@pytest.fixture
def serving(node: FakeNode, upstream: FakeUpstream, tmp_path: Path) -> Serving:
    """Makes services with the fake node and the fake nameserver; again in the same directory, as a restarted daemon does."""

    def make() -> contextlib.AbstractAsyncContextManager[EgressServices]:
        return EgressServices.serving(
            node, host="127.0.0.1", dns_port=0, directory=tmp_path / "pins", nameservers=lambda: [upstream.server]
        )

    return make


@pytest.fixture
async def services(serving: Serving) -> AsyncIterator[EgressServices]:
    async with serving() as running:
        yield running
