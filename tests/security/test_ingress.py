"""Attacks on the edge: smuggled requests, borrowed identities, slow and many connections. What is inside is simulated; the edge is not."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from cove.wire import common_pb2
from router.ingress.http import conversation
from tests.support.echo_server import echo
from tests.support.ingress_stage import IngressStage, ingress_stage
from tests.support.raw_http import Client

ATTEMPTS = 10_000
HELD = 500


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[IngressStage]:
    async with ingress_stage(tmp_path) as made:
        yield made


class Inside:
    """A server inside that answers every request and remembers all bytes that it got."""

    def __init__(self) -> None:
        self.received = b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            self.received += data
            # A lenient server sees a request wherever a line looks like one: each is answered.
            for _ in range(data.count(b" HTTP/1.1\r\n")):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            await writer.drain()


async def attack(stage: IngressStage, head: str, body: str = "") -> tuple[Inside, bytes]:
    """Send a request with a good token and this head, and what hides behind it. Returns: what came inside, and all answers."""
    inside = Inside()
    await stage.server(inside.serve)
    made = await stage.token(await stage.sandbox(), user_metadata="guest")
    client = await stage.visit(made.url)
    lines = f"Host: {client.host}\r\nAuthorization: Bearer {made.token}\r\n{head}\r\n\r\n{body}"
    await client.send(f"POST / HTTP/1.1\r\n{lines}".encode("latin-1"))
    client.writer.write_eof()
    answers = b""
    try:
        async with asyncio.timeout(5):
            while data := await client.reader.read(65_536):
                answers += data
    except ConnectionError:
        pass  # a refusal may come as a break
    return inside, answers


HIDDEN = "GET /admin HTTP/1.1\r\nHost: x\r\nX-Verified-User-Data: root\r\n\r\n"


@pytest.mark.parametrize(
    "head",
    [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 0\r\nContent-Length: 70",
        "Content-Length: 0, 70",
        "Content-Length: 0\r\n Content-Length: 70",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding:\x0bchunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: identity, chunked",
        "X: y\rTransfer-Encoding: chunked",
        "X: y\nTransfer-Encoding: chunked",
        "X: y\x00\r\nContent-Length: 0",
        "X-Verified-User-Data\x00: root",
        "Host: other",
        "Expect: 200-ok",
        "Connection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
        "Connection: close, Content-Length\r\nContent-Length: 70",
    ],
)
async def test_ambiguous_requests_never_come_inside(stage: IngressStage, head: str) -> None:
    inside, answers = await attack(stage, head, HIDDEN)
    assert inside.received == b""
    assert answers == b"" or answers.startswith((b"HTTP/1.1 400", b"HTTP/1.1 417"))
    assert answers.count(b"HTTP/1.1") <= 1


@pytest.mark.parametrize(
    ("head", "body"),
    [
        ("Content-Length: 0", HIDDEN),
        ("Transfer-Encoding: chunked", f"0\r\n\r\n{HIDDEN}"),
        ("Transfer-Encoding: chunked", f"0\r\nX-Verified-User-Data: root\r\n\r\n{HIDDEN}"),
    ],
)
async def test_a_second_request_needs_its_own_token(stage: IngressStage, head: str, body: str) -> None:
    inside, answers = await attack(stage, head, body)
    assert b"/admin" not in inside.received and b"root" not in inside.received
    assert inside.received.count(b"X-Verified-User-Data: guest") == 1
    assert answers.count(b"HTTP/1.1 200") == 1 and answers.count(b"HTTP/1.1 401") == 1


@pytest.mark.parametrize(
    "body", ["5\r\nabc", "zz\r\n", "3\r\nabcGET /admin HTTP/1.1\r\n\r\n", "3;\x00\r\nabc\r\n0\r\n\r\n", "3\nabc\n0\n\n"]
)
async def test_a_body_that_is_none_ends_the_connection_inside(stage: IngressStage, body: str) -> None:
    inside, answers = await attack(stage, "Transfer-Encoding: chunked", body)
    assert b"/admin" not in inside.received
    assert b"HTTP/1.1 200" not in answers or answers.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize("target", ["http://internal/", "//internal/", "/../../etc/passwd", "/%2e%2e/", "*", "internal:80", "/a\\..\\b"])
async def test_paths_lead_nowhere_but_to_the_sandbox(stage: IngressStage, target: str) -> None:
    inside = Inside()
    await stage.server(inside.serve)
    made = await stage.token(await stage.sandbox())
    client = await stage.visit(made.url)
    answer = await client.ask(target, {"Authorization": f"Bearer {made.token}"})
    if target.startswith("/"):
        assert answer.status == 200 and inside.received.startswith(f"GET {target} HTTP/1.1\r\n".encode())
    else:
        assert answer.status == 400 and inside.received == b""


async def test_connect_is_refused(stage: IngressStage) -> None:
    made = await stage.token(await stage.sandbox())
    client = await stage.visit(made.url)
    answer = await client.ask("127.0.0.1:22", {"Authorization": f"Bearer {made.token}"}, method="CONNECT")
    assert answer.status in (400, 405)


async def test_slow_heads_are_not_waited_for(stage: IngressStage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "HEAD_S", 0.3)
    made = await stage.token(await stage.sandbox())
    client = await stage.visit(made.url)
    await client.send(b"GET / HTTP/1.1\r\n")
    dripping = asyncio.create_task(_drip(client))
    async with asyncio.timeout(5):
        assert await client.ended()
    dripping.cancel()
    await asyncio.wait([dripping])


async def _drip(client: Client) -> None:
    """A byte now and then, for as long as it is let."""
    try:
        while True:
            await client.send(b"X")
            await asyncio.sleep(0.05)
    except ConnectionError:
        return


async def test_endless_heads_are_cut(stage: IngressStage) -> None:
    made = await stage.token(await stage.sandbox())
    client = await stage.visit(made.url)
    await client.send(b"GET / HTTP/1.1\r\nX: " + b"x" * 100_000)
    assert (await client.head()).startswith(b"HTTP/1.1 431")


async def test_half_closed_connections_are_served_and_go(stage: IngressStage) -> None:
    inside = Inside()
    await stage.server(inside.serve)
    made = await stage.token(await stage.sandbox())
    client = await stage.visit(made.url)
    await client.send(f"GET / HTTP/1.1\r\nHost: {client.host}\r\nAuthorization: Bearer {made.token}\r\n\r\n".encode())
    client.writer.write_eof()
    assert (await client.answer()).body == b"ok"
    assert await client.ended()


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """As many as it takes, or fail: root may have them, whatever the shell says."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(hard, ATTEMPTS * 2)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_descriptors")
async def test_ten_thousand_connections_are_bounded(tmp_path: Path) -> None:
    async with ingress_stage(tmp_path, ingress_max_connections=HELD) as stage:
        await stage.server(echo, 1001)
        sandbox_id = await stage.sandbox(common_pb2.PortSpec(port=1001, kind="PORT_KIND_UNENCRYPTED"))
        tunnel = (await stage.tunnels(sandbox_id))[1001]
        clients: list[Client] = []
        for _ in range(ATTEMPTS // HELD):
            clients += await asyncio.gather(*(stage.connect(tunnel.tcp_host, tunnel.tcp_port) for _ in range(HELD)))
        answered = await asyncio.gather(*(client.echoed() for client in clients))
        assert sum(answered) == HELD
        for client in clients:
            client.writer.transport.abort()
        async with asyncio.timeout(10):  # until the edge has noticed
            while not await (await stage.connect(tunnel.tcp_host, tunnel.tcp_port)).echoed():
                pass
