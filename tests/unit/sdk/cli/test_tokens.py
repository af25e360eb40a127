"""``cove token``: secrets are told once or not at all, and wrong ones are not stored."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from cove import _profiles
from cove.cli import build_app
from tests.support.fake_server import TOKEN_ID, TOKEN_SECRET, FakeServer
from tests.unit.sdk.cli.conftest import Cli


def test_without_a_profile_the_error_says_cove_up(run: Cli) -> None:
    result = run("token", "list")
    assert result.exit_code == 1
    assert "cove up" in result.err


def test_new_prints_the_secret_on_stdout_alone(run: Cli, server: FakeServer) -> None:
    result = run("token", "new", "--name", "ci")
    assert "ak-1" in result.out
    assert "as-new" in result.out
    assert "as-new" not in result.err
    assert server.world.tokens["ak-1"].name == "ci"
    assert run("token", "new", "--json").json == {"token_id": "ak-2", "token_secret": "as-new", "workspace": "test"}


@pytest.mark.parametrize(("option", "active"), [("--activate", "ci"), ("--no-activate", "local")])
def test_new_stores_the_secret_in_a_profile_without_printing_it(
    run: Cli, server: FakeServer, profiles: Path, option: str, active: str
) -> None:
    result = run("token", "new", "--profile", "ci", option)
    assert "as-new" not in result.out + result.err
    stored = _profiles.read(profiles)
    assert (stored["ci"]["token_id"], stored["ci"]["token_secret"]) == ("ak-1", "as-new")
    assert stored["ci"]["server_url"] == stored["local"]["server_url"]
    assert run("profile", "current").out == f"{active}\n"


def test_list_has_stable_keys(run: Cli, server: FakeServer) -> None:
    assert run("token", "list", "--json").json == [
        {"token_id": TOKEN_ID, "name": "first", "created_at": 1.0, "last_used_at": None, "revoked": False}
    ]
    assert "first" in run("token", "list").out


def test_an_unknown_token_cannot_be_revoked(run: Cli, server: FakeServer) -> None:
    result = run("token", "revoke", "ak-nobody")
    assert result.exit_code == 1
    assert "ak-nobody" in result.err


def test_the_token_in_use_is_revoked_only_after_a_yes(run: Cli, server: FakeServer) -> None:
    assert run("token", "revoke", TOKEN_ID, stdin="").exit_code == 1
    assert not server.world.tokens[TOKEN_ID].revoked
    assert run("token", "revoke", TOKEN_ID, "--yes").exit_code == 0
    assert server.world.tokens[TOKEN_ID].revoked


def test_set_verifies_before_it_stores(run: Cli, server: FakeServer, profiles: Path) -> None:
    before = profiles.read_bytes()
    result = run("token", "set", "--token-id", TOKEN_ID, "--token-secret", "-", stdin="as-wrong\n")
    assert result.exit_code == 1
    assert "as-wrong" not in result.out + result.err
    assert profiles.read_bytes() == before


def test_set_reads_both_from_stdin(run: Cli, server: FakeServer, profiles: Path) -> None:
    server_url = server.address
    arguments = ["token", "set", "--token-id", "-", "--token-secret", "-", "--profile", "far", "--server-url", server_url]
    assert run(*arguments, stdin=f"{TOKEN_ID}\n{TOKEN_SECRET}\n").exit_code == 0
    assert _profiles.read(profiles)["far"] == {
        "server_url": server_url,
        "token_id": TOKEN_ID,
        "token_secret": TOKEN_SECRET,
        "active": True,
    }


def test_set_asks_for_what_is_missing_and_does_not_echo_the_secret(server: FakeServer, profiles: Path) -> None:
    arguments = ["token", "set"]
    result = CliRunner().invoke(build_app(arguments), arguments, input=f"{TOKEN_ID}\n{TOKEN_SECRET}\n")
    assert result.exit_code == 0
    assert TOKEN_SECRET not in result.output
    assert _profiles.read(profiles)["local"]["token_id"] == TOKEN_ID


def test_set_without_verification_needs_no_server(run: Cli, profiles: Path) -> None:
    arguments = ["token", "set", "--no-verify", "--token-id", "a", "--token-secret", "b"]
    refused = run(*arguments)
    assert refused.exit_code == 1
    assert "--server-url" in refused.err
    assert run(*arguments, "--server-url", "nowhere:1").exit_code == 0
    assert _profiles.read(profiles)["default"]["server_url"] == "nowhere:1"


@pytest.mark.parametrize("secret", ["", " ", "\n"])
def test_an_empty_secret_is_refused(run: Cli, server: FakeServer, secret: str) -> None:
    assert run("token", "set", "--token-id", "a", "--token-secret", "-", stdin=secret).exit_code == 2


def test_a_server_that_is_gone_is_a_short_error(run: Cli, profiles: Path) -> None:
    _profiles.write(profiles, {"local": {"server_url": "127.0.0.1:1", "token_id": "a", "token_secret": "b", "reconnect_s": 0.0}})
    result = run("token", "list")
    assert result.exit_code == 1
    assert "cannot be reached" in result.err
    assert "cove up" in result.err
