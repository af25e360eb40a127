"""The command line in this process, with its own file of profiles, against a fake server."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cove import _profiles, cli
from cove._bridge import BRIDGE
from cove.config import SETTINGS
from cove.types import new_id
from cove.wire import common_pb2, control_pb2
from tests.support.fake_server import TOKEN_ID, TOKEN_SECRET, FakeServer, World
from tests.support.fake_server.world import Sandbox


class Result(NamedTuple):
    """What a command left."""

    exit_code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Cli = Callable[..., Result]


@pytest.fixture
def profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of profiles; there is none yet. Settings of whoever runs the tests do not reach them."""
    path = tmp_path / "cove.toml"
    for key in (*SETTINGS, "profile"):
        monkeypatch.delenv(f"COVE_{key.upper()}", raising=False)
    monkeypatch.setenv("COVE_CONFIG_PATH", str(path))
    return path


@pytest.fixture
def run(profiles: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Cli:
    """``run("sandbox", "list", stdin="…")`` is what the program does, exit code and all."""

    def run(*arguments: str, stdin: str = "") -> Result:
        monkeypatch.setattr(sys, "argv", ["cove", *arguments])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        exit_code = 0
        try:
            cli.main()
        except SystemExit as end:
            exit_code = end.code if isinstance(end.code, int) else 0
        return Result(exit_code, *capfd.readouterr())

    return run


@pytest.fixture
def server(profiles: Path) -> Iterator[FakeServer]:
    """A server that the profile ``local`` leads to. It runs in another thread: tests set up its world before they ask for anything."""
    fake = BRIDGE.run(FakeServer().start())
    local: _profiles.Profile = {
        "server_url": fake.address,
        "server_http_url": fake.http_url,
        "token_id": TOKEN_ID,
        "token_secret": TOKEN_SECRET,
        "reconnect_s": 0.0,
        "active": True,
    }
    _profiles.write(profiles, {"local": local})
    yield fake
    BRIDGE.run(fake.stop())


def add(world: World, name: str = "", *command: str, app: str = "app", **tags: str) -> Sandbox:
    """A running sandbox in ``world``."""
    request = control_pb2.SandboxCreateRequest(
        idempotency_key=new_id("ik"),
        app_id=world.apps.setdefault(app, new_id("ap")),
        name=name,
        spec=common_pb2.SandboxSpec(command=[argument.encode() for argument in command]),
        tags=tags,
    )
    return world.create(request)
