"""The store over a real S3 server, with what can go wrong between: cuts, silence, wrong keys, private certificates."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import logging
import os
import ssl
import subprocess
import time
import traceback
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Final

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cove.exception import ConnectionError, Error, InvalidError, NotFoundError, PermissionDeniedError, ResourceExhaustedError
from snapshots.backends.protocol import put_bytes
from snapshots.backends.s3 import S3Access, S3Backend
from snapshots.digest import Digest, digest_of
from snapshots.settings import StoreSettings, open_store
from snapshots.store import Store
from tests.support.leaks import peak_bytes
from tests.support.s3_proxy import Proxy
from tests.support.s3_server import BUCKET, S3Server, s3
from tests.support.store_places import reset_peak_bytes, s3_access

__all__ = ["s3"]

pytestmark = pytest.mark.timeout(120)  # the first test starts the server

MIB: Final = 1 << 20
DATA: Final = b"0123456789abcdef" * 65536 * 20
DIGEST: Final = digest_of(DATA)


async def chunks(data: bytes = DATA) -> AsyncIterator[bytes]:
    for offset in range(0, len(data), MIB):
        yield data[offset : offset + MIB]


async def there(store: Store) -> list[Digest]:
    async with aclosing(store.walk()) as blobs:
        return [blob.digest async for blob in blobs]


async def get(store: Store, digest: Digest = DIGEST) -> bytes:
    async with store.view(digest) as view:
        return await view.read(max_bytes=64 * MIB)


def over(proxy: Proxy, access: S3Access) -> Store:
    """The same place, through the proxy."""
    return Store(S3Backend(msgspec.structs.replace(access, endpoint=proxy.endpoint)))


@pytest.mark.parametrize("cut_after", [0, 1000, 2 * MIB, 15 * MIB])
async def test_an_upload_that_is_cut_for_good_leaves_nothing_visible(s3: S3Server, cut_after: int) -> None:
    access = s3_access(s3, timeout_s=1.0)
    direct = Store(S3Backend(access))
    async with Proxy(s3.port).run() as proxy:
        proxy.cut_up_after = cut_after
        with pytest.raises(ConnectionError):
            await over(proxy, access).put(chunks(), max_bytes=len(DATA))
        assert await there(direct) == []
        proxy.cut_up_after = None
        await over(proxy, access).put(chunks(), max_bytes=len(DATA))
    assert await there(direct) == [DIGEST]
    assert await get(direct) == DATA


async def test_a_passing_fault_in_an_upload_is_not_noticed(s3: S3Server) -> None:
    access = s3_access(s3)
    async with Proxy(s3.port).run() as proxy:
        proxy.cut_up_after, proxy.cuts = 3 * MIB, 2
        await over(proxy, access).put(chunks(), max_bytes=len(DATA))
        assert proxy.cuts < 0
    assert await get(Store(S3Backend(access))) == DATA


async def test_a_download_that_is_cut_gives_the_right_bytes_or_an_error(s3: S3Server) -> None:
    access = s3_access(s3, timeout_s=1.0)
    await Store(S3Backend(access)).put(chunks(), max_bytes=len(DATA))
    async with Proxy(s3.port).run() as proxy:
        proxy.cut_down_after, proxy.cuts = 9 * MIB, 1
        try:
            assert await get(over(proxy, access)) == DATA
        except ConnectionError:
            assert await get(over(proxy, access)) == DATA
        proxy.cuts = None
        with pytest.raises(ConnectionError):
            await get(over(proxy, access))
    assert await get(Store(S3Backend(access))) == DATA


async def test_a_silent_server_is_given_up(s3: S3Server) -> None:
    async with Proxy(s3.port).run() as proxy:
        proxy.stalled = True
        begun_at = time.monotonic()
        with pytest.raises(ConnectionError):
            await put_bytes(over(proxy, s3_access(s3, timeout_s=0.5)).backend, "name", b"data")
        assert time.monotonic() - begun_at < 10


def unnamed_files() -> set[Path]:
    """Files without a name that this process has open."""
    links = [path.readlink() for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    return {path for path in links if path.name.endswith("(deleted)")}


async def test_a_cancelled_upload_leaves_nothing_visible(s3: S3Server) -> None:
    access, before = s3_access(s3), unnamed_files()
    async with Proxy(s3.port).run() as proxy:
        proxy.stalled = True
        upload = asyncio.create_task(over(proxy, access).put(chunks(), max_bytes=len(DATA)))
        await proxy.moved.wait()
        upload.cancel()
        with pytest.raises(asyncio.CancelledError):
            await upload
        assert unnamed_files() == before
    assert await there(Store(S3Backend(access))) == []


async def test_secrets_are_in_no_error_log_or_text(s3: S3Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secret, token = "s3cr3t-" + "k" * 33, "t0k3n-" + "t" * 50
    access = msgspec.structs.replace(s3_access(s3, secret_access_key=secret, timeout_s=1.0), session_token=token)
    backend = S3Backend(access)
    refused = []
    for call in (backend.check(), backend.stat("name"), put_bytes(backend, "name", b""), backend.delete("name")):
        with pytest.raises(PermissionDeniedError) as caught:
            await call
        refused.append(caught.value)
    settings = StoreSettings(url=f"s3://{BUCKET}", s3_access_key_id="id", s3_secret_access_key=secret, s3_session_token=token)
    shown = "".join(traceback.format_exception(error)[-1] + "".join(traceback.format_exception(error)) for error in refused)
    shown += caplog.text + repr(access) + str(access) + repr(settings) + str(settings) + f"{settings.__rich_repr__()}"
    assert secret not in shown
    assert token not in shown
    assert "s3://" in shown


async def test_a_huge_blob_passes_through_little_memory(s3: S3Server) -> None:
    store, size_bytes = Store(S3Backend(s3_access(s3))), 160 * MIB

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(size_bytes // MIB):
            yield DATA[:MIB]

    before = reset_peak_bytes()
    blob = await store.put(pieces(), max_bytes=size_bytes)
    async with store.view(blob.digest) as view:
        read = 0
        async for chunk in view.chunks():
            read += len(chunk)
    assert read == size_bytes
    assert peak_bytes(os.getpid()) - before < size_bytes * 3 // 4  # some parts of 8 MiB, each held by Python and by the client


async def test_a_url_with_credentials_is_not_repeated() -> None:
    with pytest.raises(InvalidError) as caught:
        await open_store(StoreSettings(url="s3://key:{}@bucket/prefix".format("hid" + "den")))
    assert "hidden" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("bucket", ["no-such-bucket"])
async def test_a_bucket_that_is_not_there_is_told_when_the_store_is_opened(s3: S3Server, bucket: str) -> None:
    with pytest.raises(NotFoundError, match=bucket):
        await open_store(settings_for(s3, f"s3://{bucket}"))


def settings_for(server: S3Server, url: str) -> StoreSettings:
    return StoreSettings(
        url=url,
        s3_endpoint=server.endpoint,
        s3_access_key_id=server.access_key_id,
        s3_secret_access_key=server.secret_access_key,
        s3_timeout_s=10.0,
    )


async def test_prefixes_are_stores_of_their_own(s3: S3Server) -> None:
    name = s3_access(s3).prefix.replace("/", "-")
    one, other = [await open_store(settings_for(s3, f"s3://{BUCKET}/{name}/{part}")) for part in ("a", "a-b")]
    await one.put(chunks(b"one"), max_bytes=10)
    await other.put(chunks(b"other"), max_bytes=10)
    assert await there(one) == [digest_of(b"one")]
    assert await there(other) == [digest_of(b"other")]


async def test_nobody_listens() -> None:
    access = S3Access(bucket=BUCKET, endpoint="http://127.0.0.1:9", access_key_id="a", secret_access_key="b", timeout_s=0.5)
    with pytest.raises(ConnectionError):
        await S3Backend(access).check()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A directory with 4 MiB of room."""
    directory = tmp_path / "disk"
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(directory)], check=True)
    yield directory
    subprocess.run(["umount", str(directory)], check=True)


@pytest.mark.needs_root
async def test_a_full_disk_of_the_spool_is_told(s3: S3Server, small_disk: Path) -> None:
    store = Store(S3Backend(msgspec.structs.replace(s3_access(s3), spool_dir=small_disk)))
    with pytest.raises(ResourceExhaustedError):
        await store.put(chunks(), max_bytes=len(DATA))
    await store.put(chunks(b"small"), max_bytes=10)
    assert await there(store) == [digest_of(b"small")]


async def test_a_private_certificate_is_trusted_when_the_environment_says_so(s3: S3Server, tmp_path: Path) -> None:
    bundle, tls = certificates(tmp_path)
    async with Proxy(s3.port).run(tls) as proxy:
        access = msgspec.structs.replace(s3_access(s3, timeout_s=2.0), endpoint=f"https://127.0.0.1:{proxy.port}")
        for variable in ("AWS_CA_BUNDLE", "SSL_CERT_FILE"):
            await put_bytes(S3Backend(access, environ={variable: str(bundle)}), "name", b"data")
        with pytest.raises(ConnectionError):
            await put_bytes(S3Backend(access, environ={}), "name", b"data")
    with pytest.raises(Error, match="certificate bundle"):
        S3Backend(access, environ={"AWS_CA_BUNDLE": str(tmp_path / "missing")})


def certificates(directory: Path) -> tuple[Path, ssl.SSLContext]:
    """A bundle with one authority, and a server's TLS with a certificate of it for 127.0.0.1."""
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("test authority", "test server")]
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in names]
    made = []
    for number, (name, key) in enumerate(zip(names, keys, strict=True)):
        builder = x509.CertificateBuilder(names[0], name, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(hours=1))
        builder = builder.add_extension(x509.BasicConstraints(ca=number == 0, path_length=None), critical=True)
        address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        made.append(builder.add_extension(address, critical=False).sign(keys[0], hashes.SHA256()))
    bundle, chain = directory / "bundle.pem", directory / "server.pem"
    bundle.write_bytes(made[0].public_bytes(serialization.Encoding.PEM))
    private = keys[1].private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    chain.write_bytes(made[1].public_bytes(serialization.Encoding.PEM) + private)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(chain)
    return bundle, tls
