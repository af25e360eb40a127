"""Blobs over HTTP on a running router: who may bring and fetch what; nothing but what a digest names is stored or served."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from cove.exception import InvalidError
from cove.types import NodeId
from cove.wire import image_pb2
from router.ingress import blob_edge
from tests.integration.router.conftest import Cluster
from tests.support.fake_node import FakeNode

CONTENT = b"content of a blob"
EMPTY = hashlib.sha256().hexdigest()


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class Peer:
    """Who calls, with which headers."""

    def __init__(self, cluster: Cluster, session: aiohttp.ClientSession) -> None:
        self._cluster, self._session = cluster, session
        credentials = cluster.credentials
        self.client = {"cove-token-id": credentials.token_id, "cove-token-secret": credentials.token_secret}

    async def put(self, digest: str, content: Any, headers: dict[str, str]) -> tuple[int, str]:
        """Status, and digest or error code."""
        url = URL(f"{self._cluster.http}/v1/blobs/{digest}", encoded=True)
        body = io.BytesIO(content) if isinstance(content, bytes) else content
        async with self._session.put(url, data=body, headers=headers) as response:
            told = await response.json()
            return response.status, told["digest"] if response.status == 201 else told["code"]

    async def get(self, digest: str, headers: dict[str, str]) -> tuple[int, bytes]:
        async with self._session.get(URL(f"{self._cluster.http}/v1/blobs/{digest}", encoded=True), headers=headers) as response:
            return response.status, await response.read()


@pytest.fixture
async def peer(cluster: Cluster) -> AsyncIterator[Peer]:
    async with aiohttp.ClientSession() as session:
        yield Peer(cluster, session)


def bearer(node: FakeNode) -> dict[str, str]:
    return {"Authorization": f"Bearer {node.session}"}


async def missing(cluster: Cluster, *contents: bytes) -> list[bytes]:
    """Which of them the store lacks, as the client is told."""
    request = image_pb2.BlobsMissingRequest(sha256=[hashlib.sha256(content).digest() for content in contents])
    return list((await cluster.client.call("BlobsMissing", request)).sha256)


def stored_files(cluster: Cluster) -> list[Path]:
    """Every file below the router's state that has the content's bytes in it."""
    files = (Path(found, name) for found, _, names in os.walk(cluster.settings.state_dir) for name in names)
    return [file for file in files if CONTENT in file.read_bytes()]


async def test_a_client_brings_and_only_nodes_fetch(cluster: Cluster, peer: Peer) -> None:
    node = await cluster.node()
    digest = digest_of(CONTENT)
    assert await peer.put(digest, CONTENT, peer.client) == (201, digest)
    assert (await peer.get(digest, peer.client))[0] == 401
    assert await peer.get(digest, bearer(node)) == (200, CONTENT)
    other = b"a node's " + CONTENT
    assert await peer.put(digest_of(other), other, bearer(node)) == (201, digest_of(other))
    assert await peer.get(digest_of(other), bearer(node)) == (200, other)
    assert (await peer.get(digest_of(b"nothing"), bearer(node)))[0] == 404


async def test_no_other_token_opens_anything(cluster: Cluster, peer: Peer) -> None:
    node = await cluster.node()
    made = await cluster.client.create(await cluster.client.app())
    join_token = (cluster.settings.router_dir / "join-token").read_text().strip()
    node_token = cluster.router.parts.secrets.access_key.node_token(NodeId(node.node_id))
    credentials = cluster.credentials
    strangers: list[dict[str, str]] = [
        {},
        {"Authorization": "Bearer"},
        {"Authorization": f"Basic {node.session}"},
        {"Authorization": f"Bearer {node.session}x"},
        {"Authorization": f"Bearer {made.access.token}"},
        {"Authorization": f"Bearer {join_token}"},
        {"Authorization": f"Bearer {node_token}"},
        {"Authorization": f"Bearer {credentials.token_id}:{credentials.token_secret}"},
        {"cove-token-id": credentials.token_id},
        {"cove-token-secret": credentials.token_secret},
        {"cove-token-id": credentials.token_id, "cove-token-secret": credentials.token_secret + "x"},
        {"cove-token-id": "", "cove-token-secret": ""},
    ]
    for headers in strangers:
        assert await peer.put(digest_of(CONTENT), CONTENT, headers) == (401, "unauthenticated"), headers
        assert (await peer.get(digest_of(CONTENT), headers))[0] == 401, headers
    assert await missing(cluster, CONTENT) and not stored_files(cluster)


async def test_tokens_that_were_replaced_or_revoked_open_nothing(cluster: Cluster, peer: Peer) -> None:
    node = await cluster.node()
    before = bearer(node)
    await node.register()
    assert (await peer.put(digest_of(CONTENT), CONTENT, before))[0] == 401
    assert (await peer.put(digest_of(CONTENT), CONTENT, bearer(node)))[0] == 201
    other = await cluster.router.parts.authenticator.create(cluster.settings.workspace, "other")
    await cluster.router.parts.db.tokens.revoke(cluster.settings.workspace, other.token_id, 1.0)
    revoked = {"cove-token-id": other.token_id, "cove-token-secret": other.token_secret}
    assert (await peer.put(digest_of(CONTENT), CONTENT, revoked))[0] == 401


async def test_only_what_the_digest_names_is_stored(cluster: Cluster, peer: Peer) -> None:
    await cluster.node()
    for content in (b"", CONTENT + b"!", CONTENT[:-1]):
        assert await peer.put(digest_of(CONTENT), content, peer.client) == (400, "invalid")
    assert await missing(cluster, CONTENT) == [hashlib.sha256(CONTENT).digest()]
    assert not stored_files(cluster)


async def test_the_empty_blob_is_a_blob(cluster: Cluster, peer: Peer) -> None:
    node = await cluster.node()
    assert await peer.put(f"sha256:{EMPTY}", b"", peer.client) == (201, f"sha256:{EMPTY}")
    assert await peer.get(f"sha256:{EMPTY}", bearer(node)) == (200, b"")
    assert not await missing(cluster, b"")


@pytest.mark.parametrize(
    "name",
    [
        "sha256:",
        EMPTY,
        f"sha256:{EMPTY[:-1]}",
        f"sha256:{EMPTY}0",
        f"sha256:{EMPTY.upper()}",
        f"sha512:{EMPTY}",
        f"sha256:{EMPTY}%0a",
        f"sha256:{EMPTY}%00",
        f"sha256:{'%2e' * 64}",
        "%2e%2e%2f%2e%2e%2frouter%2frouter.db",
        "..%2frouter.db",
        f"..%2f{EMPTY}",
        f"%2fsha256:{EMPTY}",
        f"sha256%3A{EMPTY[:2]}%2f{EMPTY}",
        "%D9%A3" * 64,
        "sha256:" + "%D9%A3" * 64,  # digits, but not ASCII ones
    ],
)
async def test_names_that_are_no_digests_lead_nowhere(cluster: Cluster, peer: Peer, name: str) -> None:
    node = await cluster.node()
    assert await peer.put(name, b"", peer.client) == (400, "invalid")
    assert (await peer.get(name, bearer(node)))[0] == 400


@pytest.mark.parametrize("path", ["../sandboxes", "sha256:../../x", "a/b", "", f"sha256:{EMPTY}/", f"sha256:{EMPTY}/.."])
async def test_paths_beside_the_blobs_lead_nowhere(cluster: Cluster, path: str) -> None:
    """As raw bytes, since clients tidy paths up before they send them."""
    node = await cluster.node()
    reader, writer = await asyncio.open_connection(*cluster.router.http_address.split(":"))
    head = f"GET /v1/blobs/{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {node.session}\r\n\r\n"
    writer.write(head.encode())
    status = (await reader.read()).split(b" ", 2)[1]
    writer.close()
    await writer.wait_closed()
    assert status in (b"400", b"404")


async def test_a_body_that_is_cut_leaves_nothing(cluster: Cluster, peer: Peer) -> None:
    await cluster.node()
    _, writer = await asyncio.open_connection(*cluster.router.http_address.split(":"))
    auth = "".join(f"{name}: {value}\r\n" for name, value in peer.client.items())
    head = f"PUT /v1/blobs/{digest_of(CONTENT * 2)} HTTP/1.1\r\nHost: x\r\n{auth}Content-Length: {len(CONTENT) * 2}\r\n\r\n"
    writer.write(head.encode() + CONTENT)
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert await peer.put(digest_of(b"after"), b"after", peer.client) == (201, digest_of(b"after"))
    assert await missing(cluster, CONTENT * 2, CONTENT)
    async with asyncio.timeout(5):
        while stored_files(cluster):  # noqa: ASYNC110 - the router has no event for the end of a connection
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("is_told", [True, False])
async def test_too_much_is_refused_whether_its_length_was_told_or_not(
    cluster: Cluster, peer: Peer, monkeypatch: pytest.MonkeyPatch, is_told: bool
) -> None:
    node = await cluster.node()
    monkeypatch.setattr(blob_edge, "MAX_CLIENT_BYTES", 10)
    monkeypatch.setattr(blob_edge, "MAX_NODE_BYTES", 12)

    async def pieces(content: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(content), 4):
            yield content[start : start + 4]

    for headers, most in ((peer.client, 10), (bearer(node), 12)):
        fits, over = bytes(most), bytes(most + 1)
        assert await peer.put(digest_of(over), over if is_told else pieces(over), headers) == (413, "too_large")
        assert await missing(cluster, over)
        assert (await peer.put(digest_of(fits), fits if is_told else pieces(fits), headers))[0] == 201


@pytest.mark.parametrize("size", [10, 3 * 2**20])
async def test_a_damaged_blob_breaks_the_connection_and_can_be_brought_again(cluster: Cluster, peer: Peer, size: int) -> None:
    node = await cluster.node()
    content = CONTENT * (size // len(CONTENT) + 1)
    digest = digest_of(content)
    await peer.put(digest, content, bearer(node))
    (file,) = stored_files(cluster)
    file.chmod(0o600)
    damaged = bytearray(file.read_bytes())
    damaged[-1] ^= 1
    file.write_bytes(damaged)
    with pytest.raises(aiohttp.ClientError):
        await peer.get(digest, bearer(node))
    assert (await peer.get(digest, bearer(node)))[0] == 404
    assert await missing(cluster, content)
    await peer.put(digest, content, bearer(node))
    assert await peer.get(digest, bearer(node)) == (200, content)


async def test_twenty_equal_puts_at_once_are_one_blob(cluster: Cluster, peer: Peer) -> None:
    node = await cluster.node()
    content = os.urandom(2**18)
    async with asyncio.TaskGroup() as group:
        puts = [group.create_task(peer.put(digest_of(content), content, peer.client)) for _ in range(20)]
    assert {put.result() for put in puts} == {(201, digest_of(content))}
    assert await peer.get(digest_of(content), bearer(node)) == (200, content)


async def test_other_methods_are_not_there(cluster: Cluster, peer: Peer) -> None:
    node = await cluster.node()
    await peer.put(digest_of(CONTENT), CONTENT, peer.client)
    async with aiohttp.ClientSession() as session:
        for method in ("DELETE", "POST", "HEAD", "PATCH"):
            async with session.request(method, f"{cluster.http}/v1/blobs/{digest_of(CONTENT)}", headers=bearer(node)) as response:
                assert response.status == 405
    assert not await missing(cluster, CONTENT)


@pytest.mark.parametrize("asked", [[b""], [bytes(31)], [bytes(33)], [bytes(32), b"x"], [bytes(32)] * 10_001])
async def test_what_is_missing_is_asked_with_digests(cluster: Cluster, asked: list[bytes]) -> None:
    with pytest.raises(InvalidError):
        await cluster.client.call("BlobsMissing", image_pb2.BlobsMissingRequest(sha256=asked))
