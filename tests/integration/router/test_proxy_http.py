"""Bulk transfers through the router: bodies whole or visibly broken, nothing added, nothing let in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from tests.integration.router.conftest import Cluster
from tests.support.fake_data_plane import FakeTransfers


class Transfers:
    """A client that was sent to the router's HTTP side."""

    def __init__(self, cluster: Cluster, node: FakeTransfers, session: aiohttp.ClientSession, sandbox_id: str, token: str) -> None:
        self.cluster, self.node, self.session, self.sandbox_id, self.token = cluster, node, session, sandbox_id, token

    def url(self, tail: str = "file?path=/x") -> URL:
        return URL(f"{self.cluster.http}/v1/sandboxes/{self.sandbox_id}/{tail}", encoded=True)

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


@pytest.fixture
async def transfers(cluster: Cluster) -> AsyncIterator[Transfers]:
    fake = FakeTransfers()
    runner = web.AppRunner(fake.app(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    node = await cluster.node(http_url=f"http://127.0.0.1:{runner.addresses[0][1]}")
    made = await cluster.client.create(await cluster.client.app())
    await node.run(made.sandbox_id)
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield Transfers(cluster, fake, session, made.sandbox_id, made.access.token)
    await runner.cleanup()


@pytest.mark.parametrize("query", ["path=/x", "path=/x&chunked=1"])
async def test_get_passes_body_and_headers(transfers: Transfers, query: str) -> None:
    async with transfers.session.get(transfers.url(f"archive?{query}"), headers=transfers.headers) as response:
        assert response.status == 200
        assert (response.headers["X-Node"], response.headers["Content-Type"]) == ("here", "application/x-tar")
        assert ("Content-Length" in response.headers) == ("chunked" not in query)
        assert await response.read() == transfers.node.content


async def test_the_query_arrives_as_it_was_sent(transfers: Transfers) -> None:
    tail = "file?path=%2Fa%20b%2Bc+d%26e%C3%A9%FF&mode=0644"
    async with transfers.session.get(transfers.url(tail), headers=transfers.headers) as response:
        await response.read()
    assert transfers.node.requests[0][1] == f"/v1/sandboxes/{transfers.sandbox_id}/{tail}"


async def test_put_streams_a_body_of_unknown_length(transfers: Transfers) -> None:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield b"x" * 65_536

    async with transfers.session.put(transfers.url(), data=body(), headers=transfers.headers) as response:
        assert await response.json() == {"bytes": 64 * 65_536}


async def test_put_keeps_the_content_length_and_drops_what_is_not_the_nodes(transfers: Transfers) -> None:
    own = {"Cookie": "a=b", "Connection": "keep-alive, X-Hop", "X-Hop": "1", "TE": "trailers", "Expect": "100-continue", "X-End": "2"}
    async with transfers.session.put(transfers.url(), data=b"12345", headers={**transfers.headers, **own}) as response:
        assert await response.json() == {"bytes": 5}
    headers = transfers.node.requests[0][2]
    assert headers["content-length"] == "5"
    assert headers["x-end"] == "2"
    assert not {"cookie", "x-hop", "te", "expect", "transfer-encoding"} & headers.keys()


async def test_an_empty_put_is_a_put(transfers: Transfers) -> None:
    async with transfers.session.put(transfers.url(), data=b"", headers=transfers.headers) as response:
        assert await response.json() == {"bytes": 0}


async def test_the_nodes_refusal_is_the_clients(transfers: Transfers) -> None:
    async with transfers.session.put(transfers.url("archive?path=/x&refuse=1"), data=b"x", headers=transfers.headers) as response:
        assert response.status == 404
        assert (await response.json())["cause"] == "no directory"


@pytest.mark.parametrize("query", ["path=/x", "path=/x&chunked=1"])
async def test_a_body_that_breaks_off_at_the_node_breaks_off_at_the_client(transfers: Transfers, query: str) -> None:
    transfers.node.break_after = 100_000
    with pytest.raises(aiohttp.ClientError):
        async with transfers.session.get(transfers.url(f"file?{query}"), headers=transfers.headers) as response:
            await response.read()


async def test_a_client_that_gives_up_its_upload_breaks_it_at_the_node(transfers: Transfers) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"x" * 65_536
        await asyncio.Event().wait()

    async def upload() -> None:
        await transfers.session.put(transfers.url(), data=body(), headers=transfers.headers)

    task = asyncio.create_task(upload())
    await transfers.node.receiving.wait()
    task.cancel()
    await asyncio.wait([task])
    await asyncio.wait_for(transfers.node.upload_broken.wait(), 5)


@pytest.mark.parametrize(
    ("authorization", "status", "code"),
    [(None, 401, "unauthenticated"), ("Bearer nonsense", 401, "unauthenticated"), ("Basic QQ==", 401, "unauthenticated")],
)
async def test_nothing_passes_without_a_token(transfers: Transfers, authorization: str | None, status: int, code: str) -> None:
    headers = {"Authorization": authorization} if authorization else {}
    async with transfers.session.get(transfers.url(), headers=headers) as response:
        assert (response.status, (await response.json())["code"]) == (status, code)
    assert transfers.node.requests == []


async def test_a_token_opens_its_own_sandbox_only(transfers: Transfers) -> None:
    other = URL(f"{transfers.cluster.http}/v1/sandboxes/sb-{'0' * 22}/file?path=/x")
    async with transfers.session.get(other, headers=transfers.headers) as response:
        assert (response.status, (await response.json())["code"]) == (403, "permission_denied")
    assert transfers.node.requests == []


async def test_an_expired_token_says_so(transfers: Transfers) -> None:
    transfers.cluster.clock.advance(901)
    async with transfers.session.get(transfers.url(), headers=transfers.headers) as response:
        assert (response.status, (await response.json())["code"]) == (401, "token_expired")


@pytest.mark.parametrize("tail", ["", "secret", "file/../../../etc", "file/more"])
async def test_other_paths_are_not_there(transfers: Transfers, tail: str) -> None:
    async with transfers.session.get(transfers.url(tail), headers=transfers.headers) as response:
        assert (response.status, (await response.json())["code"]) == (404, "not_found")
    assert transfers.node.requests == []


async def test_a_silent_node_is_unreachable(cluster: Cluster) -> None:
    await cluster.node(http_url="http://127.0.0.1:1")
    made = await cluster.client.create(await cluster.client.app())
    url = f"{cluster.http}/v1/sandboxes/{made.sandbox_id}/file?path=/x"
    async with aiohttp.ClientSession() as session, session.get(url, headers={"Authorization": f"Bearer {made.access.token}"}) as response:
        body = await response.json()
        assert (response.status, body["code"], body["retryable"]) == (503, "unreachable", True)
