"""A shell outlives what it is connected to. The module has an instance of its own, whose parts it may kill."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.cli_terminal import CliTerminal
from tests.support.live_cove import LiveCove


def test_a_shell_survives_router_and_node_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    instance = LiveCove(tmp_path)
    with instance.running():
        token_id, token_secret = instance.credentials
        monkeypatch.setenv("COVE_CONFIG_PATH", str(tmp_path / "cove.toml"))
        monkeypatch.setenv("COVE_SERVER_URL", f"127.0.0.1:{instance.router_port}")
        monkeypatch.setenv("COVE_TOKEN_ID", token_id)
        monkeypatch.setenv("COVE_TOKEN_SECRET", token_secret)
        with CliTerminal("shell", "--block-network") as terminal:
            terminal.expect("# ")
            terminal.type("answer=42; sh -c 'echo noted'\r")
            terminal.expect("\r\nnoted\r\n")
            terminal.expect("# ")
            for name in ("router", "sandboxd"):
                instance.kill(name)
            terminal.type("echo answer is $answer\r")
            for name in ("router", "sandboxd"):
                instance.start(name)
            instance.wait_ready()
            terminal.expect("\r\nanswer is 42\r\n")
            terminal.type("exit 5\r")
            assert terminal.wait() == 5
            assert terminal.is_as_before
