"""Registries and lines that misbehave as told."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Final

import msgspec
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.test_utils import TestServer

from snapshots.digest import Digest, digest_of
from snapshots.registry.client import RegistryClient
from snapshots.registry.credentials import Credentials
from snapshots.registry.descriptor import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, Descriptor
from snapshots.registry.image_config import ImageConfig, encode_config
from snapshots.registry.manifest import encode_manifest
from snapshots.registry.platforms import Platform
from snapshots.registry.reference import parse_reference

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


ENDLESS: Final = b"\0" * 65_536
CREDENTIALS: Final = Credentials("user", "secret-password")


class FakeImage:
    """One image of one layer, ``repo:tag``, in memory."""

    def __init__(self, layer: bytes) -> None:
        self.layer = layer
        self.config = encode_config(ImageConfig(platform=Platform(), diff_ids=(digest_of(layer),)))
        config = Descriptor(OCI_CONFIG, digest_of(self.config), len(self.config))
        self.descriptor = Descriptor(OCI_LAYER, digest_of(layer), len(layer))
        self.manifest = encode_manifest(config, [self.descriptor])
        self.digest: Digest = digest_of(self.manifest)

    def blob(self, digest: str) -> bytes | None:
        return {digest_of(self.layer): self.layer, digest_of(self.config): self.config}.get(Digest(digest))


class FakeRegistry:
    """Serves a :class:`FakeImage` as it should, but where a handler of the test comes first. ``async with``."""

    def __init__(self, image: FakeImage) -> None:
        self.image = image
        self.requests: list[web.Request] = []
        self.override: Callable[[web.Request], Awaitable[web.StreamResponse | None]] | None = None
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._server = TestServer(app)

    async def __aenter__(self) -> FakeRegistry:
        await self._server.start_server()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._server.close()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.port}"

    def asked(self, part: str) -> list[web.Request]:
        """Requests whose path has ``part`` in it."""
        return [request for request in self.requests if part in request.path]

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        if self.override is not None and (response := await self.override(request)) is not None:
            return response
        return await self.serve(request)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """What a good registry answers."""
        if "/manifests/" in request.path:
            return web.Response(body=self.image.manifest, content_type=OCI_MANIFEST)
        data = self.image.blob(request.path.rpartition("/")[2])
        if data is None:
            return web.json_response({"errors": [{"code": "BLOB_UNKNOWN", "message": "x"}]}, status=404)
        start = request.http_range.start or 0
        if "Range" not in request.headers:
            return web.Response(body=data)
        return web.Response(status=206, body=data[start:], headers={"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"})


async def send_and_cut(request: web.Request, data: bytes, claimed_bytes: int, **headers: str) -> web.StreamResponse:
    """Begin a body of ``claimed_bytes``, send ``data`` of it, and cut the connection."""
    response = web.StreamResponse(status=206 if headers else 200, headers=headers)
    response.content_length = claimed_bytes
    await response.prepare(request)
    await response.write(data)
    assert request.transport is not None
    request.transport.close()  # after what was written
    return response


def needs_basic(fake: FakeRegistry) -> None:
    """Have it ask for :data:`CREDENTIALS`."""

    async def answer(request: web.Request) -> web.StreamResponse | None:
        if request.headers.get("Authorization") == CREDENTIALS.basic():
            return None
        return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})

    fake.override = answer


async def read(client: RegistryClient, fake: FakeRegistry) -> bytes:
    """The layer of the image of ``fake``, as ``client`` gets it."""
    reference = parse_reference(f"{client.registry}/library/repo:tag")
    return b"".join([chunk async for chunk in client.read_blob(reference, fake.image.descriptor)])


class CuttingProxy(msgspec.Struct):
    """A line to a real server that is cut after some bytes."""

    address: str
    connections: int = 0


@asynccontextmanager
async def cutting_proxy(upstream: str, limits: list[int | None]) -> AsyncIterator[CuttingProxy]:
    """The n-th connection is cut once ``limits[n]`` bytes came back through it; None, and those beyond the list, are left alone."""
    host, _, port = upstream.partition(":")
    left = list(limits)
    running: set[asyncio.Task[None]] = set()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: int | None) -> None:
        while data := await reader.read(16_384):
            writer.write(data if limit is None else data[:limit])
            await writer.drain()
            limit = None if limit is None else limit - len(data)
            if limit is not None and limit <= 0:
                return

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        proxy.connections += 1
        limit = left.pop(0) if left else None
        async with AsyncExitStack() as stack:
            stack.callback(running.discard, task)
            stack.callback(writer.close)
            up_reader, up_writer = await asyncio.open_connection(host, int(port))
            stack.callback(up_writer.close)
            ways = [asyncio.create_task(relay(reader, up_writer, None)), asyncio.create_task(relay(up_reader, writer, limit))]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                    with suppress(asyncio.CancelledError, ConnectionError):
                        await way

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    proxy = CuttingProxy(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
    try:
        yield proxy
    finally:
        server.close()
        for task in list(running):
            task.cancel()
        await server.wait_closed()
        if running:
            await asyncio.wait(running)


class Sleeps:
    """A clock that only moves when asked to wait: the waits, in seconds."""

    def __init__(self) -> None:
        self.waits_s: list[float] = []

    async def __call__(self, delay_s: float) -> None:
        self.waits_s.append(delay_s)


class FixedResolver(AbstractResolver):
    """Every name has these addresses; without any, none resolves."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        if not self.addresses:
            raise OSError("no such name")
        return [ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0) for address in self.addresses]

    async def close(self) -> None:
        """There is nothing to close."""
