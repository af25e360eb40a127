"""What the client makes of registries and lines that fail, lie, or never end."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import msgspec
import pytest
from aiohttp import web

from cove.exception import (
    AuthError,
    ConnectionError,
    DataLossError,
    Error,
    InvalidError,
    NotFoundError,
    PermissionDeniedError,
    RequestSizeError,
    ResourceExhaustedError,
    ServiceError,
)
from snapshots.registry.client import RegistryClient
from snapshots.registry.push import LayerSource, push
from snapshots.registry.reference import Reference, parse_reference
from snapshots.registry.settings import RegistrySettings
from tests.integration.registry.conftest import LAYER
from tests.integration.registry.faults import ENDLESS, FakeImage, FakeRegistry, Sleeps, cutting_proxy, read, send_and_cut
from tests.integration.registry.sources import Blob, config_of
from tests.support.registry_server import RegistryServer


@pytest.fixture
def sleeps() -> Sleeps:
    return Sleeps()


@pytest.fixture
async def client(fake: FakeRegistry, sleeps: Sleeps) -> AsyncIterator[RegistryClient]:
    async with RegistryClient(fake.address, settings=RegistrySettings(idle_timeout_s=0.5), sleep=sleeps) as opened:
        yield opened


def image_at(address: str) -> Reference:
    return parse_reference(f"{address}/repo:tag")


@pytest.mark.parametrize(
    ("status", "kind", "tries"),
    [
        (400, ServiceError, 1),
        (401, AuthError, 1),
        (403, PermissionDeniedError, 1),
        (404, NotFoundError, 1),
        (408, ServiceError, 5),
        (418, ServiceError, 1),
        (429, ResourceExhaustedError, 5),
        (500, ServiceError, 5),
        (502, ServiceError, 5),
        (503, ServiceError, 5),
        (204, ServiceError, 1),
        (206, ServiceError, 1),
        (300, ServiceError, 1),
    ],
)
async def test_each_status_is_an_error_that_says_what_to_do(
    client: RegistryClient, fake: FakeRegistry, sleeps: Sleeps, status: int, kind: type[Error], tries: int
) -> None:
    async def refuse(request: web.Request) -> web.StreamResponse:
        return web.json_response({"errors": [{"code": "SOME_CODE", "message": "evil \x1b words"}, {"code": "not a code\n"}]}, status=status)

    fake.override = refuse
    with pytest.raises(kind) as caught:
        await client.resolve(image_at(fake.address))
    with pytest.raises(kind):
        await read(client, fake)
    assert (len(fake.asked("/manifests/")), len(fake.asked("/blobs/"))) == (tries, tries)
    assert caught.value.retryable == (tries > 1)
    assert caught.value.remedy
    assert "evil" not in str(caught.value)
    assert "not a code" not in str(caught.value)
    assert len(sleeps.waits_s) == 2 * (tries - 1)


async def test_a_registry_that_recovers_is_not_noticed(client: RegistryClient, fake: FakeRegistry, sleeps: Sleeps) -> None:
    async def flaky(request: web.Request) -> web.StreamResponse | None:
        turn = len(fake.requests) % 4
        return web.Response(status=(500, 200, 429, 503)[turn], headers={"Retry-After": "7"}) if turn != 1 else None

    fake.override = flaky
    assert (await client.resolve(image_at(fake.address))).digest == fake.image.digest
    assert await read(client, fake) == LAYER
    assert 7.0 in sleeps.waits_s


async def test_back_off_grows_and_a_wait_that_is_too_long_is_the_caller_s(
    client: RegistryClient, fake: FakeRegistry, sleeps: Sleeps
) -> None:
    after = ""

    async def refuse(request: web.Request) -> web.StreamResponse:
        return web.Response(status=429, headers={"Retry-After": after})

    fake.override = refuse
    with pytest.raises(ResourceExhaustedError):
        await client.resolve(image_at(fake.address))
    assert [longest / 2 <= wait <= longest for wait, longest in zip(sleeps.waits_s, (0.5, 1, 2, 4), strict=True)] == [True] * 4
    sleeps.waits_s.clear()
    after = "3600"
    with pytest.raises(ResourceExhaustedError) as caught:
        await client.resolve(image_at(fake.address))
    assert (sleeps.waits_s, caught.value.context, caught.value.retryable) == ([], {"retry_after_s": "3600.0"}, True)


async def test_a_cut_download_is_resumed_where_it_was_cut(server: RegistryServer) -> None:
    async with cutting_proxy(server.address, [200_000, 300_000, 1_000_000]) as proxy:
        async with RegistryClient(server.address) as direct:
            image = await direct.resolve(parse_reference(f"{server.address}/two"))
        async with RegistryClient(proxy.address, settings=RegistrySettings(first_delay_s=0.001)) as client:
            reference = parse_reference(f"{proxy.address}/two")
            data = [chunk async for chunk in client.read_blob(reference, image.layers[1])]
    assert sum(map(len, data)) == image.layers[1].size_bytes
    assert proxy.connections == 4


@pytest.mark.parametrize("ignores_range", [False, True])
async def test_each_part_is_asked_for_once(client: RegistryClient, fake: FakeRegistry, ignores_range: bool) -> None:
    async def cut(request: web.Request) -> web.StreamResponse | None:
        start = request.http_range.start or 0
        if len(fake.asked("/blobs/")) > 3:
            return web.Response(body=LAYER) if ignores_range else None
        part = LAYER[start : start + 250_000]
        if start and not ignores_range:
            return await send_and_cut(
                request, part, len(LAYER) - start, **{"Content-Range": f"bytes {start}-{len(LAYER) - 1}/{len(LAYER)}"}
            )
        return await send_and_cut(request, LAYER[: start + 250_000], len(LAYER))

    fake.override = cut
    assert await read(client, fake) == LAYER
    starts = [request.headers.get("Range") for request in fake.asked("/blobs/")]
    assert starts == [None, "bytes=250000-", "bytes=500000-", "bytes=750000-"]


async def test_a_line_that_gives_a_byte_at_a_time_is_given_up(client: RegistryClient, fake: FakeRegistry) -> None:
    async def tease(request: web.Request) -> web.StreamResponse:
        start = request.http_range.start or 0
        headers = {"Content-Range": f"bytes {start}-{len(LAYER) - 1}/{len(LAYER)}"} if start else {}
        return await send_and_cut(request, LAYER[start : start + 1], len(LAYER) - start, **headers)

    fake.override = tease
    with pytest.raises(ConnectionError, match="cut"):
        await read(client, fake)
    assert len(fake.requests) == 5


@pytest.mark.parametrize(
    "content_range", ["", "bytes 0-9/1048576", "bytes 250001-1048575/1048576", "bytes x-y/z", "bytes 250000-1048575/*"]
)
async def test_another_range_than_the_one_asked_for(client: RegistryClient, fake: FakeRegistry, content_range: str) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if "Range" not in request.headers:
            return await send_and_cut(request, LAYER[:250_000], len(LAYER))
        return web.Response(status=206, body=LAYER[250_000:], headers={"Content-Range": content_range} if content_range else {})

    fake.override = answer
    with pytest.raises(ServiceError, match="another range"):
        await read(client, fake)


@pytest.mark.parametrize(
    "body",
    [LAYER[:-1] + b"\0\0", LAYER[:-1], LAYER + b"x", bytes(len(LAYER)), b""],
    ids=["longer", "shorter", "appended", "forged", "empty"],
)
@pytest.mark.parametrize("chunked", [False, True])
async def test_what_is_not_the_blob_is_refused(client: RegistryClient, fake: FakeRegistry, body: bytes, chunked: bool) -> None:
    async def lie(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if chunked:
            response.enable_chunked_encoding()
        else:
            response.content_length = len(body)
        await response.prepare(request)
        await response.write(body)
        return response

    fake.override = lie
    with pytest.raises((DataLossError, ConnectionError)) as caught:
        await read(client, fake)
    if len(body) >= len(LAYER) or not chunked:
        assert isinstance(caught.value, DataLossError)  # and not retried, for it would be the same again
        assert len(fake.requests) == 1


async def test_an_endless_blob_is_cut_at_its_size(client: RegistryClient, fake: FakeRegistry) -> None:
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        while True:
            await response.write(ENDLESS)
            sent += len(ENDLESS)

    fake.override = endless
    with pytest.raises(DataLossError, match="More came"):
        await read(client, fake)
    assert sent < 64 * len(LAYER)


@pytest.mark.parametrize("declared", [True, False])
async def test_a_huge_manifest_is_not_read(client: RegistryClient, fake: FakeRegistry, declared: bool) -> None:
    sent = 0

    async def huge(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        if declared:
            response.content_length = 1 << 40
        await response.prepare(request)
        while True:
            await response.write(ENDLESS)
            sent += len(ENDLESS)

    fake.override = huge
    with pytest.raises(RequestSizeError):
        await client.resolve(image_at(fake.address))
    assert sent < 64 << 20
    assert len(fake.requests) == 1


async def test_a_manifest_with_another_digest_is_refused(client: RegistryClient, fake: FakeRegistry) -> None:
    other = msgspec.json.format(fake.image.manifest, indent=1)

    async def swap(request: web.Request) -> web.StreamResponse | None:
        if "/manifests/" not in request.path:
            return None
        header = {"Docker-Content-Digest": fake.image.digest}
        return web.Response(body=other, content_type="application/vnd.oci.image.manifest.v1+json", headers=header)

    fake.override = swap
    for reference in (f"{fake.address}/repo:tag", f"{fake.address}/repo@{fake.image.digest}"):
        with pytest.raises(DataLossError, match="another digest"):
            await client.resolve(parse_reference(reference))


@pytest.mark.parametrize("junk", [b"", b"{", b"null", b"[" * 100_000, b"<html>login</html>", b"\xff\xfe", b'{"schemaVersion":2}'])
async def test_a_manifest_that_is_none(client: RegistryClient, fake: FakeRegistry, junk: bytes) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(body=junk, content_type="application/vnd.oci.image.manifest.v1+json")

    fake.override = answer
    with pytest.raises(InvalidError):
        await client.resolve(image_at(fake.address))


async def test_silence_is_a_time_out(client: RegistryClient, fake: FakeRegistry) -> None:
    forever = asyncio.Event()

    async def hang(request: web.Request) -> web.StreamResponse:
        await forever.wait()
        return web.Response()

    fake.override = hang
    client.settings = RegistrySettings(attempts=2)
    with pytest.raises(ConnectionError, match="took too long"):
        await client.resolve(image_at(fake.address))
    assert len(fake.requests) == 2
    forever.set()


async def test_a_manifest_that_drips_is_given_up(fake: FakeRegistry, sleeps: Sleeps) -> None:
    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" ")
            await asyncio.sleep(0.01)

    fake.override = drip
    settings = RegistrySettings(document_timeout_s=0.2, attempts=2)
    async with RegistryClient(fake.address, settings=settings, sleep=sleeps) as client:
        with pytest.raises(ConnectionError, match="took too long"):
            await client.resolve(image_at(fake.address))
    assert len(fake.requests) == 2


async def test_a_drip_is_cut(fake: FakeRegistry, sleeps: Sleeps) -> None:
    """Each byte comes in time, but the whole would never."""

    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = len(LAYER)
        await response.prepare(request)
        for position in range(len(LAYER)):
            await response.write(LAYER[position : position + 1])
            await asyncio.sleep(0.01)
        return response

    fake.override = drip
    settings = RegistrySettings(stall_window_s=0.2, attempts=2)
    async with RegistryClient(fake.address, settings=settings, sleep=sleeps) as client:
        with pytest.raises(ConnectionError, match=r"sent [0-9]+ bytes in"):
            await read(client, fake)


async def test_a_slow_reader_is_not_a_slow_line(fake: FakeRegistry) -> None:
    settings = RegistrySettings(stall_window_s=0.05, attempts=1)
    async with RegistryClient(fake.address, settings=settings) as client:
        received = 0
        async for chunk in client.read_blob(image_at(fake.address), fake.image.descriptor):
            received += len(chunk)
            await asyncio.sleep(0.06)
    assert received == len(LAYER)


@pytest.mark.parametrize(
    "answer",
    [b"junk\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", b""],
)
async def test_what_is_not_http(answer: bytes, sleeps: Sleeps) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with RegistryClient(address, sleep=sleeps) as client:
            with pytest.raises((ServiceError, ConnectionError)) as caught:
                await client.resolve(image_at(address))
    assert len(str(caught.value)) < 300


async def test_nobody_listens(sleeps: Sleeps) -> None:
    async with FakeRegistry(FakeImage(b"")) as gone:
        address = gone.address
    async with RegistryClient(address, sleep=sleeps) as client:
        with pytest.raises(ConnectionError, match="no connection with"):
            await client.resolve(image_at(address))
    assert len(sleeps.waits_s) == 4


async def test_a_push_survives_failures_and_a_wrong_echo_is_seen(client: RegistryClient, fake: FakeRegistry) -> None:
    blob, stored, lies, seen = Blob(LAYER), dict[str, bytes](), False, set[str]()

    async def flaky(request: web.Request) -> web.StreamResponse:
        if (step := f"{request.method} {request.path}") not in seen:
            seen.add(step)
            return web.Response(status=503)
        match request.method:
            case "HEAD":
                return web.Response(status=404)
            case "POST":
                return web.Response(status=202, headers={"Location": "/v2/repo/blobs/uploads/1?_state=a%2Fb%20c"})
            case "PUT":
                stored[request.raw_path] = await request.read()
                return web.Response(status=201)
        return web.Response(body=b"{}" if lies else stored["/v2/repo/manifests/tag"])

    fake.override = flaky
    config = config_of(blob.descriptor.digest)
    await push(client, image_at(fake.address), config, [blob.source()], parallel=1)
    assert stored[f"/v2/repo/blobs/uploads/1?_state=a%2Fb%20c&digest={blob.descriptor.digest.replace(':', '%3A')}"] == LAYER
    lies = True
    with pytest.raises(DataLossError, match="another manifest"):
        await push(client, image_at(fake.address), config, [blob.source()], parallel=1)


async def test_a_registry_that_stops_taking_an_upload(fake: FakeRegistry, sleeps: Sleeps) -> None:
    enough = asyncio.Event()

    async def stop(request: web.Request) -> web.StreamResponse:
        match request.method:
            case "HEAD":
                return web.Response(status=404)
            case "POST":
                return web.Response(status=202, headers={"Location": "/upload"})
        await enough.wait()
        return web.Response(status=201)

    fake.override = stop
    data = random.Random(1).randbytes(1 << 20) * 16  # more than buffers hold
    blob = Blob(data)
    settings = RegistrySettings(idle_timeout_s=0.3, attempts=2)
    async with RegistryClient(fake.address, settings=settings, sleep=sleeps) as client:
        with pytest.raises(ConnectionError, match="stopped taking"):
            await push(client, image_at(fake.address), config_of(blob.descriptor.digest), [blob.source()], parallel=1)
    assert blob.opened == 2
    enough.set()


async def test_a_failed_layer_stops_the_others(client: RegistryClient, fake: FakeRegistry) -> None:
    async def refuse(request: web.Request) -> web.StreamResponse:
        return web.Response(status=403)

    fake.override = refuse
    blobs = [Blob(bytes([n])) for n in range(20)]
    sources: list[LayerSource] = [blob.source() for blob in blobs]
    with pytest.raises(PermissionDeniedError):
        await push(client, image_at(fake.address), config_of(*[blob.descriptor.digest for blob in blobs]), sources, parallel=2)
    assert len(fake.requests) <= 3
    assert [blob.opened for blob in blobs] == [0] * 20
