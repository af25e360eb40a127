"""Where an instance's things are, and that two commands do not start it at once."""

from __future__ import annotations

import socket
from pathlib import Path

import msgspec
import pytest

from cove.exception import ConflictError, InvalidError, NotFoundError
from sandboxd.local.installation import Credentials, Installation, find, with_port


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    directories = {"COVE_STATE_DIR": str(tmp_path / "state"), "COVE_RUN_DIR": str(tmp_path / "run")}
    return find(environ={"COVE_INSTANCE": "t1", "PATH": "/bin", **directories})


def test_both_daemons_are_told_the_same_places_and_address(installation: Installation) -> None:
    environ = installation.daemon_environ("127.0.0.1:9")
    assert environ["COVE_ROUTER_GRPC_ADDRESS"] == environ["COVE_NODE_ROUTER_ADDRESS"] == "127.0.0.1:9"
    assert environ["COVE_STATE_DIR"] == str(installation.settings.state_dir)
    assert environ["COVE_INSTANCE"] == "t1"
    assert environ["PATH"] == "/bin:/usr/local/sbin:/usr/sbin:/sbin", "users' PATH lacks where Debian has nft and runsc's helpers"


def test_the_address_of_a_router_that_runs_wins(installation: Installation) -> None:
    assert installation.address == "127.0.0.1:7700"
    named = find(environ={**installation.environ, "COVE_ROUTER_GRPC_ADDRESS": "127.0.0.1:7"})
    assert named.address == "127.0.0.1:7"


def test_an_option_beats_the_environment(installation: Installation, tmp_path: Path) -> None:
    found = find(state_dir=tmp_path / "other", environ=installation.environ)
    assert found.settings.state_dir == tmp_path / "other"
    assert found.router.log_file == tmp_path / "other/log/router.log"
    with pytest.raises(InvalidError):
        find(environ={"COVE_INSTANCE": "../etc"})


def test_the_first_token_is_read_or_its_absence_explained(installation: Installation) -> None:
    directory = installation.settings.state_dir / "router"
    directory.mkdir(parents=True)
    with pytest.raises(NotFoundError, match=r"bootstrap-token\.json"):
        installation.bootstrap_credentials()
    file = directory / "bootstrap-token.json"
    for damaged in (b"", b"{}", b"[1]"):
        file.write_bytes(damaged)
        with pytest.raises(NotFoundError):
            installation.bootstrap_credentials()
    file.write_bytes(msgspec.json.encode(Credentials("ak-1", "as-1")))
    assert installation.bootstrap_credentials() == Credentials("ak-1", "as-1")


def test_one_command_at_a_time(installation: Installation) -> None:
    with installation.locked(), pytest.raises(ConflictError, match="at work"), installation.locked():
        pass
    with installation.locked():
        pass


def test_port_zero_becomes_one_that_is_free() -> None:
    assert with_port("127.0.0.1:7700") == "127.0.0.1:7700"
    host, _, port = with_port("[::1]:0").rpartition(":")
    assert host == "[::1]"
    with socket.create_server(("::1", int(port)), family=socket.AF_INET6):
        pass
