"""Pushing to a real registry, and what a standard tool makes of it."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import tarfile
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import msgspec
import pytest
import zstandard

from cove.exception import DataLossError, InvalidError, NotFoundError
from snapshots.digest import digest_of
from snapshots.registry.client import RegistryClient
from snapshots.registry.descriptor import OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD, Descriptor
from snapshots.registry.push import LayerSource, push
from snapshots.registry.reference import parse_reference
from tests.integration.registry.sources import Blob, config_of
from tests.support.registry_server import RegistryServer, skopeo

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    OCI_LAYER: bytes,
    OCI_LAYER_GZIP: lambda tar: gzip.compress(tar, mtime=0),
    OCI_LAYER_ZSTD: zstandard.compress,
}


def tar_of(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


async def test_skopeo_takes_what_was_pushed(client: RegistryClient, server: RegistryServer, tmp_path: Path) -> None:
    tars = {media_type: tar_of(**{f"f{n}": random.Random(n).randbytes(400_000)}) for n, media_type in enumerate(COMPRESS)}
    blobs = [Blob(COMPRESS[media_type](tar), media_type=media_type) for media_type, tar in tars.items()]
    config = config_of(*map(digest_of, tars.values()))
    reference = parse_reference(f"{server.address}/pushed/image:v1")
    digest = await push(client, reference, config, [blob.source() for blob in blobs])

    said = json.loads(skopeo("inspect", f"docker://{reference}"))
    assert (said["Digest"], said["Layers"]) == (digest, [blob.descriptor.digest for blob in blobs])
    assert (said["Env"], said["Labels"], said["Architecture"]) == (["A=b"], {"k": "v"}, "amd64")
    skopeo("copy", f"docker://{reference}", f"dir:{tmp_path}/copied")  # verifies every digest
    for blob in blobs:
        assert (tmp_path / "copied" / blob.descriptor.digest.removeprefix("sha256:")).read_bytes() == blob.data
    image = await client.resolve(reference)
    assert (image.digest, image.config.cmd, image.config.workdir) == (digest, ("/hello",), "/w")
    assert image.layers == tuple(blob.descriptor for blob in blobs)


async def test_what_the_registry_has_is_not_sent_again(client: RegistryClient, server: RegistryServer) -> None:
    blob = Blob(random.Random(1).randbytes(300_000), media_type=OCI_LAYER)
    for tag in ("a", "b"):
        await push(client, parse_reference(f"{server.address}/again:{tag}"), config_of(digest_of(blob.data)), [blob.source()])
    assert blob.opened == 1


async def test_a_layer_is_mounted_from_another_repository(client: RegistryClient, server: RegistryServer) -> None:
    blob = Blob(random.Random(2).randbytes(300_000), media_type=OCI_LAYER)
    config = config_of(digest_of(blob.data))
    await push(client, parse_reference(f"{server.address}/mount/from"), config, [blob.source()])
    await push(client, parse_reference(f"{server.address}/mount/to"), config, [blob.source(mount_from="mount/from")])
    assert blob.opened == 1
    await push(client, parse_reference(f"{server.address}/mount/other"), config, [blob.source(mount_from="mount/nowhere")])
    assert blob.opened == 2


@pytest.mark.parametrize("data", [b"", b"x"])
async def test_the_smallest_blobs_and_an_image_without_layers(client: RegistryClient, server: RegistryServer, data: bytes) -> None:
    blob = Blob(data, media_type=OCI_LAYER)
    reference = parse_reference(f"{server.address}/small:n{len(data)}")
    await push(client, reference, config_of(digest_of(data)), [blob.source()])
    assert [chunk async for chunk in client.read_blob(reference, blob.descriptor)] == ([data] if data else [])
    none = parse_reference(f"{server.address}/small:none")
    digest = await push(client, none, config_of(), [])
    assert (await client.resolve(none)).digest == digest


async def test_a_layer_many_times_is_sent_once(client: RegistryClient, server: RegistryServer) -> None:
    blob = Blob(b"twice" * 1000, media_type=OCI_LAYER)
    reference = parse_reference(f"{server.address}/twice")
    await push(client, reference, config_of(*[digest_of(blob.data)] * 2), [blob.source(), blob.source()])
    assert blob.opened == 1
    assert len((await client.resolve(reference)).layers) == 2


@pytest.mark.parametrize("wrong", [b"y" * 300_000, b"x" * 299_999, b"x" * 300_001, b""])
async def test_data_that_is_not_the_descriptor_s_is_not_stored(client: RegistryClient, server: RegistryServer, wrong: bytes) -> None:
    blob = Blob(wrong, claims=b"x" * 300_000)
    reference = parse_reference(f"{server.address}/wrong:n{len(wrong)}")
    with pytest.raises(DataLossError, match="not what it should be"):
        await push(client, reference, config_of(blob.descriptor.digest), [blob.source()])
    assert blob.opened == 1
    assert not server.blob_file(blob.descriptor.digest).exists()
    with pytest.raises(NotFoundError):
        await client.resolve(reference)


@pytest.mark.parametrize("error", [NotFoundError("the layer is gone"), OSError("the layer is gone"), ValueError("the layer is gone")])
async def test_an_error_of_the_source_is_the_push_s_error(client: RegistryClient, server: RegistryServer, error: Exception) -> None:
    opened: list[int] = []

    async def broken() -> AsyncGenerator[bytes, None]:
        opened.append(1)
        yield b"x"
        raise error

    descriptor = Descriptor(OCI_LAYER, digest_of(b"other"), 5)
    with pytest.raises(type(error), match="the layer is gone"):
        await push(client, parse_reference(f"{server.address}/broken"), config_of(descriptor.digest), [LayerSource(descriptor, broken)])
    assert len(opened) == 1


async def test_a_push_to_a_digest_is_to_that_digest(client: RegistryClient, server: RegistryServer) -> None:
    with pytest.raises(InvalidError, match="another image"):
        await push(client, parse_reference(f"{server.address}/pinned@sha256:{'0' * 64}"), config_of(), [])
    digest = await push(client, parse_reference(f"{server.address}/pinned:tag"), config_of(), [])
    assert await push(client, parse_reference(f"{server.address}/pinned@{digest}"), config_of(), []) == digest


async def test_a_config_must_fit_its_layers(client: RegistryClient, server: RegistryServer) -> None:
    with pytest.raises(InvalidError, match="1 layers"):
        await push(client, parse_reference(f"{server.address}/unfit"), config_of(digest_of(b"x")), [])
    foreign = msgspec.structs.replace(Blob(b"x").descriptor, media_type="application/octet-stream")
    with pytest.raises(Exception, match="media type"):
        await push(
            client, parse_reference(f"{server.address}/unfit"), config_of(digest_of(b"x")), [LayerSource(foreign, Blob(b"x").chunks)]
        )


async def test_pushing_changes_a_tag_at_the_end_only(client: RegistryClient, server: RegistryServer) -> None:
    reference = parse_reference(f"{server.address}/moved:tag")
    before = await push(client, reference, config_of(), [])
    blob = Blob(b"bad", claims=b"good")
    with pytest.raises(DataLossError):
        await push(client, reference, config_of(blob.descriptor.digest), [blob.source()])
    assert (await client.resolve(reference)).digest == before


async def test_the_digest_is_over_the_manifest_s_bytes(client: RegistryClient, server: RegistryServer) -> None:
    reference = parse_reference(f"{server.address}/bytes")
    digest = await push(client, reference, config_of(), [])
    raw = skopeo("inspect", "--raw", f"docker://{reference}")
    assert f"sha256:{hashlib.sha256(raw.encode()).hexdigest()}" == digest
