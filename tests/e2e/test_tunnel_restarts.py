"""Tunnels when the router dies, and when their sandbox ends."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from cove.exception import ConflictError
from tests.support.leaks import assert_holds
from tests.support.live_cove import LiveCove
from tests.support.live_fixtures import Sandboxes
from tests.support.visitor import fetch


@pytest.fixture(autouse=True)
def nothing_left_behind(live: LiveCove) -> Iterator[None]:
    """In the place of the general check: daemons come and go here."""
    yield
    assert_holds(live)


def test_tunnels_survive_a_restart_of_the_router_and_end_with_the_sandbox(sandboxes: Sandboxes, live: LiveCove) -> None:
    sandbox = sandboxes.create("python", "-m", "http.server", "80", workdir="/etc", encrypted_ports=[80], unencrypted_ports=[81])
    before = sandbox.tunnels()
    fetch(before[80].url)
    live.kill("router")
    live.start("router")
    live.wait_ready()
    assert sandbox.tunnels() == before
    assert b"Debian" in fetch(f"{before[80].url}/os-release")
    sandbox.terminate()
    deadline = time.monotonic() + 20
    with pytest.raises(ConnectionRefusedError):
        while time.monotonic() < deadline:
            socket.create_connection(before[81].tcp_socket, timeout=5).close()
            time.sleep(0.1)
    with pytest.raises(ConflictError, match="ended"):
        sandbox.tunnels()
