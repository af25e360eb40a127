"""Connections to ports inside (simulated) sandboxes through a node's HTTP port."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import time
from collections.abc import Callable

import pytest

from cove.types import NodeId, SandboxId, new_id
from cove.wire import ports
from sandboxd.ports import relays
from tests.support.echo_server import echo, tcp_server
from tests.support.sim_node import SimDaemon

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def raw(daemon: SimDaemon, data: bytes) -> Streams:
    reader, writer = await asyncio.open_connection("127.0.0.1", daemon.http_port, limit=2**22)
    writer.write(data)
    return reader, writer


async def connect(daemon: SimDaemon, sandbox_id: str, port: int) -> Streams:
    """A connection that was answered with 101."""
    reader, writer = await raw(daemon, ports.encode(SandboxId(sandbox_id), port, daemon.token(sandbox_id)))
    assert await reader.readuntil(ports.HEAD_END) == ports.UPGRADED
    return reader, writer


async def refusal(reader: asyncio.StreamReader) -> tuple[int, str]:
    """Status and code of the answer, which ends the connection."""
    answer = await reader.read()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["code"]


async def until(holds: Callable[[], bool]) -> None:
    """Return when it holds. Other tasks, that the test has no event of, make it so."""
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110  # there is no event to wait for
            await asyncio.sleep(0.01)


async def test_bytes_pass_both_ways_and_ends_one_by_one(daemon: SimDaemon) -> None:
    sandbox_id = await daemon.create()
    async with tcp_server(echo) as port:
        reader, writer = await connect(daemon, sandbox_id, port)
        sent = os.urandom(8 * 2**20)
        receiving = asyncio.create_task(reader.read())
        writer.write(sent)
        await writer.drain()
        writer.write_eof()
        assert hashlib.sha256(await receiving).digest() == hashlib.sha256(sent).digest()
        writer.close()


async def test_a_server_that_speaks_first_is_heard(daemon: SimDaemon) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")
        await reader.read()

    sandbox_id = await daemon.create()
    async with tcp_server(greet) as port:
        reader, writer = await connect(daemon, sandbox_id, port)
        assert await reader.readline() == b"220 hello\r\n"
        writer.close()


async def test_what_is_sent_with_the_request_arrives(daemon: SimDaemon) -> None:
    sandbox_id = await daemon.create()
    async with tcp_server(echo) as port:
        request = ports.encode(SandboxId(sandbox_id), port, daemon.token(sandbox_id))
        reader, writer = await raw(daemon, request + b"early")
        await reader.readuntil(ports.HEAD_END)
        assert await reader.readexactly(5) == b"early"
        writer.close()


async def test_a_reader_that_stalls_holds_the_server_back(daemon: SimDaemon) -> None:
    sent = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        while True:
            writer.write(bytes(65_536))
            await writer.drain()
            sent += 65_536

    sandbox_id = await daemon.create()
    async with tcp_server(flood) as port:
        _, writer = await connect(daemon, sandbox_id, port)
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # the transport is a socket's
        before = -1
        while sent != before:  # until nothing moves any more
            before = sent
            await asyncio.sleep(0.2)
        assert sent < 32 * 2**20
        writer.transport.abort()


async def test_a_closed_port_is_told(daemon: SimDaemon) -> None:
    sandbox_id = await daemon.create()
    async with tcp_server(echo) as port:
        pass
    reader, writer = await raw(daemon, ports.encode(SandboxId(sandbox_id), port, daemon.token(sandbox_id)))
    assert await refusal(reader) == (502, "port_closed")
    writer.close()


async def test_an_ended_sandbox_is_told(daemon: SimDaemon) -> None:
    sandbox_id = await daemon.create()
    daemon.node.get(sandbox_id).terminate()
    await daemon.ended(sandbox_id)
    reader, writer = await raw(daemon, ports.encode(SandboxId(sandbox_id), 80, daemon.token(sandbox_id)))
    assert await refusal(reader) == (409, "sandbox_ended")
    writer.close()


async def test_the_end_of_the_sandbox_ends_its_connections(daemon: SimDaemon) -> None:
    sandbox_id = await daemon.create()
    async with tcp_server(echo) as port:
        reader, writer = await connect(daemon, sandbox_id, port)
        daemon.node.get(sandbox_id).terminate()
        assert await reader.read() == b""
        writer.close()


async def test_an_open_connection_counts_as_activity(daemon: SimDaemon) -> None:
    sandbox_id = await daemon.create()
    sandbox = daemon.node.get(sandbox_id)
    async with tcp_server(echo) as port:
        reader, writer = await connect(daemon, sandbox_id, port)
        assert sandbox.timers.idle_since == 0
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        await until(lambda: sandbox.timers.idle_since > 0)


@pytest.mark.parametrize("claims", ["other", "expired", "node", "altered"])
async def test_only_the_sandboxs_own_token_opens_it(daemon: SimDaemon, claims: str) -> None:
    sandbox_id = await daemon.create()
    token = {
        "other": daemon.token(new_id("sb")),
        "expired": daemon.token(sandbox_id, lifetime_s=-1),
        "node": daemon.token(sandbox_id, node_id=NodeId("node-2")),
        "altered": daemon.token(sandbox_id)[:-4] + "AAAA",
    }[claims]
    reader, writer = await raw(daemon, ports.encode(SandboxId(sandbox_id), 80, token))
    assert (await refusal(reader))[0] in (401, 403)
    writer.close()


@pytest.mark.parametrize(
    "head",
    [
        b"GET /v1/ports/x HTTP/1.1\r\n\r\n",
        b"GET /v1/ports/" + b"x" * 10_000,
        b"GET /v1/ports/" + b"\r\n\r\n",
        b"GET /v1/ports/../../etc/passwd HTTP/1.1\r\nHost: node\r\n\r\n",
    ],
)
async def test_malformed_requests_are_refused(daemon: SimDaemon, head: bytes) -> None:
    reader, writer = await raw(daemon, head)
    assert await refusal(reader) == (400, "invalid")
    writer.close()


async def test_silence_is_not_waited_for_long(daemon: SimDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relays, "HEAD_S", 0.05)
    for beginning in (b"", b"GET /v1/po", b"GET /v1/ports/sb-"):
        reader, writer = await raw(daemon, beginning)
        began = time.monotonic()
        with pytest.raises(ConnectionResetError):
            assert await reader.read() == b""
            raise ConnectionResetError  # an end is as good as a reset
        assert time.monotonic() - began < 5
        writer.close()


async def test_connections_per_sandbox_are_bounded(daemon: SimDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relays, "MAX_PER_SANDBOX", 2)
    sandbox_id, other = await daemon.create(), await daemon.create()
    async with tcp_server(echo) as port:
        held = [await connect(daemon, sandbox_id, port) for _ in range(2)]
        reader, writer = await raw(daemon, ports.encode(SandboxId(sandbox_id), port, daemon.token(sandbox_id)))
        assert await refusal(reader) == (429, "exhausted")
        writer.close()
        held.append(await connect(daemon, other, port))
        for _, one in held:
            one.transport.abort()
