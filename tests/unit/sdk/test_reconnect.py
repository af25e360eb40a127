"""Servers that die, come back, or cannot be reached at all."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator

import pytest

from cove._async.app import _App
from cove._async.client import _Client
from cove._async.sandbox import _Sandbox
from cove._transport.connection import Server
from cove._transport.data import DataPlane
from cove.exception import AuthError, ClientClosed, ConnectionError, InternalFailure, NotFoundError, VersionError
from tests.support.fake_server import TOKEN_ID, TOKEN_SECRET, FakeServer, World
from tests.unit.sdk.conftest import client_of

LINES = [f"{number} €\n" for number in range(300)]


@pytest.fixture
async def node(world: World) -> AsyncIterator[FakeServer]:
    """A node of its own, beside the router that ``server`` is."""
    node = await FakeServer(world, control=False).start()
    yield node
    await node.stop()


async def test_output_survives_the_death_of_the_daemon_in_mid_stream(server: FakeServer, sandbox: _Sandbox, world: World) -> None:
    process = await sandbox.exec("script")
    script = world.last_process
    script.write("".join(LINES[:100]).encode()[:-2])  # in the middle of a character
    got = [await anext(process.stdout) for _ in range(99)]
    await server.stop()
    reading = asyncio.ensure_future(process.stdout.read())
    await asyncio.sleep(0.1)
    script.write("".join(LINES).encode()[len(script.outputs[1].data) :])
    await server.start()
    script.end()
    assert "".join(got) + await reading == "".join(LINES)


async def test_wait_survives_the_death_of_the_daemon(server: FakeServer, sandbox: _Sandbox, world: World) -> None:
    process = await sandbox.exec("script")
    waiting = asyncio.ensure_future(process.wait())
    await world.until_called("ProcessWait")
    await server.stop()
    await asyncio.sleep(0.2)
    assert not waiting.done()
    await server.start()
    world.last_process.end(5)
    assert await waiting == 5


async def test_a_start_whose_answer_was_lost_starts_one_process(sandbox: _Sandbox, world: World) -> None:
    world.fail_next["ProcessStart"] = [ConnectionError("cut")]
    process = await sandbox.exec("true")
    assert await process.wait() == 0
    assert world.calls["ProcessStart"] == 2
    assert len(world.only.processes) == 1


async def test_a_create_whose_answer_was_lost_makes_one_sandbox(client: _Client, world: World) -> None:
    app = await _App.lookup("app", client=client, create_if_missing=True)
    world.fail_next["SandboxCreate"] = [ConnectionError("cut"), ConnectionError("cut")]
    await _Sandbox.create(app=app, client=client)
    assert world.calls["SandboxCreate"] == 3
    assert len(world.sandboxes) == 1


async def test_patience_has_an_end(server: FakeServer, world: World) -> None:
    client = client_of(server, reconnect_s=0.3)
    app = await _App.lookup("app", client=client, create_if_missing=True)
    sandbox = await _Sandbox.create(app=app, client=client)
    await server.stop()
    start = time.monotonic()
    with pytest.raises(ConnectionError) as caught:
        await sandbox.exec("true")
    assert caught.value.retryable
    assert time.monotonic() - start < 5
    await client.close()


async def test_what_must_not_be_repeated_is_not(sandbox: _Sandbox, world: World) -> None:
    process = await sandbox.exec("script")
    world.fail_next["ProcessSignal"] = [ConnectionError("cut")]
    with pytest.raises(ConnectionError, match="may or may not") as caught:
        await process.signal(15)
    assert not caught.value.retryable
    assert world.calls["ProcessSignal"] == 1


async def test_what_must_not_be_repeated_waits_for_a_server_that_is_down(server: FakeServer, sandbox: _Sandbox, world: World) -> None:
    process = await sandbox.exec("script")
    await server.stop()
    await asyncio.sleep(0.2)  # the channel has heard of it: a call under way might have been carried out, and must not be repeated
    signalling = asyncio.ensure_future(process.signal(15))
    await asyncio.sleep(0.2)
    await server.start()
    await signalling
    assert world.last_process.signals == [(15, False)]


async def test_an_internal_failure_is_not_hidden_by_retries(sandbox: _Sandbox, world: World) -> None:
    world.fail_next["ProcessStart"] = [InternalFailure("disk gone", remedy="buy a disk")]
    with pytest.raises(InternalFailure, match="disk gone") as caught:
        await sandbox.exec("true")
    assert caught.value.remedy == "buy a disk"
    assert world.calls["ProcessStart"] == 1


async def test_a_node_that_cannot_be_reached_is_reached_through_the_router(server: FakeServer, client: _Client, world: World) -> None:
    world.node_address = "127.0.0.1:1"  # nobody listens there
    app = await _App.lookup("app", client=client, create_if_missing=True)
    sandbox = await _Sandbox.create(app=app, client=client)
    process = await sandbox.exec("echo", "through the router")
    assert await process.stdout.read() == "through the router\n"


async def test_a_node_that_swallows_packets_costs_one_pause(
    server: FakeServer, client: _Client, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cove._transport.data.DIRECT_CONNECT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the kernel accepts, and nobody answers
        world.node_address = f"127.0.0.1:{silent.getsockname()[1]}"
        app = await _App.lookup("app", client=client, create_if_missing=True)
        sandbox = await _Sandbox.create(app=app, client=client)
        start = time.monotonic()
        for _ in range(5):
            assert await (await sandbox.exec("true")).wait() == 0
        assert 0.3 <= time.monotonic() - start < 2.5


async def test_a_node_that_dies_is_left_for_the_router_and_found_again(
    server: FakeServer, client: _Client, world: World, node: FakeServer
) -> None:
    app = await _App.lookup("app", client=client, create_if_missing=True)
    sandbox = await _Sandbox.create(app=app, client=client)
    plane: DataPlane = sandbox._plane
    assert (await plane.route()).peer.address == node.address
    await node.stop()
    assert await (await sandbox.exec("true")).wait() == 0
    assert (await plane.route()).peer.address == server.address
    await node.start()
    client.connection.peers.get(node.address).avoid_until = 0.0  # as the passing of time would do
    for _ in range(100):
        if (await plane.route()).peer.address == node.address:
            break
        client.connection.peers.get(node.address).avoid_until = 0.0
        await asyncio.sleep(0.05)
    assert (await plane.route()).peer.address == node.address


async def test_a_closed_client_says_so(client: _Client, sandbox: _Sandbox, world: World) -> None:
    process = await sandbox.exec("script")
    waiting = asyncio.ensure_future(process.wait())
    reading = asyncio.ensure_future(process.stdout.read())
    await world.until_called("ProcessWait")
    await world.until_called("ProcessOutput")
    await client.close()
    for call in (waiting, reading, sandbox.poll(), sandbox.exec("true")):
        with pytest.raises(ClientClosed):
            await call
    assert client.is_closed()
    await client.close()


async def test_cancelling_a_call_stays_a_cancellation(sandbox: _Sandbox, world: World) -> None:
    process = await sandbox.exec("script")
    waiting = asyncio.ensure_future(process.wait())
    await world.until_called("ProcessWait")
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(process.wait(), 0.05)


async def test_wrong_credentials(server: FakeServer) -> None:
    client = client_of(server, token_secret="wrong")
    with pytest.raises(AuthError):
        await client.hello()
    await client.close()


async def test_hello(client: _Client, world: World) -> None:
    await client.hello()
    await client.hello()
    assert world.calls["Hello"] == 1


async def test_a_server_of_another_age(client: _Client, world: World) -> None:
    world.server_version = "7.1.0"
    with pytest.raises(VersionError, match=r"7\.1\.0"):
        await client.hello()


async def test_nobody_there() -> None:
    client = _Client(Server(address="127.0.0.1:1", token_id=TOKEN_ID, token_secret=TOKEN_SECRET, reconnect_s=0))
    with pytest.raises(ConnectionError, match=r"127\.0\.0\.1:1"):
        await client.hello()
    await client.close()


async def test_errors_of_the_server_arrive_whole(sandbox: _Sandbox, world: World) -> None:
    error = NotFoundError("no such thing", remedy="look elsewhere", context={"where": "there"})
    world.fail_next["ProcessGet"] = [error]
    with pytest.raises(NotFoundError) as caught:
        await sandbox.process("x")
    assert (caught.value.cause, caught.value.remedy, caught.value.context) == (error.cause, error.remedy, error.context)
