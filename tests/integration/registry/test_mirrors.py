"""Mirrors: asked first, believed only as far as a digest goes."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from cove.exception import DataLossError
from snapshots.registry.client import RegistryClient
from snapshots.registry.descriptor import Descriptor
from snapshots.registry.reference import parse_reference
from snapshots.registry.settings import RegistrySettings
from tests.integration.registry.conftest import LAYER
from tests.integration.registry.faults import CREDENTIALS, FakeRegistry, Sleeps, needs_basic, read, send_and_cut


class TestMirrors:
    def client(self, fake: FakeRegistry, *mirrors: str) -> RegistryClient:
        settings = RegistrySettings(registry_mirrors={fake.address: list(mirrors)})
        return RegistryClient(fake.address, CREDENTIALS, settings=settings, sleep=Sleeps())

    async def test_a_mirror_is_asked_first_and_without_credentials(self, fake: FakeRegistry, other: FakeRegistry) -> None:
        async with self.client(fake, f"http://{other.address}/some/prefix") as client:
            image = await client.resolve(parse_reference(f"{fake.address}/library/repo:tag"))
            assert (image.digest, await read(client, fake)) == (fake.image.digest, LAYER)
        assert fake.requests == []
        assert {request.path.partition("/v2/")[0] for request in other.requests} == {"/some/prefix"}

    async def test_a_mirror_s_challenge_gets_no_credentials(self, fake: FakeRegistry, other: FakeRegistry) -> None:
        needs_basic(other)
        async with self.client(fake, f"http://{other.address}") as client:
            assert await read(client, fake) == LAYER
        assert ["Authorization" in request.headers for request in other.requests] == [False]

    @pytest.mark.parametrize("status", [401, 403, 404, 429, 500])
    async def test_a_mirror_that_fails_is_passed_over(self, fake: FakeRegistry, other: FakeRegistry, status: int) -> None:
        async def refuse(request: web.Request) -> web.StreamResponse:
            return web.Response(status=status)

        other.override = refuse
        async with self.client(fake, "http://127.0.0.1:1", f"http://{other.address}") as client:
            assert (await client.resolve(parse_reference(f"{fake.address}/library/repo:tag"))).digest == fake.image.digest
            assert await read(client, fake) == LAYER

    async def test_a_mirror_that_dies_in_a_blob_is_replaced_there(self, fake: FakeRegistry, other: FakeRegistry) -> None:
        async def cut(request: web.Request) -> web.StreamResponse:
            if "Range" in request.headers:
                return web.Response(status=500)
            return await send_and_cut(request, LAYER[:100_000], len(LAYER))

        other.override = cut
        async with self.client(fake, f"http://{other.address}") as client:
            assert await read(client, fake) == LAYER
        assert [request.headers.get("Range") for request in fake.requests] == ["bytes=100000-"]

    async def test_a_mirror_that_lies_is_not_asked_again(self, fake: FakeRegistry, other: FakeRegistry) -> None:
        async def lie(request: web.Request) -> web.StreamResponse:
            return web.Response(body=bytes(len(LAYER)))

        other.override = lie
        tries: list[int] = []

        async def sink(descriptor: Descriptor, chunks: AsyncIterator[bytes]) -> None:
            tries.append(1)
            assert b"".join([chunk async for chunk in chunks]) == LAYER

        async with self.client(fake, f"http://{other.address}") as client:
            await client.download(parse_reference(f"{fake.address}/repo:tag"), [fake.image.descriptor], sink)
            assert (len(tries), len(other.requests), len(fake.requests)) == (2, 1, 1)
            assert await read(client, fake) == LAYER
        assert len(other.requests) == 1

    async def test_a_lie_is_told_as_one(self, fake: FakeRegistry, other: FakeRegistry) -> None:
        async def lie(request: web.Request) -> web.StreamResponse:
            return web.Response(body=bytes(len(LAYER)))

        fake.override = other.override = lie

        async def sink(descriptor: Descriptor, chunks: AsyncIterator[bytes]) -> None:
            assert [chunk async for chunk in chunks]

        async with self.client(fake, f"http://{other.address}") as client:
            with pytest.raises(DataLossError) as caught:
                await client.download(parse_reference(f"{fake.address}/repo:tag"), [fake.image.descriptor], sink)
        assert not caught.value.retryable
