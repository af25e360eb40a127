"""Tunnels and connect tokens as the SDK asks for them and shows them."""

from __future__ import annotations

import json
from typing import Any

import pytest

import cove
from cove._async.app import _App
from cove._async.client import _Client
from cove._async.sandbox import _Sandbox
from cove.exception import ConflictError, InvalidError, NotFoundError, SandboxTimeoutError, UnimplementedError
from cove.tunnel import Tunnel
from cove.wire import common_pb2
from tests.support.fake_server import World


async def test_ports_of_create_are_in_the_request_and_come_back_as_tunnels(client: _Client, world: World) -> None:
    app = await _App.lookup("app", client=client, create_if_missing=True)
    sandbox = await _Sandbox.create(app=app, client=client, encrypted_ports=[80, 443], unencrypted_ports=[22], h2_ports=[50051])
    kinds = {spec.port: common_pb2.PortKind.Name(spec.kind) for spec in world.only.spec.ports}
    assert kinds == {80: "PORT_KIND_ENCRYPTED", 443: "PORT_KIND_ENCRYPTED", 22: "PORT_KIND_UNENCRYPTED", 50051: "PORT_KIND_H2"}
    tunnels = await sandbox.tunnels()
    assert set(tunnels) == {80, 443, 22, 50051}
    assert (tunnels[80].url, tunnels[80].tls_socket) == ("http://127.1.2.3:80", ("127.1.2.3", 81))
    assert tunnels[22].tcp_socket == ("127.1.2.3", 22)
    with pytest.raises(InvalidError, match="unencrypted_ports"):
        _ = tunnels[80].tcp_socket


@pytest.mark.parametrize("port", [0, 65_536, -1, "80", 80.0, True, None])
async def test_what_is_no_port_is_refused_here(client: _Client, sandbox: _Sandbox, port: Any) -> None:
    app = await _App.lookup("app", client=client, create_if_missing=True)
    with pytest.raises(InvalidError, match="not a port"):
        await _Sandbox.create(app=app, client=client, encrypted_ports=[port])
    with pytest.raises(InvalidError, match="not a port"):
        await sandbox.open_port(port)


async def test_tunnels_are_waited_for_as_long_as_asked(sandbox: _Sandbox, world: World) -> None:
    assert await sandbox.tunnels(timeout=3) == {}
    world.not_running = 2
    await sandbox.tunnels(timeout=200)
    assert world.waits[0] <= 3 and world.waits[1:3] == [60.0, 60.0]
    world.not_running = 1
    with pytest.raises(SandboxTimeoutError):
        await sandbox.tunnels(timeout=2)


async def test_ports_are_opened_and_closed_later(sandbox: _Sandbox) -> None:
    tunnel = await sandbox.open_port(8000, unencrypted=True)
    assert tunnel == await sandbox.open_port(8000, unencrypted=True) == (await sandbox.tunnels())[8000]
    with pytest.raises(ConflictError):
        await sandbox.open_port(8000)
    await sandbox.close_port(8000)
    await sandbox.close_port(8000)
    assert await sandbox.tunnels() == {}


@pytest.mark.parametrize(
    ("given", "sent"), [({"user_id": "foo"}, '{"user_id": "foo"}'), ("as it is", "as it is"), (None, ""), ({"ä": 1}, r'{"\u00e4": 1}')]
)
async def test_user_metadata_is_json(sandbox: _Sandbox, world: World, given: Any, sent: str) -> None:
    credentials = await sandbox.create_connect_token(given, expires_in=60)
    request = world.connect_tokens[credentials.token_id]
    assert (request.user_metadata, request.lifetime_s, request.sandbox_id) == (sent, 60, sandbox.object_id)
    assert (credentials.url, credentials.token, credentials.expires_at) == ("http://127.1.2.3:4000", "e.y.z", 5.0)
    assert "e.y.z" not in repr(credentials)


@pytest.mark.parametrize("metadata", ["x" * 512, {"x": "y" * 503}, {"x": object()}, {1j: 2}])
async def test_user_metadata_has_bounds(sandbox: _Sandbox, world: World, metadata: Any) -> None:
    with pytest.raises(InvalidError, match="user_metadata"):
        await sandbox.create_connect_token(metadata)
    assert not world.connect_tokens


async def test_the_longest_metadata_passes(sandbox: _Sandbox) -> None:
    metadata = {"x": "y" * 502}
    assert len(json.dumps(metadata)) == 511
    await sandbox.create_connect_token(metadata)


async def test_tokens_are_revoked_by_id_or_as_credentials(sandbox: _Sandbox, world: World) -> None:
    first, second = await sandbox.create_connect_token(), await sandbox.create_connect_token()
    await sandbox.revoke_connect_token(first)
    await sandbox.revoke_connect_token(second.token_id)
    assert not world.connect_tokens
    with pytest.raises(NotFoundError):
        await sandbox.revoke_connect_token(first)


def test_urls_are_made_of_names() -> None:
    assert Tunnel("a.example.com", 443).url == "https://a.example.com"
    assert Tunnel("a.example.com", 8443).url == "https://a.example.com:8443"


def test_forward_says_what_it_needs() -> None:
    with pytest.raises(UnimplementedError, match="needs Functions"):
        cove.forward(8000)
