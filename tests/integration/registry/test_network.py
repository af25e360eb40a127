"""The machine's network: certificates, proxies, the daemon's own files, and names that lead to the machine itself."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cove.exception import AuthError, ConnectionError, Error, PermissionDeniedError, ServiceError
from snapshots.registry.client import RegistryClient
from snapshots.registry.network import Network
from snapshots.registry.reference import parse_reference
from snapshots.registry.settings import RegistrySettings
from tests.integration.registry.conftest import LAYER
from tests.integration.registry.faults import CREDENTIALS, FakeImage, FakeRegistry, FixedResolver, Sleeps, read


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


@pytest.mark.parametrize(
    ("resolver", "kind"),
    [
        (FixedResolver("127.0.0.1"), PermissionDeniedError),
        (FixedResolver("169.254.169.254", "::1"), PermissionDeniedError),
        (FixedResolver(), ConnectionError),
    ],
)
async def test_a_name_that_leads_to_this_machine(fake: FakeRegistry, resolver: FixedResolver, kind: type[Error]) -> None:
    settings = RegistrySettings(attempts=1)
    registry = f"registry.test:{fake.address.partition(':')[2]}"
    async with Network(settings, resolver=resolver) as network, RegistryClient(registry, settings=settings, network=network) as client:
        with pytest.raises(kind, match=registry):
            await read(client, fake)
    assert fake.requests == []


async def test_a_name_that_the_operator_wrote_may_lead_to_this_machine(fake: FakeRegistry) -> None:
    registry = f"registry.test:{fake.address.partition(':')[2]}"
    settings = RegistrySettings(insecure_registries=[registry])
    resolver = FixedResolver("127.0.0.1")
    async with Network(settings, resolver=resolver) as network, RegistryClient(registry, settings=settings, network=network) as client:
        assert await read(client, fake) == LAYER


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
