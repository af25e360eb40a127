"""Where credentials go and where not: redirects, token services, mirrors, proxies, and the machine's own files."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cove.exception import AuthError, ConnectionError, DataLossError, ServiceError
from snapshots.registry.client import RegistryClient
from snapshots.registry.credentials import Credentials
from snapshots.registry.descriptor import Descriptor
from snapshots.registry.push import push
from snapshots.registry.reference import parse_reference
from snapshots.registry.settings import RegistrySettings
from tests.integration.registry.conftest import LAYER
from tests.integration.registry.faults import FakeImage, FakeRegistry, Sleeps, send_and_cut
from tests.integration.registry.sources import Blob, config_of

CREDENTIALS = Credentials("user", "secret-password")


@pytest.fixture
async def other() -> AsyncIterator[FakeRegistry]:
    """Another host, as far as credentials are concerned."""
    async with FakeRegistry(FakeImage(LAYER)) as running:
        yield running


@pytest.fixture
async def client(fake: FakeRegistry) -> AsyncIterator[RegistryClient]:
    async with RegistryClient(fake.address, CREDENTIALS, sleep=Sleeps()) as opened:
        yield opened


async def read(client: RegistryClient, fake: FakeRegistry) -> bytes:
    reference = parse_reference(f"{client.registry}/library/repo:tag")
    return b"".join([chunk async for chunk in client.read_blob(reference, fake.image.descriptor)])


def needs_basic(fake: FakeRegistry) -> None:
    async def answer(request: web.Request) -> web.StreamResponse | None:
        if request.headers.get("Authorization") == CREDENTIALS.basic():
            return None
        return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})

    fake.override = answer


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_to_another_host_takes_no_credentials_along(
    client: RegistryClient, fake: FakeRegistry, other: FakeRegistry, status: int
) -> None:
    needs_basic(fake)
    basic = fake.override
    assert basic is not None

    async def redirect(request: web.Request) -> web.StreamResponse | None:
        location = f"http://{other.address}{request.path}?X-Signature=a%2Fb+c"
        return await basic(request) or web.Response(status=status, headers={"Location": location})

    fake.override = redirect
    assert await read(client, fake) == LAYER
    assert fake.requests[-1].headers["Authorization"] == CREDENTIALS.basic()
    assert [("Authorization" in request.headers, request.query_string) for request in other.requests] == [(False, "X-Signature=a/b c")]


async def test_a_redirect_back_takes_none_either(client: RegistryClient, fake: FakeRegistry, other: FakeRegistry) -> None:
    async def there(request: web.Request) -> web.StreamResponse | None:
        if request.query_string == "back":
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})
        if "Authorization" not in request.headers:
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})
        return web.Response(status=302, headers={"Location": f"http://{other.address}/"})

    async def back(request: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": f"http://{fake.address}/?back"})

    fake.override, other.override = there, back
    with pytest.raises(AuthError):
        await read(client, fake)
    assert "Authorization" not in fake.requests[-1].headers


async def test_a_challenge_of_a_redirect_s_target_is_not_answered(client: RegistryClient, fake: FakeRegistry, other: FakeRegistry) -> None:
    async def redirect(request: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": f"http://{other.address}{request.path}"})

    fake.override = redirect
    needs_basic(other)
    with pytest.raises(AuthError):
        await read(client, fake)
    assert ["Authorization" in request.headers for request in other.requests] == [False]


@pytest.mark.parametrize(
    "location", ["", "ftp://x/y", "http://user:secret@127.0.0.1/", "http://[::1", "http://127.0.0.1:99999/", "/" + "x" * 15_000 + "\\"]
)
async def test_a_redirect_to_nowhere(client: RegistryClient, fake: FakeRegistry, location: str) -> None:
    async def redirect(request: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": location})

    fake.override = redirect
    with pytest.raises(ServiceError) as caught:
        await read(client, fake)
    assert "secret" not in f"{caught.value!r} {caught.value.__cause__!r}"
    assert len(fake.requests) <= 6


async def test_redirects_without_end(client: RegistryClient, fake: FakeRegistry) -> None:
    async def redirect(request: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": request.path})

    fake.override = redirect
    with pytest.raises(ServiceError, match="without end"):
        await read(client, fake)
    assert len(fake.requests) == 6


async def test_an_upload_s_url_on_another_host_gets_no_credentials(client: RegistryClient, fake: FakeRegistry, other: FakeRegistry) -> None:
    needs_basic(fake)
    basic, manifests = fake.override, list[bytes]()
    assert basic is not None

    async def begin(request: web.Request) -> web.StreamResponse | None:
        if (refused := await basic(request)) is not None:
            return refused
        match request.method:
            case "HEAD":
                return web.Response(status=404)
            case "POST":
                return web.Response(status=202, headers={"Location": f"http://{other.address}/upload"})
            case "PUT":
                manifests.append(await request.read())
                return web.Response(status=201)
        return web.Response(body=manifests[-1])

    async def take(request: web.Request) -> web.StreamResponse:
        await request.read()
        return web.Response(status=201)

    fake.override, other.override = begin, take
    blob = Blob(b"layer")
    await push(client, parse_reference(f"{fake.address}/repo:tag"), config_of(blob.descriptor.digest), [blob.source()])
    assert ["Authorization" in request.headers for request in other.requests] == [False, False]


class Tokens:
    """A token service and a registry that takes each token some times."""

    def __init__(self, uses: int) -> None:
        self.given = 0
        self.uses = uses
        self.left = 0

    async def give(self, request: web.Request) -> web.StreamResponse:
        self.given, self.left = self.given + 1, self.uses
        return web.json_response({"access_token": f"token-{self.given}"})

    async def refuse(self, request: web.Request, realm: str) -> web.StreamResponse | None:
        if request.headers.get("Authorization") == f"Bearer token-{self.given}" and self.left > 0:
            self.left -= 1
            return None
        return web.Response(status=401, headers={"WWW-Authenticate": f'Bearer realm="{realm}",service="s",scope="repository:evil:*"'})


async def test_a_token_that_ends_in_the_middle_of_a_blob_is_renewed(
    client: RegistryClient, fake: FakeRegistry, other: FakeRegistry
) -> None:
    tokens = Tokens(uses=1)
    other.override = tokens.give

    async def answer(request: web.Request) -> web.StreamResponse | None:
        if (refused := await tokens.refuse(request, f"http://{other.address}/token")) is not None:
            return refused
        start = request.http_range.start or 0
        if start >= 200_000:
            return None
        headers = {"Content-Range": f"bytes {start}-{len(LAYER) - 1}/{len(LAYER)}"} if start else {}
        return await send_and_cut(request, LAYER[start : start + 100_000], len(LAYER) - start, **headers)

    fake.override = answer
    assert await read(client, fake) == LAYER
    assert tokens.given == 3
    assert {request.query["scope"] for request in other.requests} == {"repository:library/repo:pull"}


async def test_a_token_that_ends_before_every_step_of_a_push(client: RegistryClient, fake: FakeRegistry, other: FakeRegistry) -> None:
    tokens, stored, blob = Tokens(uses=1), dict[str, bytes](), Blob(LAYER)
    other.override = tokens.give

    async def answer(request: web.Request) -> web.StreamResponse:
        if (refused := await tokens.refuse(request, f"http://{other.address}/token")) is not None:
            return refused
        match request.method:
            case "HEAD":
                return web.Response(status=404)
            case "POST":
                return web.Response(status=202, headers={"Location": "/upload"})
            case "PUT":
                stored[request.query.get("digest", "manifest")] = await request.read()
                return web.Response(status=201)
        return web.Response(body=stored["manifest"])

    fake.override = answer
    config = config_of(blob.descriptor.digest)
    await push(client, parse_reference(f"{fake.address}/repo:tag"), config, [blob.source()], parallel=1)
    assert stored[blob.descriptor.digest] == LAYER
    assert tokens.given == 2 * 3 + 2
    assert {request.query["scope"] for request in other.requests} == {"repository:repo:pull,push"}


async def test_a_token_that_is_never_taken_is_an_error(client: RegistryClient, fake: FakeRegistry, other: FakeRegistry) -> None:
    tokens = Tokens(uses=0)
    other.override = tokens.give
    fake.override = lambda request: tokens.refuse(request, f"http://{other.address}/token")
    with pytest.raises(AuthError):
        await read(client, fake)
    assert (len(fake.requests), len(other.requests)) == (2, 1)


@pytest.mark.parametrize(
    "realm",
    ["http://tokens.example/", "", "ftp://127.0.0.1/", "https://user:pw@127.0.0.1/", "http://[::1", "http://169.254.169.254/latest"],
)
async def test_a_token_service_where_credentials_must_not_go(client: RegistryClient, fake: FakeRegistry, realm: str) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=401, headers={"WWW-Authenticate": f'Bearer realm="{realm}",service="s"'})

    fake.override = answer
    with pytest.raises(AuthError, match="token service"):
        await read(client, fake)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"{}"),
        (200, b"x"),
        (200, b'{"token": "a b"}'),
        (200, b'{"token": "a\\r\\nX: y"}'),
        (200, b'{"token": 1}'),
        (302, b""),
        (200, b"[" * 99_999),
    ],
)
async def test_a_token_service_s_nonsense(
    client: RegistryClient, fake: FakeRegistry, other: FakeRegistry, status: int, body: bytes
) -> None:
    async def challenge(request: web.Request) -> web.StreamResponse:
        return web.Response(status=401, headers={"WWW-Authenticate": f'Bearer realm="http://{other.address}/t"'})

    async def nonsense(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, body=body, headers={"Location": f"http://{fake.address}/"})

    fake.override, other.override = challenge, nonsense
    with pytest.raises((AuthError, ServiceError)):
        await read(client, fake)
    assert (len(fake.requests), len(other.requests)) == (1, 1)


@pytest.mark.parametrize("challenge", ["Negotiate", "Digest realm=x, nonce=y", "", "=,=,", "Basic"])
async def test_a_challenge_that_cannot_be_met(fake: FakeRegistry, challenge: str) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=401, headers={"WWW-Authenticate": challenge})

    fake.override = answer
    async with RegistryClient(fake.address) as client:
        with pytest.raises(AuthError):
            await read(client, fake)
    assert len(fake.requests) == 1


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


class Authority:
    """A certificate authority of its own, and a server certificate for 127.0.0.1."""

    def __init__(self, directory: Path) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
        now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
        builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - day, now + day)
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        certificate = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(key, hashes.SHA256())
        self.bundle = directory / "bundle.pem"
        self.bundle.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        secret = directory / "key.pem"
        secret.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.load_cert_chain(self.bundle, secret)


@pytest.mark.parametrize("trusted", [True, False])
async def test_the_certificate_bundle_is_the_environment_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trusted: bool) -> None:
    authority, image = Authority(tmp_path), FakeImage(LAYER)

    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=LAYER)

    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.bundle))
    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    tls = TestServer(app, scheme="https")
    await tls.start_server(ssl=authority.context)
    try:
        sleeps = Sleeps()
        settings = RegistrySettings(registry_mirrors={"127.0.0.1:1": [f"https://127.0.0.1:{tls.port}"]}, attempts=1)
        async with RegistryClient("127.0.0.1:1", settings=settings, sleep=sleeps) as client:
            reference = parse_reference("127.0.0.1:1/repo:tag")
            if trusted:
                assert b"".join([chunk async for chunk in client.read_blob(reference, image.descriptor)]) == LAYER
            else:
                with pytest.raises(ConnectionError):
                    assert not [chunk async for chunk in client.read_blob(reference, image.descriptor)]
        assert sleeps.waits_s == []
    finally:
        await tls.close()


class TestInsecure:
    """A registry that the operator listed, reached through the machine's proxy."""

    SETTINGS = RegistrySettings(insecure_registries=["registry.test:5000"], attempts=1)

    @pytest.fixture
    def proxied(self, fake: FakeRegistry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeRegistry:
        for variable in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "no_proxy", "ALL_PROXY"):
            monkeypatch.delenv(variable, raising=False)
        monkeypatch.setenv("http_proxy", f"http://{fake.address}")
        (tmp_path / "netrc").write_text("machine registry.test login daemon password operator-secret\n")
        (tmp_path / "netrc").chmod(0o600)
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        return fake

    async def test_it_is_reached_through_the_proxy_without_the_daemon_s_netrc(self, proxied: FakeRegistry) -> None:
        async with RegistryClient("registry.test:5000", settings=self.SETTINGS) as client:
            assert await read(client, proxied) == LAYER
        (request,) = proxied.requests
        assert request.host.partition(":")[0] == "registry.test"
        assert "Authorization" not in request.headers

    async def test_it_gets_no_credentials(self, proxied: FakeRegistry, other: FakeRegistry) -> None:
        for challenge in ('Basic realm="x"', 'Bearer realm="https://tokens.example/"'):

            async def answer(request: web.Request, challenge: str = challenge) -> web.StreamResponse:
                return web.Response(status=401, headers={"WWW-Authenticate": challenge})

            proxied.override = answer
            async with RegistryClient("registry.test:5000", CREDENTIALS, settings=self.SETTINGS) as client:
                with pytest.raises(AuthError, match="plain HTTP"):
                    await read(client, proxied)
        assert ["Authorization" in request.headers for request in proxied.requests] == [False, False]

    async def test_no_proxy(self, proxied: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("no_proxy", "registry.test")
        async with RegistryClient("registry.test:5000", settings=self.SETTINGS) as client:
            with pytest.raises(ConnectionError):
                await read(client, proxied)
        assert proxied.requests == []

    async def test_it_must_not_lead_to_this_machine(self, proxied: FakeRegistry, other: FakeRegistry) -> None:
        async def redirect(request: web.Request) -> web.StreamResponse:
            return web.Response(status=302, headers={"Location": f"http://{other.address}/"})

        proxied.override = redirect
        async with RegistryClient("registry.test:5000", settings=self.SETTINGS) as client:
            with pytest.raises(ServiceError, match="loopback"):
                await read(client, proxied)
        assert other.requests == []
