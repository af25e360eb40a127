"""Pulling from a real registry what a standard tool put there."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import zstandard

from cove.exception import DataLossError, InvalidError, NotFoundError
from snapshots.digest import Digest
from snapshots.registry.client import RegistryClient
from snapshots.registry.descriptor import Descriptor
from snapshots.registry.platforms import Platform, parse_platform
from snapshots.registry.reference import Reference, parse_reference
from tests.integration.registry.conftest import BIG
from tests.support.registry_server import RegistryServer, skopeo


def reference(server: RegistryServer, name: str) -> Reference:
    return parse_reference(f"{server.address}/{name}")


async def read(client: RegistryClient, image: Reference, descriptor: Descriptor) -> bytes:
    return b"".join([chunk async for chunk in client.read_blob(image, descriptor)])


def member(tar: bytes, name: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        found = archive.extractfile(name)
        assert found is not None
        return found.read()


@pytest.mark.parametrize("name", ["two", "two:docker"])
async def test_an_image_is_what_skopeo_says_it_is(client: RegistryClient, server: RegistryServer, name: str) -> None:
    said = json.loads(skopeo("inspect", f"docker://{server.address}/{name}"))
    image = await client.resolve(reference(server, name))
    assert (image.digest, [layer.digest for layer in image.layers]) == (said["Digest"], said["Layers"])
    assert image.manifest_digest == image.digest
    assert image.config.env == tuple(said["Env"])
    assert "GREETING=hello" in image.config.env
    assert image.config.platform == Platform("linux", "amd64")


@pytest.mark.parametrize("name", ["two", "two:docker", "zstd"])
async def test_layers_unpack_to_the_config_s_diff_ids(client: RegistryClient, server: RegistryServer, name: str) -> None:
    image = await client.resolve(reference(server, name))
    assert {layer.compression for layer in image.layers} == {"zstd" if name == "zstd" else "gzip"}
    for layer, diff_id in zip(image.layers, image.config.diff_ids, strict=True):
        data = await read(client, reference(server, name), layer)
        tar = zstandard.ZstdDecompressor().decompressobj().decompress(data) if name == "zstd" else gzip.decompress(data)
        assert f"sha256:{hashlib.sha256(tar).hexdigest()}" == diff_id
    assert member(tar, "big") == BIG


@pytest.mark.parametrize(("platform", "layers"), [("linux/amd64", 2), ("linux/arm64", 1), ("linux/arm64/v8", 1)])
async def test_an_index_has_an_image_for_each_platform(client: RegistryClient, server: RegistryServer, platform: str, layers: int) -> None:
    image = await client.resolve(reference(server, "multi"), parse_platform(platform))
    assert len(image.layers) == layers
    assert image.config.platform.architecture == platform.split("/")[1]
    assert image.digest != image.manifest_digest
    pinned = await client.resolve(reference(server, f"multi@{image.digest}"), parse_platform(platform))
    assert pinned == image


async def test_a_platform_that_is_not_there_is_refused_with_those_that_are(client: RegistryClient, server: RegistryServer) -> None:
    with pytest.raises(InvalidError, match=r"not made for linux/s390x; there is linux/amd64, linux/arm64/v8"):
        await client.resolve(reference(server, "multi"), parse_platform("linux/s390x"))
    with pytest.raises(InvalidError, match="made for linux/amd64, not for linux/arm64"):
        await client.resolve(reference(server, "two"), parse_platform("linux/arm64"))


@pytest.mark.parametrize("name", ["two:none", "nothing", f"two@sha256:{'0' * 64}"])
async def test_what_is_not_there_is_not_found(client: RegistryClient, server: RegistryServer, name: str) -> None:
    with pytest.raises(NotFoundError, match="UNKNOWN") as caught:
        await client.resolve(reference(server, name))
    assert str(reference(server, name)) in str(caught.value)
    assert not caught.value.retryable


async def test_download_gives_each_blob_once(client: RegistryClient, server: RegistryServer) -> None:
    image = await client.resolve(reference(server, "two"))
    got: dict[str, str] = {}

    async def sink(descriptor: Descriptor, chunks: AsyncIterator[bytes]) -> None:
        data = b"".join([chunk async for chunk in chunks])
        assert descriptor.digest not in got
        got[descriptor.digest] = f"sha256:{hashlib.sha256(data).hexdigest()}"

    await client.download(reference(server, "two"), image.layers * 2, sink, parallel=3)
    assert got == {layer.digest: layer.digest for layer in image.layers}


async def test_an_error_of_a_sink_ends_the_download_and_is_told(client: RegistryClient, server: RegistryServer) -> None:
    image = await client.resolve(reference(server, "two"))

    async def sink(descriptor: Descriptor, chunks: AsyncIterator[bytes]) -> None:
        async for _ in chunks:
            raise ValueError("no room")

    with pytest.raises(ValueError, match="no room"):
        await client.download(reference(server, "two"), image.layers, sink)


async def test_a_reference_to_another_registry_is_refused(client: RegistryClient) -> None:
    with pytest.raises(InvalidError, match="is not at"):
        await client.resolve(parse_reference("debian"))


@pytest.mark.parametrize("damage", ["flip", "cut", "grow"])
async def test_a_blob_that_the_registry_damaged_is_refused(
    client: RegistryClient, server: RegistryServer, tmp_path: Path, damage: str
) -> None:
    image = await client.resolve(reference(server, "two"))
    file = server.blob_file(image.layers[1].digest)
    whole = file.read_bytes()
    damaged = {"flip": whole[:-1] + bytes([whole[-1] ^ 1]), "cut": whole[:-1], "grow": whole + b"x"}[damage]
    file.write_bytes(damaged)
    try:
        with pytest.raises(DataLossError) as caught:
            await read(client, reference(server, "two"), image.layers[1])
        assert not caught.value.retryable
    finally:
        file.write_bytes(whole)


async def test_a_reader_that_stops_leaves_nothing_open(client: RegistryClient, server: RegistryServer) -> None:
    image = await client.resolve(reference(server, "two"))
    stream = client.read_blob(reference(server, "two"), image.layers[1])
    async for chunk in stream:
        assert 0 < len(chunk) < image.layers[1].size_bytes
        break
    await stream.aclose()
    assert await read(client, reference(server, "two"), image.layers[0])


async def test_an_empty_blob_needs_no_request(client: RegistryClient, server: RegistryServer) -> None:
    empty = Digest(f"sha256:{hashlib.sha256(b'').hexdigest()}")
    wrong = Digest(f"sha256:{'1' * 64}")
    assert await read(client, reference(server, "two"), Descriptor("x", empty, 0)) == b""
    with pytest.raises(DataLossError):
        await read(client, reference(server, "two"), Descriptor("x", wrong, 0))
