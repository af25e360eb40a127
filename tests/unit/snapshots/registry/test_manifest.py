"""Manifests, indexes and configs from hostile bytes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cove.exception import Error, InvalidError, RequestSizeError, UnimplementedError
from snapshots.digest import digest_of
from snapshots.registry.descriptor import (
    DOCKER_CONFIG,
    DOCKER_INDEX,
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER_ZSTD,
    OCI_MANIFEST,
    Descriptor,
)
from snapshots.registry.image_config import ImageConfig, encode_config, parse_config
from snapshots.registry.manifest import Index, Manifest, encode_manifest, parse_document
from snapshots.registry.platforms import Platform

DIGEST = digest_of(b"")
FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"


def blob(media_type: str = OCI_LAYER_ZSTD, **changes: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": DIGEST, "size": 7, **changes}


def manifest(**changes: Any) -> dict[str, Any]:
    return {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": blob(OCI_CONFIG), "layers": [blob()], **changes}


def index(*entries: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(entries), **changes}


def parse(document: Any, content_type: str | None = None) -> Manifest | Index:
    return parse_document(json.dumps(document).encode(), content_type)


def test_an_oci_manifest() -> None:
    expected = Manifest(OCI_MANIFEST, Descriptor(OCI_CONFIG, DIGEST, 7), (Descriptor(OCI_LAYER_ZSTD, DIGEST, 7),))
    assert parse(manifest(annotations={"a": "b"}, subject=None, unknown=[1])) == expected
    assert parse(manifest(mediaType=None), f"{OCI_MANIFEST}; charset=utf-8") == expected


def test_a_docker_manifest() -> None:
    document = manifest(mediaType=DOCKER_MANIFEST, config=blob(DOCKER_CONFIG), layers=[blob(DOCKER_LAYER_GZIP)])
    parsed = parse(document, DOCKER_MANIFEST)
    assert isinstance(parsed, Manifest)
    assert parsed.layers[0].compression == "gzip"


def test_an_index_keeps_what_it_cannot_use_for_the_choice() -> None:
    odd = blob("application/x", platform={"os": "windows", "architecture": "amd64", "os.version": "10", "os.features": ["win32k"]})
    parsed = parse(index(odd, blob(OCI_MANIFEST), blob(platform={"architecture": "arm", "os": "linux", "variant": "v7"})), None)
    assert isinstance(parsed, Index)
    assert [entry.platform for entry in parsed.entries] == [Platform("windows", "amd64"), None, Platform("linux", "arm", "v7")]
    assert isinstance(parse(index(mediaType=DOCKER_INDEX), DOCKER_INDEX), Index)


@pytest.mark.parametrize(
    ("document", "content_type"),
    [
        ([], OCI_MANIFEST),
        ({}, OCI_MANIFEST),
        (manifest(schemaVersion=3), None),
        (manifest(schemaVersion="2"), None),
        (manifest(mediaType=None), None),
        (manifest(mediaType=None), "text/html"),
        (manifest(mediaType="application/vnd.cncf.helm.chart"), None),
        (manifest(), DOCKER_MANIFEST),
        (manifest(), OCI_INDEX),
        (manifest(manifests=[]), None),
        (index(layers=[]), None),
        (index(config=blob()), None),
        (manifest(mediaType=OCI_INDEX), None),
        (index(mediaType=OCI_MANIFEST), None),
        (manifest(config=None), None),
        (manifest(config=blob("application/vnd.unknown.config")), None),
        (manifest(config=blob(OCI_CONFIG, size=(8 << 20) + 1)), None),
        (manifest(layers=None), None),
        (manifest(layers=[blob()] * 501), None),
        (manifest(layers=[blob(size=-1)]), None),
        (manifest(layers=[blob(size=1 << 60)]), None),
        (manifest(layers=[blob(size=10**400)]), None),
        (manifest(layers=[blob(size=1.5)]), None),
        (manifest(layers=[blob(digest="sha256:xyz")]), None),
        (manifest(layers=[blob(digest="sha512:" + "0" * 128)]), None),
        (manifest(layers=[blob(digest="../../etc/passwd")]), None),
        (manifest(layers=[{"mediaType": OCI_LAYER_ZSTD}]), None),
        (index(*[blob(OCI_MANIFEST)] * 1_001), None),
        (index(blob(OCI_MANIFEST, size=1 << 30)), None),
    ],
)
def test_what_is_not_an_image_is_refused(document: Any, content_type: str | None) -> None:
    with pytest.raises(InvalidError):
        parse(document, content_type)


@pytest.mark.parametrize(
    ("document", "content_type"),
    [
        (manifest(layers=[blob(FOREIGN, urls=["https://elsewhere.example"])]), None),
        (manifest(layers=[blob("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip")]), None),
        (manifest(layers=[blob("application/vnd.oci.image.layer.v1.tar+gzip+encrypted")]), None),
        ({"schemaVersion": 1, "fsLayers": []}, "application/vnd.docker.distribution.manifest.v1+prettyjws"),
        (manifest(fsLayers=[{}]), None),
    ],
)
def test_what_cannot_be_used_says_so(document: Any, content_type: str | None) -> None:
    with pytest.raises(UnimplementedError) as caught:
        parse(document, content_type)
    assert caught.value.remedy


def test_sizes_are_bounded_before_parsing() -> None:
    with pytest.raises(RequestSizeError):
        parse_document(b" " * (4 << 20) + b"{}", OCI_MANIFEST)
    with pytest.raises(InvalidError):
        parse_document(b'{"x":' * 100_000, OCI_MANIFEST)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from([OCI_MANIFEST, OCI_INDEX, OCI_CONFIG, DIGEST]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["mediaType", "digest", "size", "platform", "os", "architecture", "schemaVersion"]), inner, max_size=4
        )
    ),
    max_leaves=10,
)


@given(changes=st.dictionaries(st.sampled_from(["schemaVersion", "mediaType", "config", "layers", "manifests", "fsLayers"]), JSON))
def test_anything_in_the_place_of_fields_is_read_or_refused(changes: dict[str, Any]) -> None:
    for document in (manifest(**changes), index(**changes)):
        try:
            parsed = parse(document)
        except Error:
            continue
        assert isinstance(parsed, Manifest | Index)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_with_our_errors(data: bytes) -> None:
    with pytest.raises(Error):
        parse_document(data, OCI_MANIFEST)
    with pytest.raises(Error):
        parse_config(data, 0)


def config(runtime: Any = None, **changes: Any) -> bytes:
    rootfs = {"type": "layers", "diff_ids": [DIGEST]}
    return json.dumps({"os": "linux", "architecture": "amd64", "rootfs": rootfs, "config": runtime, **changes}).encode()


def test_a_config_with_nulls_is_an_empty_one() -> None:
    fields = ("Env", "Cmd", "Entrypoint", "Shell", "Labels", "ExposedPorts", "WorkingDir", "User", "StopSignal")
    nulls: dict[str, Any] = {**dict.fromkeys(fields), "Volumes": {"/v": {}}}
    assert parse_config(config(nulls), 1) == parse_config(config(), 1) == ImageConfig(platform=Platform(), diff_ids=(DIGEST,))


@pytest.mark.parametrize(
    ("data", "layers"),
    [
        (config(), 0),
        (config(), 2),
        (config(rootfs={"type": "layers", "diff_ids": None}), 1),
        (config(rootfs={"type": "snapshots", "diff_ids": [DIGEST]}), 1),
        (config(rootfs={"type": "layers", "diff_ids": ["sha256:0"]}), 1),
        (config(rootfs=None), 0),
        (config(os=None), 1),
        (config({"Env": ["A=\0"]}), 1),
        (config({"Env": ["A"] * 10_000}), 1),
        (config({"Env": ["x" * 2_000_000]}), 1),
        (config({"Env": "A=b"}), 1),
        (config({"Cmd": [1]}), 1),
        (config({"User": "a\0b"}), 1),
        (config({"Labels": {"a": "\0"}}), 1),
        (b'{"os":"linux","architecture":"amd64","rootfs":{"type":"layers"},"config":{"Env":["\\ud800"]}}', 0),
    ],
)
def test_a_config_that_cannot_be_right(data: bytes, layers: int) -> None:
    with pytest.raises(InvalidError):
        parse_config(data, layers)


def test_what_is_written_is_read_again_and_always_the_same() -> None:
    written = ImageConfig(
        platform=Platform("linux", "arm64", "v8"),
        diff_ids=(DIGEST, digest_of(b"2")),
        env=("B=1", "A=é"),
        entrypoint=("/e",),
        cmd=("a", "b c"),
        shell=("/bin/bash", "-c"),
        workdir="/w",
        user="1000:1000",
        stop_signal="SIGINT",
        labels={"b": "1", "a": "2"},
        exposed_ports=("53/udp", "80/tcp"),
    )
    data = encode_config(written)
    assert parse_config(data, 2) == written
    reordered = ImageConfig(**{**{field: getattr(written, field) for field in written.__struct_fields__}, "labels": {"a": "2", "b": "1"}})
    assert encode_config(reordered) == data


def test_a_manifest_that_could_not_be_pulled_is_not_written() -> None:
    good = Descriptor(OCI_CONFIG, DIGEST, 7)
    with pytest.raises(UnimplementedError):
        encode_manifest(good, [Descriptor(FOREIGN, DIGEST, 7)])
    with pytest.raises(InvalidError):
        encode_manifest(good, [Descriptor(OCI_LAYER_ZSTD, DIGEST, 7)] * 501)
