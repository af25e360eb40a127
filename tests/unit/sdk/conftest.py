"""A fake server and clients of it: asynchronous ones on the test's own loop, blocking ones through the bridge."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

import cove
from cove._async.app import _App
from cove._async.client import _Client, _Default
from cove._async.sandbox import _Sandbox
from cove._bridge import BRIDGE
from cove._transport.connection import Server
from tests.support.fake_server import TOKEN_ID, TOKEN_SECRET, FakeServer, World

PATIENCE_S = 5.0


@pytest.fixture(autouse=True)
def no_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test sees the configuration of whoever runs it. Where its own would be."""
    for name in ("COVE_PROFILE", "COVE_SERVER_URL", "COVE_SERVER_HTTP_URL", "COVE_TOKEN_ID", "COVE_TOKEN_SECRET", "COVE_ENVIRONMENT"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "configuration" / "cove.toml"
    monkeypatch.setenv("COVE_CONFIG_PATH", str(path))
    return path


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    server = await FakeServer().start()
    yield server
    await server.stop()


@pytest.fixture
def world(server: FakeServer) -> World:
    return server.world


@pytest.fixture
async def client(server: FakeServer) -> AsyncIterator[_Client]:
    client = client_of(server)
    yield client
    await client.close()


@pytest.fixture
async def sandbox(client: _Client) -> _Sandbox:
    app = await _App.lookup("app", client=client, create_if_missing=True)
    return await _Sandbox.create(app=app, client=client)


def client_of(server: FakeServer, *, reconnect_s: float = PATIENCE_S, token_secret: str = TOKEN_SECRET) -> _Client:
    """A client of ``server`` on the running loop."""
    return _Client(
        Server(address=server.address, http_url=server.http_url, token_id=TOKEN_ID, token_secret=token_secret, reconnect_s=reconnect_s)
    )


@pytest.fixture
def blocking_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    """A server on the bridge's loop, and the environment that leads the default client there."""
    server = BRIDGE.run(FakeServer().start())
    monkeypatch.setenv("COVE_SERVER_URL", server.address)
    monkeypatch.setenv("COVE_SERVER_HTTP_URL", server.http_url)
    monkeypatch.setenv("COVE_TOKEN_ID", TOKEN_ID)
    monkeypatch.setenv("COVE_TOKEN_SECRET", TOKEN_SECRET)
    monkeypatch.setattr(_Default, "client", None)
    yield server
    if _Default.client is not None:
        BRIDGE.run(_Default.client.close())
    BRIDGE.run(server.stop())


@pytest.fixture
def blocking_sandbox(blocking_server: FakeServer) -> cove.Sandbox:
    return cove.Sandbox.create(app=cove.App.lookup("app", create_if_missing=True))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, which is the home directory too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path
