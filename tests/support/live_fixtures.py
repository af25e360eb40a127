"""Fixtures over a real cove: one instance per test process, shared by its tests; the SDK points at it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import cove
from tests.support.leaks import assert_nothing
from tests.support.live_cove import LiveCove


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveCove]:
    """A running router and node daemon; this process's SDK uses them."""
    instance = LiveCove(tmp_path_factory.mktemp("cove"), COVE_ROUTER_LOOPBACK_REGISTRIES="true")  # tests run registries beside it
    with instance.running(), pytest.MonkeyPatch.context() as patch:
        token_id, token_secret = instance.credentials
        patch.setenv("COVE_CONFIG_PATH", str(instance.directory / "cove.toml"))
        patch.setenv("COVE_SERVER_URL", f"127.0.0.1:{instance.router_port}")
        patch.setenv("COVE_TOKEN_ID", token_id)
        patch.setenv("COVE_TOKEN_SECRET", token_secret)
        yield instance


@pytest.fixture(scope="session")
def app(live: LiveCove) -> cove.App:
    """The App that sandboxes of tests belong to."""
    return cove.App.lookup("tests", create_if_missing=True)


@contextlib.contextmanager
def own_cove(directory: Path, **settings: str) -> Iterator[LiveCove]:
    """An instance for a ``live`` of a module's own, whose parts its tests may kill; nothing may be left of it."""
    instance = LiveCove(directory, **settings)
    with instance.running():
        yield instance
    assert_nothing(instance)


class Sandboxes:
    """Makes sandboxes for one test and ends them with it."""

    def __init__(self, app: cove.App) -> None:
        self._app = app
        self._made: list[cove.Sandbox] = []

    def create(self, *command: str, **options: Any) -> cove.Sandbox:
        """``Sandbox.create`` with the tests' App and no network unless asked for."""
        options.setdefault("block_network", True)
        sandbox = cove.Sandbox.create(*command, app=self._app, **options)
        self._made.append(sandbox)
        return sandbox

    def keep(self, sandbox: cove.Sandbox) -> cove.Sandbox:
        """One that was made otherwise: end it, too."""
        self._made.append(sandbox)
        return sandbox

    def end(self) -> None:
        """Terminate all, and return when nothing is left of them."""
        for sandbox in self._made:
            sandbox.terminate()
        for sandbox in self._made:
            while sandbox.poll() is None:
                time.sleep(0.05)


@pytest.fixture
def sandboxes(app: cove.App) -> Iterator[Sandboxes]:
    made = Sandboxes(app)
    yield made
    made.end()


@pytest.fixture(scope="module")
def shared(app: cove.App) -> Iterator[cove.Sandbox]:
    """One sandbox for all tests of a module that leave no trace in it."""
    sandbox = cove.Sandbox.create(app=app, block_network=True, timeout=1800)
    sandbox.exec("true").wait()
    yield sandbox
    sandbox.terminate()
