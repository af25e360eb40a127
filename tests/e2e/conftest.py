"""Every test here runs against real sandboxes: those of the shared instance, or of the ``live`` that a module has of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from cove.wire import image_pb2
from sandboxd.settings import NodeSettings
from tests.support.chromium import Chromium, chromium
from tests.support.live_cove import LiveCove
from tests.support.live_fixtures import own_cove
from tests.support.marks import mark_real_sandboxes
from tests.support.raw_client import RawClient, RawSandbox
from tests.support.runsc_hold import RunscHold

Make = Callable[..., RawSandbox]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mark_real_sandboxes(items, Path(__file__).parent)


@pytest.fixture(scope="module")
def hold(tmp_path_factory: pytest.TempPathFactory) -> RunscHold:
    """For a ``live`` of the module's own, which gets its path as ``COVE_NODE_RUNSC_PATH``."""
    return RunscHold(tmp_path_factory.mktemp("hold"), NodeSettings().runsc_path)


@pytest.fixture(scope="module")
def held_live(tmp_path_factory: pytest.TempPathFactory, hold: RunscHold) -> Iterator[LiveCove]:
    """For a ``live`` of the module's own: an instance whose parts it may kill, and whose runsc it can hold."""
    with own_cove(tmp_path_factory.mktemp("cove"), COVE_NODE_RUNSC_PATH=str(hold.path)) as instance:
        yield instance


@pytest.fixture(scope="module")
def client(live: LiveCove) -> Iterator[RawClient]:
    client = RawClient(live)
    yield client
    client.close()


@pytest.fixture
def make(client: RawClient) -> Iterator[Make]:
    """Makes sandboxes that have answered, of an image or of none; they end with the test."""
    made: list[RawSandbox] = []

    def ready(image: image_pb2.ImageInfo | None = None, **spec: object) -> RawSandbox:
        made.append(client.ready_from(image, **spec) if image else client.ready(**spec))
        return made[-1]

    yield ready
    for sandbox in made:
        sandbox.terminate()
    for sandbox in made:
        sandbox.ended(timeout_s=60)


@pytest.fixture
async def browser() -> AsyncIterator[Chromium]:
    """A real browser whose pages must have nothing to complain of at the end."""
    async with chromium() as running:
        yield running
        assert running.complaints == []
