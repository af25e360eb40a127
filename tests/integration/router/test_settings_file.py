"""A router's settings from a file with tables, and the router that comes of it: its store on S3, its registries, its default images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from cove.exception import InvalidError
from router.settings import RouterSettings, load
from snapshots.backends.s3 import S3Backend
from tests.integration.registry.faults import FakeImage, FakeRegistry
from tests.integration.router.conftest import running_cluster
from tests.integration.router.image_client import bench_on, build, context_file, definition, layer
from tests.support.s3_server import BUCKET, S3Server
from tests.support.store_places import s3_access


def loaded(tmp_path: Path, text: str, environ: Mapping[str, str] | None = None) -> RouterSettings:
    """As ``cove-router`` reads them."""
    file = tmp_path / "router.toml"
    file.write_text(f'state_dir = "{tmp_path}"\ngrpc_address = "127.0.0.1:0"\nhttp_address = "127.0.0.1:0"\n{text}')
    return load(environ={"COVE_ROUTER_CONFIG": str(file), **(environ or {})})


def store_table(server: S3Server, prefix: str) -> str:
    return f"""
[store]
url = "s3://{BUCKET}/{prefix}"
s3_endpoint = "{server.endpoint}"
s3_access_key_id = "{server.access_key_id}"
s3_secret_access_key = "{server.secret_access_key}"
"""


async def names_at(server: S3Server, prefix: str) -> list[str]:
    backend = S3Backend(msgspec.structs.replace(s3_access(server), prefix=f"{prefix}/"))
    return [item.name async for item in backend.list_("")]


def test_tables_are_read(tmp_path: Path) -> None:
    settings = loaded(
        tmp_path,
        """
[store]
url = "s3://bucket/some/prefix"
s3_region = "eu-central-1"
[registry]
insecure_registries = ["registry.example:5000"]
connect_timeout_s = 3
registry_mirrors = { "docker.io" = ["https://mirror.example"] }
aws_sts_endpoint = "https://sts.example"
[default_images]
username = "puller"
images = { "3.12" = "registry.example/python:3.12" }
""",
    )
    assert (settings.store_settings.url, settings.store_settings.s3_region) == ("s3://bucket/some/prefix", "eu-central-1")
    assert settings.registry.registry_mirrors == {"docker.io": ["https://mirror.example"]}
    assert (settings.registry.insecure_registries, settings.registry.connect_timeout_s) == (["registry.example:5000"], 3.0)
    assert settings.default_images.pythons == ["3.12"]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ('[store]\nurl = "s3://b"\nbucket = "x"', "bucket"),
        ("[registry]\nmirrors = {}", "mirrors"),
        ("[registry]\nconnect_timeout_s = 0", "connect_timeout_s"),
        ('[registry]\nregistry_mirrors = { "docker.io" = ["ftp://x"] }', "URL"),
        ('[registry]\naws_sts_endpoint = "https://user:pass-word@x"', "user and password"),
        ('[default_images]\nimages = { "3" = "x" }', "images"),
        ('[default_images]\nimages = { "3.12" = "NOT ONE" }', "NOT ONE"),
        ('store_url = "s3://a"\n[store]\nurl = "s3://b"', "both"),
    ],
)
def test_wrong_tables_are_named(tmp_path: Path, text: str, match: str) -> None:
    with pytest.raises(InvalidError, match=match) as caught:
        loaded(tmp_path, text)
    assert "pass-word" not in str(caught.value)


async def test_a_router_keeps_its_store_on_s3(tmp_path: Path, s3: S3Server) -> None:
    settings = loaded(tmp_path, store_table(s3, "router-one"))
    async with running_cluster(settings) as cluster, bench_on(cluster) as bench:
        file = await context_file(cluster, "a.txt", b"content in a bucket")
        what = definition(layer("COPY a.txt /a.txt", context=[file]))
        made = await build(cluster.client, what)
        assert bench.work.layers.layers[bench.work.layers.taken[-1].layer_id]["/a.txt"].content == b"content in a bucket"
    assert any(file.sha256.hex() in name for name in await names_at(s3, "router-one"))
    assert not (tmp_path / "router" / "store").exists()
    async with running_cluster(settings) as cluster, bench_on(cluster):
        assert (await build(cluster.client, what)).image.image_id == made.image.image_id


async def test_pulls_go_to_s3_and_through_a_mirror(tmp_path: Path, s3: S3Server) -> None:
    async with FakeRegistry(FakeImage(b"layer of the mirror")) as mirror:
        table = f'[registry]\nregistry_mirrors = {{ "registry.example" = ["http://{mirror.address}"] }}\n'
        settings = loaded(tmp_path, store_table(s3, "router-two") + table)
        async with running_cluster(settings) as cluster:
            made = await build(cluster.client, definition(registry={"reference": "registry.example/repo:tag"}))
    assert made.image.stored
    assert any(mirror.image.descriptor.digest.removeprefix("sha256:") in name for name in await names_at(s3, "router-two"))


async def test_credentials_of_the_environment(tmp_path: Path, s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.secret_access_key)
    table = "\n".join(line for line in store_table(s3, "router-three").splitlines() if "_key" not in line)
    async with running_cluster(loaded(tmp_path, table)) as cluster:
        file = await context_file(cluster, "a.txt", b"by environment")
    assert any(file.sha256.hex() in name for name in await names_at(s3, "router-three"))


async def test_a_store_that_refuses_stops_the_start(tmp_path: Path, s3: S3Server) -> None:
    table = store_table(s3, "router-four").replace(s3.secret_access_key, "wrong-secret")
    with pytest.raises(Exception, match="store") as caught:
        async with running_cluster(loaded(tmp_path, table)):
            raise AssertionError("it started")
    assert "wrong-secret" not in str(caught.value)
