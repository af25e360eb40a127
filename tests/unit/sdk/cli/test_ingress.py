"""``cove sandbox tunnels`` and ``connect``."""

from __future__ import annotations

import pytest

from tests.support.fake_server import FakeServer, World
from tests.unit.sdk.cli.conftest import Cli, add


@pytest.fixture
def world(server: FakeServer) -> World:
    return server.world


def test_tunnels_are_opened_shown_and_closed(run: Cli, world: World) -> None:
    add(world, "web")
    assert "--open PORT" in run("sandbox", "tunnels", "web").err
    shown = run("sandbox", "tunnels", "web", "--open", "22", "--unencrypted", "--json").json
    assert shown == [{"port": 22, "url": "http://127.1.2.3:22", "tls": "127.1.2.3:23", "tcp": "127.1.2.3:22"}]
    assert "http://127.1.2.3:22" in run("sandbox", "tunnels", "web").out
    assert run("sandbox", "tunnels", "web", "--close", "22", "--json").json == []


@pytest.mark.parametrize("options", [["--h2"], ["--unencrypted"], ["--open", "0"], ["--open", "http"]])
def test_ports_that_make_no_sense(run: Cli, world: World, options: list[str]) -> None:
    add(world, "web")
    assert run("sandbox", "tunnels", "web", *options).exit_code != 0


def test_connect_prints_a_link_that_opens(run: Cli, world: World) -> None:
    add(world, "web")
    result = run("sandbox", "connect", "web", "--user", '{"name": "me"}', "--expires", "60")
    assert result.out == "http://127.1.2.3:4000/?_cove_connect_token=e.y.z\n"
    (request,) = world.connect_tokens.values()
    assert (request.user_metadata, request.lifetime_s) == ('{"name": "me"}', 60)
    assert run("sandbox", "connect", "web", "--json").json["token"] == "e.y.z"


def test_tokens_are_listed_and_revoked_but_never_shown_again(run: Cli, world: World) -> None:
    add(world, "web")
    token_id = run("sandbox", "connect", "web", "--json").json["token_id"]
    listed = run("sandbox", "connect", "web", "--list")
    assert token_id in listed.out and "e.y.z" not in listed.out
    assert run("sandbox", "connect", "web", "--list", "--json").json[0]["revoked"] is False
    assert run("sandbox", "connect", "web", "--revoke", token_id).exit_code == 0
    assert run("sandbox", "connect", "web", "--revoke", token_id).exit_code == 1


def test_a_mistyped_quote_is_noticed(run: Cli, world: World) -> None:
    add(world, "web")
    result = run("sandbox", "connect", "web", "--user", "{name: me}")
    assert result.exit_code == 2 and "JSON" in result.err
    assert not world.connect_tokens
