"""Visitors with connect tokens: what reaches the server inside, and what comes back."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable

import pytest

from tests.support.ingress_stage import IngressStage
from tests.support.raw_http import Client, mirror

UPGRADE = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": "a", "Sec-WebSocket-Version": "13"}


async def door(stage: IngressStage, metadata: str = '{"user_id": "foo"}') -> tuple[Client, str]:
    """A connection to a sandbox whose server mirrors, and a token for it."""
    await stage.server(mirror)
    made = await stage.token(await stage.sandbox(), user_metadata=metadata)
    return await stage.visit(made.url), made.token


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_the_header_opens_and_names_the_user(stage: IngressStage) -> None:
    client, token = await door(stage)
    answer = await client.ask("/a?b=c", bearer(token))
    assert answer.status == 200
    assert answer.seen.line == "GET /a?b=c HTTP/1.1"
    assert answer.seen.values("X-Verified-User-Data") == ['{"user_id": "foo"}']
    assert answer.seen.values("Authorization") == []
    assert answer.seen.values("Host") == [client.host]
    assert answer.seen.values("X-Forwarded-For") == ["127.0.0.1"]
    assert answer.header("Set-Cookie") == []


@pytest.mark.parametrize("name", ["_cove_connect_token", "_modal_connect_token", "%5Fcove%5Fconnect_token"])
async def test_the_query_opens_and_gives_a_cookie_which_opens_too(stage: IngressStage, name: str) -> None:
    client, token = await door(stage)
    answer = await client.ask(f"/p?x=1&{name}={token}&y=%20", {"Referer": f"http://{client.host}/?{name}={token}"})
    assert answer.seen.line == "GET /p?x=1&y=%20 HTTP/1.1"
    assert token not in str(answer.seen)
    (cookie,) = answer.header("Set-Cookie")
    value, *attributes = cookie.split("; ")
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(attributes) and "Secure" not in attributes
    again = await client.ask("/", {"Cookie": f"theme=dark; {value}; lang=en"})
    assert again.seen.values("X-Verified-User-Data") == ['{"user_id": "foo"}']
    assert again.seen.values("Cookie") == ["theme=dark; lang=en"]
    assert again.header("Set-Cookie") == []


async def test_without_metadata_there_is_no_such_header(stage: IngressStage) -> None:
    client, token = await door(stage, metadata="")
    answer = await client.ask("/", {**bearer(token), "X-Verified-User-Data": "me"})
    assert answer.seen.values("X-Verified-User-Data") == []


async def test_every_request_of_a_connection_is_checked_for_itself(stage: IngressStage) -> None:
    await stage.server(mirror)
    sandbox = await stage.sandbox()
    first, second = await stage.token(sandbox, user_metadata="one"), await stage.token(sandbox, user_metadata="two")
    client = await stage.visit(first.url)
    for token, name in ((first.token, "one"), (second.token, "two"), (first.token, "one")):
        assert (await client.ask("/", bearer(token))).seen.values("x-verified-user-data") == [name]
    assert (await client.ask("/")).status == 401
    assert await client.ended()


async def test_pipelined_requests_are_answered_in_order(stage: IngressStage) -> None:
    client, token = await door(stage)
    lines = f"Host: {client.host}\r\nAuthorization: Bearer {token}\r\n\r\n"
    await client.send("".join(f"GET /{number} HTTP/1.1\r\n{lines}" for number in range(20)).encode())
    for number in range(20):
        assert (await client.answer()).seen.line == f"GET /{number} HTTP/1.1"


@pytest.mark.parametrize("chunked", [False, True])
async def test_large_bodies_pass_both_ways(stage: IngressStage, chunked: bool) -> None:
    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        body = await Client(reader, writer, host="")._chunks() if b"chunked" in head else await reader.readexactly(len(sent))
        for at in range(0, len(body), 100_000):
            piece = body[at : at + 100_000]
            writer.write(b"%x;ext=1\r\n%b\r\n" % (len(piece), piece))
            await writer.drain()
        writer.write(b"0\r\nX-Trailer: 1\r\n\r\n")
        await writer.drain()
        await reader.read()

    sent = os.urandom(3 * 2**20)
    client, token = await door(stage)
    await stage.server(copy)
    head = f"POST / HTTP/1.1\r\nHost: {client.host}\r\nAuthorization: Bearer {token}\r\n"
    if chunked:
        pieces = [sent[at : at + 77_777] for at in range(0, len(sent), 77_777)]
        body = b"".join(b"%X\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        data = head.encode() + b"Transfer-Encoding: chunked\r\n\r\n" + body
    else:
        data = head.encode() + b"Content-Length: %d\r\n\r\n" % len(sent) + sent
    sending = asyncio.create_task(client.send(data))
    answer = await client.answer()
    await sending
    assert answer.body == sent


async def test_a_stream_of_events_comes_as_it_is_made(stage: IngressStage) -> None:
    go_on = asyncio.Event()

    async def events(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        await go_on.wait()
        writer.write(b"data: 2\n\n")

    client, token = await door(stage)
    await stage.server(events)
    await client.send(f"GET / HTTP/1.1\r\nHost: {client.host}\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
    assert b"Connection: close" in await client.head()
    assert await client.reader.readexactly(9) == b"data: 1\n\n"
    go_on.set()
    assert await client.reader.read() == b"data: 2\n\n"


async def test_interim_responses_pass(stage: IngressStage) -> None:
    async def hesitant(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"Expect: 100-continue" in head
        writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n")
        body = await reader.readexactly(5)
        writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: 5\r\n\r\n" + body)
        await reader.read()

    client, token = await door(stage)
    await stage.server(hesitant)
    lines = f"Host: {client.host}\r\nAuthorization: Bearer {token}\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    await client.send(f"PUT / HTTP/1.1\r\n{lines}".encode())
    assert (await client.head()).startswith(b"HTTP/1.1 103 Early Hints\r\nLink: </x>")
    assert await client.head() == b"HTTP/1.1 100 Continue"
    await client.send(b"12345")
    assert (await client.answer())[::2] == (201, b"12345")


async def test_an_answer_before_the_whole_request_passes(stage: IngressStage) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        await reader.read()

    client, token = await door(stage)
    await stage.server(refuse)
    await client.send(
        f"PUT / HTTP/1.1\r\nHost: {client.host}\r\nAuthorization: Bearer {token}\r\nContent-Length: 999\r\n\r\nbegin".encode()
    )
    assert (await client.answer()).status == 413
    assert await client.ended()


async def test_a_websocket_is_a_raw_stream_after_101(stage: IngressStage) -> None:
    async def switch(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"Upgrade: websocket" in head and b"Connection: Upgrade" in head and b"X-Verified-User-Data" in head
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\nfirst"
        )
        while data := await reader.read(100):
            writer.write(data.upper())

    client, token = await door(stage)
    await stage.server(switch)
    answer = await client.ask(f"/ws?_cove_connect_token={token}", {**UPGRADE, "Connection": "keep-alive, Upgrade"})
    assert (answer.status, answer.header("Sec-WebSocket-Accept"), len(answer.header("Set-Cookie"))) == (101, ["x"], 1)
    assert await client.reader.readexactly(5) == b"first"
    await client.send(b"hello")
    assert await client.reader.readexactly(5) == b"HELLO"
    client.writer.write_eof()
    assert await client.ended()


async def opened_websocket(stage: IngressStage) -> tuple[Client, str, str]:
    """A WebSocket that is open, the sandbox, and the id of the token that opened it."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        await reader.read()

    await stage.server(accept)
    sandbox = await stage.sandbox()
    made = await stage.token(sandbox, lifetime_s=3600)
    client = await stage.visit(made.url)
    assert (await client.ask("/", {**UPGRADE, **bearer(made.token)})).status == 101
    return client, sandbox, made.token_id


async def test_revoking_breaks_open_connections_off(stage: IngressStage) -> None:
    client, sandbox, token_id = await opened_websocket(stage)
    await stage.revoke(token_id)
    await stage.revoke(token_id)
    assert await client.ended()
    fresh = await stage.token(sandbox)  # others still open it
    assert (await (await stage.visit(fresh.url)).ask("/", {**UPGRADE, **bearer(fresh.token)})).status == 101


async def test_the_end_of_the_sandbox_breaks_open_connections_off(stage: IngressStage) -> None:
    client, sandbox, _ = await opened_websocket(stage)
    await stage.end(sandbox)
    assert await client.ended()


Refusal = Callable[[IngressStage], Awaitable[str]]


async def _of_another_sandbox(stage: IngressStage) -> str:
    return (await stage.token(await stage.sandbox())).token


async def _revoked(stage: IngressStage) -> str:
    made = await stage.token(next(iter(stage.node.sandboxes)))
    await stage.revoke(made.token_id)
    return made.token


async def _expired(stage: IngressStage) -> str:
    made = await stage.token(next(iter(stage.node.sandboxes)), lifetime_s=10)
    stage.cluster.clock.advance(11)
    return made.token


async def _of_the_data_plane(stage: IngressStage) -> str:
    return stage.daemon.token(next(iter(stage.node.sandboxes)))


@pytest.mark.parametrize("make", [_of_another_sandbox, _revoked, _expired, _of_the_data_plane])
@pytest.mark.parametrize("carrier", ["bearer", "query", "cookie"])
async def test_other_tokens_do_not_open(stage: IngressStage, make: Refusal, carrier: str) -> None:
    client, _ = await door(stage)
    token = await make(stage)
    target = f"/?_cove_connect_token={token}" if carrier == "query" else "/"
    headers = {"bearer": bearer(token), "cookie": {"Cookie": f"_cove_connect_token={token}"}, "query": {}}[carrier]
    answer = await client.ask(target, headers)
    assert (answer.status, answer.header("WWW-Authenticate"), answer.header("Set-Cookie")) == (401, ["Bearer"], [])


async def test_a_good_token_wins_beside_bad_ones_and_none_goes_inside(stage: IngressStage) -> None:
    client, token = await door(stage)
    bad = await _of_another_sandbox(stage)
    headers = {"Cookie": f"_cove_connect_token={bad}; _cove_connect_token={token}", **bearer(bad)}
    answer = await client.ask("/", headers)
    assert answer.status == 200
    assert token not in str(answer.seen) and bad not in str(answer.seen)


async def test_the_servers_own_authorization_goes_inside(stage: IngressStage) -> None:
    client, token = await door(stage)
    for value in ("Basic dXNlcjpwdw==", "Bearer opaque", "Bearer e30.e30.e30"):
        answer = await client.ask("/", {"Cookie": f"_cove_connect_token={token}", "Authorization": value})
        assert answer.seen.values("Authorization") == [value]


async def test_another_sites_page_cannot_use_the_cookie(stage: IngressStage) -> None:
    client, token = await door(stage)
    own = await client.ask("/", {"Cookie": f"_cove_connect_token={token}", "Origin": f"http://{client.host}"})
    assert own.status == 200
    for origin in ("http://neighbour.example.com", "null", f"http://{client.host}.example.com"):
        other = await stage.visit(f"http://{client.host}")
        answer = await other.ask("/", {"Cookie": f"_cove_connect_token={token}", "Origin": origin}, method="POST")
        assert answer.status == 403
    by_header = await client.ask("/", {**bearer(token), "Origin": "http://app.example.com"})
    assert by_header.status == 200


async def test_nothing_listening_is_told(stage: IngressStage) -> None:
    client, token = await door(stage)
    stage.machine.ports[8080] = 1
    answer = await client.ask("/", bearer(token))
    assert answer.status == 502 and b"Nothing answers on port 8080" in answer.body


@pytest.mark.parametrize(
    "response",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n12345",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n12345",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 40_000 + b"\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 20,
        b"HTTP/1.1 200 OK\r\nConnection: Content-Length\r\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_servers_that_answer_nonsense_are_told_as_such(stage: IngressStage, response: bytes) -> None:
    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(response)
        writer.write_eof()
        await reader.read()

    client, token = await door(stage)
    await stage.server(nonsense)
    answer = await client.ask("/", bearer(token))
    assert (answer.status == 502 and b"server inside" in answer.body) or b"where the body ends" in answer.body or answer.status == 502


async def test_a_response_that_breaks_off_breaks_off_visibly(stage: IngressStage) -> None:
    async def short(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n12345")
        writer.write_eof()

    client, token = await door(stage)
    await stage.server(short)
    await client.send(f"GET / HTTP/1.1\r\nHost: {client.host}\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
    await client.head()
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await client.reader.readexactly(100)


async def test_a_server_that_closes_after_each_answer_is_connected_to_again(stage: IngressStage) -> None:
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")
        writer.write_eof()

    client, token = await door(stage)
    await stage.server(once)
    for _ in range(5):
        assert (await client.ask("/", bearer(token))).body == b"ok"


async def test_a_reader_of_http_1_0_gets_no_chunks(stage: IngressStage) -> None:
    async def chunks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert b"HTTP/1.0" in await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        await reader.read()

    client, token = await door(stage)
    await stage.server(chunks)
    await client.send(f"GET /?_cove_connect_token={token} HTTP/1.0\r\n\r\n".encode())
    answer = await client.answer()
    assert (answer.body, answer.header("Transfer-Encoding")) == (b"abcde", [])
