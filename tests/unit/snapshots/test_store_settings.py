"""Which backend a URL names."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from cove.exception import Error, InvalidError, ResourceExhaustedError
from snapshots.backends.local import LocalBackend
from snapshots.backends.memory import MemoryBackend
from snapshots.backends.protocol import put_bytes
from snapshots.backends.s3 import S3Access, S3Backend
from snapshots.settings import StoreSettings, open_store


@pytest.mark.parametrize(
    "url",
    [
        "",
        "memory",
        "memory://",
        "MEMORY:",
        "/var/lib/store",
        "file:store",
        "file://host/store",
        "file:store",
        "s3:bucket",
        "s3://",
        "s3:///prefix",
        "s3://bucket/prefix?region=x",
        "s3://bucket:9000/prefix",
        "s3://bucket/pre fix",
        "s3://bucket/../other",
        "s3://bucket/a//b",
        "s3://BUCKET_/a",
        "s3://b",
        "http://bucket",
    ],
)
async def test_other_urls_name_no_store(url: str) -> None:
    with pytest.raises(InvalidError) as caught:
        await open_store(StoreSettings(url=url))
    assert caught.value.remedy


async def test_a_file_url_names_a_directory_and_frees_what_a_crash_left_there(tmp_path: Path) -> None:
    settings = StoreSettings(url=f"file://{tmp_path}/a%20b", reserve_bytes=0)
    store = await open_store(settings)
    assert isinstance(store.backend, LocalBackend)
    left = tmp_path / "a b" / "staged" / "left"
    left.write_bytes(b"")
    await open_store(settings)
    assert not left.exists()


async def test_memory_is_each_stores_own() -> None:
    one, other = [await open_store(StoreSettings(url="memory:")) for _ in range(2)]
    await put_bytes(one.backend, "name", b"")
    with pytest.raises(Error):
        await other.backend.stat("name")


async def test_memory_has_the_capacity_it_is_given() -> None:
    backend = MemoryBackend(capacity_bytes=10)
    await put_bytes(backend, "name", bytes(6))
    with pytest.raises(ResourceExhaustedError):
        await put_bytes(backend, "other", bytes(5))
    await backend.delete("name")
    await put_bytes(backend, "other", bytes(10))


def test_wrong_values_are_refused_when_settings_are_read() -> None:
    for wrong in ({"reserve_bytes": -1}, {"s3_timeout_s": 0}, {"s3_timeout": 1.0}, {}):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({"url": "memory:", **wrong} if wrong else wrong, StoreSettings)


@pytest.mark.parametrize("endpoint", ["", "https://s3.example.org", "http://127.0.0.1:9000"])
def test_plain_http_is_spoken_only_where_it_is_asked_for(endpoint: str) -> None:
    access = S3Access(bucket="bucket", endpoint=endpoint, access_key_id="a", secret_access_key="b")
    client = S3Backend(access, environ={}).client
    assert (client.client_options or {}).get("allow_http") in ({True, "true"} if endpoint.startswith("http:") else {False, "false"})
