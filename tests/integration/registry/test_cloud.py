"""Credentials of clouds: a fake ECR that verifies signatures by itself, and registries that take what comes of them."""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import json
import re
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from yarl import URL

from cove.exception import AuthError, ConnectionError, Error, InvalidError, PermissionDeniedError, ServiceError, UnimplementedError
from snapshots.registry.client import RegistryClient
from snapshots.registry.cloud import credentials_from_secret
from snapshots.registry.credentials import Credentials
from snapshots.registry.network import Network
from snapshots.registry.reference import parse_reference
from snapshots.registry.settings import RegistrySettings
from tests.integration.registry.faults import FakeImage, FakeRegistry

KEYS = {
    "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
    "AWS_REGION": "eu-central-1",
}
ECR = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"
PASSWORD = "ecr-password"
ACCOUNT = {"type": "service_account", "private_key": "-----BEGIN-----\nabc\n", "client_email": "robot@project.example"}


class FakeEcr:
    """GetAuthorizationToken. Verifies the signature as AWS's documentation describes, step by step, from what came over the wire."""

    def __init__(self) -> None:
        self.requests: list[web.Request] = []
        self.answer: web.Response | None = None
        app = web.Application()
        app.router.add_post("/", self._token)
        self.server = TestServer(app)

    @property
    def url(self) -> URL:
        return URL(f"http://127.0.0.1:{self.server.port}/")

    async def _token(self, request: web.Request) -> web.Response:
        self.requests.append(request)
        if self.answer is not None:
            return self.answer
        if not self._is_signed(request, await request.read()):
            return web.json_response({"__type": "InvalidSignatureException"}, status=400)
        token = base64.b64encode(f"AWS:{PASSWORD}".encode()).decode()
        return web.json_response(
            {"authorizationData": [{"authorizationToken": token, "expiresAt": 1.7e9, "proxyEndpoint": f"https://{ECR}"}]}
        )

    def _is_signed(self, request: web.Request, body: bytes) -> bool:
        match = re.fullmatch(
            r"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/(\d{8})/eu-central-1/ecr/aws4_request, "
            r"SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})",
            request.headers["Authorization"],
        )
        assert match is not None
        day, names, signature = match.groups()
        stamp = request.headers["X-Amz-Date"]
        age = datetime.datetime.now(datetime.UTC) - datetime.datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.UTC)
        assert abs(age) < datetime.timedelta(minutes=5)
        assert stamp.startswith(day)
        assert {"host", "x-amz-date", "x-amz-target", "content-type"} <= set(names.split(";"))
        canonical = "POST\n/\n\n"
        for name in names.split(";"):
            canonical += f"{name}:{request.headers[name]}\n"
        canonical += f"\n{names}\n{hashlib.sha256(body).hexdigest()}"
        to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{day}/eu-central-1/ecr/aws4_request\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        date_key = hmac.digest(b"AWS4" + KEYS["AWS_SECRET_ACCESS_KEY"].encode(), day.encode(), "sha256")
        region_key = hmac.digest(date_key, b"eu-central-1", "sha256")
        service_key = hmac.digest(region_key, b"ecr", "sha256")
        signing_key = hmac.digest(service_key, b"aws4_request", "sha256")
        return hmac.digest(signing_key, to_sign.encode(), "sha256").hex() == signature


@pytest.fixture
async def ecr() -> AsyncIterator[FakeEcr]:
    fake = FakeEcr()
    await fake.server.start_server()
    yield fake
    await fake.server.close()


@pytest.fixture
async def network() -> AsyncIterator[Network]:
    async with Network(RegistrySettings()) as opened:
        yield opened


async def exchange(network: Network, ecr: FakeEcr, registry: str = ECR, **changes: str) -> Credentials:
    return await credentials_from_secret({**KEYS, **changes}, "aws_ecr", registry=registry, network=network, ecr_endpoint=ecr.url)


async def test_keys_become_a_password_that_the_registry_takes(network: Network, ecr: FakeEcr) -> None:
    credentials = await exchange(network, ecr)
    assert credentials.basic() == "Basic " + base64.b64encode(f"AWS:{PASSWORD}".encode()).decode()

    async def answer(request: web.Request) -> web.StreamResponse | None:
        if request.headers.get("Authorization") == credentials.basic():
            return None
        return web.Response(status=401, headers={"WWW-Authenticate": f'Basic realm="https://{ECR}/",service="ecr.amazonaws.com"'})

    async with FakeRegistry(FakeImage(b"x")) as fake:
        fake.override = answer
        async with RegistryClient(fake.address, credentials, network=network) as client:
            assert (await client.resolve(parse_reference(f"{fake.address}/repo:tag"))).digest == fake.image.digest
    assert ecr.requests[0].headers["X-Amz-Target"].endswith(".GetAuthorizationToken")


async def test_a_session_s_token_is_sent_and_signed(network: Network, ecr: FakeEcr) -> None:
    await exchange(network, ecr, AWS_SESSION_TOKEN="Session/Token+x==")
    headers = ecr.requests[0].headers
    assert headers["X-Amz-Security-Token"] == "Session/Token+x=="
    assert "x-amz-security-token" in headers["Authorization"]


async def test_a_wrong_key_is_refused_without_being_told(network: Network, ecr: FakeEcr) -> None:
    with pytest.raises(AuthError, match="Check AWS_ACCESS_KEY_ID") as caught:
        await exchange(network, ecr, AWS_SECRET_ACCESS_KEY="another-secret")
    assert "another-secret" not in repr((caught.value, caught.value.__cause__, vars(caught.value)))


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (401, AuthError, False),
        (403, PermissionDeniedError, False),
        (404, ServiceError, False),
        (302, ServiceError, False),
        (429, ServiceError, True),
        (500, ServiceError, True),
    ],
)
async def test_refusals(network: Network, ecr: FakeEcr, status: int, kind: type[Error], retryable: bool) -> None:
    ecr.answer = web.Response(status=status, headers={"Location": "/again"})
    with pytest.raises(kind) as caught:
        await exchange(network, ecr)
    assert caught.value.retryable == retryable
    assert len(ecr.requests) == 1


@pytest.mark.parametrize("token", ["?", "eHg=", "eDoK", "/////w==", ""])
async def test_a_token_that_is_none(network: Network, ecr: FakeEcr, token: str) -> None:
    ecr.answer = web.json_response({"authorizationData": [{"authorizationToken": token}]})
    with pytest.raises(ServiceError, match="usable token"):
        await exchange(network, ecr)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"authorizationData":[]}', b'{"authorizationData":null}', b"[" * 90_000])
async def test_nonsense(network: Network, ecr: FakeEcr, body: bytes) -> None:
    ecr.answer = web.Response(body=body)
    with pytest.raises(ServiceError, match="usable token"):
        await exchange(network, ecr)


async def test_nobody_listens(network: Network) -> None:
    with pytest.raises(ConnectionError):
        await credentials_from_secret(KEYS, "aws_ecr", registry=ECR, network=network, ecr_endpoint=URL("http://127.0.0.1:1/"))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"AWS_REGION": ""}, "lacks AWS_REGION"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "lacks AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY"),
        ({"AWS_REGION": "us-east-1"}, "the region eu-central-1"),
        ({"AWS_REGION": "evil.example/"}, "not the name of a region"),
        ({"AWS_ACCESS_KEY_ID": "A\r\nX: y"}, "AWS_ACCESS_KEY_ID"),
        ({"AWS_SESSION_TOKEN": "a\r\nX: y"}, "AWS_SESSION_TOKEN"),
    ],
)
async def test_wrong_keys_are_named_and_nothing_is_sent(network: Network, ecr: FakeEcr, changes: dict[str, str], match: str) -> None:
    with pytest.raises(InvalidError, match=match) as caught:
        await exchange(network, ecr, **changes)
    assert KEYS["AWS_SECRET_ACCESS_KEY"] not in str(caught.value)
    assert ecr.requests == []


@pytest.mark.parametrize(
    "registry", ["docker.io", "evil.example", f"{ECR}.evil.example", "public.ecr.aws", "1.dkr.ecr.eu-central-1.amazonaws.com", f"x{ECR}"]
)
async def test_aws_keys_are_for_ecr_alone(network: Network, ecr: FakeEcr, registry: str) -> None:
    with pytest.raises(InvalidError, match="not a registry of ECR"):
        await exchange(network, ecr, registry)
    assert ecr.requests == []


async def test_roles_are_not_supported_yet(network: Network) -> None:
    env = {"AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/r", "AWS_REGION": "eu-central-1"}
    with pytest.raises(UnimplementedError, match="AWS_ROLE_ARN"):
        await credentials_from_secret(env, "aws_ecr", registry=ECR, network=network)


@pytest.mark.parametrize("registry", ["europe-docker.pkg.dev", "gcr.io", "eu.gcr.io", "localhost:5000"])
async def test_a_service_account_s_key_is_the_password(network: Network, registry: str) -> None:
    env = {"SERVICE_ACCOUNT_JSON": json.dumps(ACCOUNT, indent=2)}
    credentials = await credentials_from_secret(env, "gcp_artifact_registry", registry=registry, network=network)
    user, _, password = base64.b64decode(credentials.basic().removeprefix("Basic ")).decode().partition(":")
    assert (user, json.loads(password)) == ("_json_key", ACCOUNT)
    assert "abc" not in repr(credentials)


@pytest.mark.parametrize(
    ("registry", "text"),
    [
        ("docker.io", json.dumps(ACCOUNT)),
        ("evilgcr.io", json.dumps(ACCOUNT)),
        ("gcr.io.evil.example", json.dumps(ACCOUNT)),
        ("gcr.io", ""),
        ("gcr.io", "/path/to/private-key.json"),
        ("gcr.io", json.dumps({**ACCOUNT, "type": "authorized_user"})),
        ("gcr.io", "[" * 90_000),
    ],
)
async def test_a_service_account_s_key_is_refused(network: Network, registry: str, text: str) -> None:
    with pytest.raises(InvalidError) as caught:
        await credentials_from_secret({"SERVICE_ACCOUNT_JSON": text}, "gcp_artifact_registry", registry=registry, network=network)
    assert "private" not in str(caught.value)


async def test_user_and_password(network: Network) -> None:
    env = {"REGISTRY_USERNAME": "me", "REGISTRY_PASSWORD": "secret:é"}
    credentials = await credentials_from_secret(env, "registry", registry="docker.io", network=network)
    assert base64.b64decode(credentials.basic().removeprefix("Basic ")).decode() == "me:secret:é"
    with pytest.raises(InvalidError, match="lacks REGISTRY_PASSWORD"):
        await credentials_from_secret({"REGISTRY_USERNAME": "me"}, "registry", registry="docker.io", network=network)
