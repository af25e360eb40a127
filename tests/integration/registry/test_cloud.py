"""Credentials of clouds: a fake ECR that verifies signatures by itself, and registries that take what comes of them."""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import json
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from yarl import URL

from cove.exception import AuthError, ConnectionError, Error, InvalidError, PermissionDeniedError, ServiceError
from snapshots.registry.client import RegistryClient
from snapshots.registry.cloud import credentials_from_secret
from snapshots.registry.credentials import CredentialKind, Credentials
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
        self.key = (KEYS["AWS_ACCESS_KEY_ID"], KEYS["AWS_SECRET_ACCESS_KEY"])
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
        if not is_signed(request, await request.read(), service="ecr", key=self.key):
            return web.json_response({"__type": "InvalidSignatureException"}, status=400)
        token = base64.b64encode(f"AWS:{PASSWORD}".encode()).decode()
        return web.json_response(
            {"authorizationData": [{"authorizationToken": token, "expiresAt": 1.7e9, "proxyEndpoint": f"https://{ECR}"}]}
        )


def is_signed(request: web.Request, body: bytes, *, service: str, key: tuple[str, str]) -> bool:
    match = re.fullmatch(
        rf"AWS4-HMAC-SHA256 Credential={key[0]}/(\d{{8}})/eu-central-1/{service}/aws4_request, "
        r"SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})",
        request.headers["Authorization"],
    )
    assert match is not None
    day, names, signature = match.groups()
    stamp = request.headers["X-Amz-Date"]
    age = datetime.datetime.now(datetime.UTC) - datetime.datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.UTC)
    assert abs(age) < datetime.timedelta(minutes=5)
    assert stamp.startswith(day)
    assert {"host", "x-amz-date", "content-type"} <= set(names.split(";"))
    canonical = "POST\n/\n\n"
    for name in names.split(";"):
        canonical += f"{name}:{request.headers[name]}\n"
    canonical += f"\n{names}\n{hashlib.sha256(body).hexdigest()}"
    to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{day}/eu-central-1/{service}/aws4_request\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    date_key = hmac.digest(b"AWS4" + key[1].encode(), day.encode(), "sha256")
    region_key = hmac.digest(date_key, b"eu-central-1", "sha256")
    service_key = hmac.digest(region_key, service.encode(), "sha256")
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
    settings = RegistrySettings(aws_ecr_endpoint=str(ecr.url))
    return await credentials_of({**KEYS, **changes}, "aws_ecr", registry, network, settings)


async def credentials_of(
    env: Mapping[str, str], kind: CredentialKind, registry: str, network: Network, settings: RegistrySettings | None = None
) -> Credentials:
    return await credentials_from_secret(
        env, kind, registry=registry, network=network, settings=settings or RegistrySettings(), session="team one"
    )


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
        await credentials_of(KEYS, "aws_ecr", ECR, network, RegistrySettings(aws_ecr_endpoint="http://127.0.0.1:1/"))


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


# --- roles -------------------------------------------------------------------------------------------------------------------------------

ROLE = "arn:aws:iam::123456789012:role/path/puller"
SESSION = ("ASIASESSION", "session/secret+1", "Session/Token+x==")
TOKEN = "header.claims.signature"


class FakeSts:
    """AssumeRole and AssumeRoleWithWebIdentity, for one role."""

    def __init__(self) -> None:
        self.forms: list[dict[str, str]] = []
        self.answer: web.Response | None = None
        app = web.Application()
        app.router.add_post("/", self._assume)
        self.server = TestServer(app)

    async def _assume(self, request: web.Request) -> web.Response:
        body = await request.read()
        form = dict(parse_qsl(body.decode(), strict_parsing=True))
        self.forms.append(form)
        if self.answer is not None:
            return self.answer
        assert form["Version"] == "2011-06-15"
        if form["Action"] == "AssumeRole":
            known = is_signed(request, body, service="sts", key=(KEYS["AWS_ACCESS_KEY_ID"], KEYS["AWS_SECRET_ACCESS_KEY"]))
        else:
            known = "Authorization" not in request.headers and form["WebIdentityToken"] == TOKEN
        if not known or form["RoleArn"] != ROLE:
            return web.Response(status=403, text="<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>")
        return web.Response(text=session_document(form["Action"], *SESSION), content_type="text/xml")


def session_document(action: str, key_id: str, secret: str, token: str) -> str:
    """As AWS's reference shows it."""
    return f"""<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <{action}Result>
    <AssumedRoleUser><Arn>arn:aws:sts::123456789012:assumed-role/puller/x</Arn><AssumedRoleId>AROA:x</AssumedRoleId></AssumedRoleUser>
    <Credentials>
      <AccessKeyId>{key_id}</AccessKeyId>
      <SecretAccessKey>{secret}</SecretAccessKey>
      <SessionToken>
        {token}
      </SessionToken>
      <Expiration>2031-01-01T00:00:00Z</Expiration>
    </Credentials>
  </{action}Result>
</{action}Response>"""


@pytest.fixture
async def sts(ecr: FakeEcr) -> AsyncIterator[FakeSts]:
    """With an ECR that takes the session's keys."""
    fake = FakeSts()
    await fake.server.start_server()
    ecr.key = SESSION[:2]
    yield fake
    await fake.server.close()


async def assumed(network: Network, ecr: FakeEcr, sts: FakeSts, env: dict[str, str], token_file: Path | None = None) -> Credentials:
    settings = RegistrySettings(
        aws_ecr_endpoint=str(ecr.url), aws_sts_endpoint=f"http://127.0.0.1:{sts.server.port}/", aws_web_identity_token_file=token_file
    )
    return await credentials_of(env, "aws_ecr", ECR, network, settings)


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    return file


async def test_keys_assume_a_role(network: Network, ecr: FakeEcr, sts: FakeSts) -> None:
    credentials = await assumed(network, ecr, sts, {**KEYS, "AWS_ROLE_ARN": ROLE})
    assert credentials.basic() == "Basic " + base64.b64encode(f"AWS:{PASSWORD}".encode()).decode()
    assert sts.forms[0]["Action"] == "AssumeRole"
    assert ecr.requests[0].headers["X-Amz-Security-Token"] == SESSION[2]


async def test_a_role_alone_is_assumed_by_the_operator_s_identity(network: Network, ecr: FakeEcr, sts: FakeSts, token_file: Path) -> None:
    env = {"AWS_ROLE_ARN": ROLE, "AWS_REGION": "eu-central-1"}
    assert (await assumed(network, ecr, sts, env, token_file)).username == "AWS"
    form = sts.forms[0]
    assert (form["Action"], form["RoleSessionName"]) == ("AssumeRoleWithWebIdentity", "cove-team-one")


async def test_a_role_without_anybody_to_assume_it(network: Network, ecr: FakeEcr, sts: FakeSts) -> None:
    with pytest.raises(InvalidError, match="AWS_ACCESS_KEY_ID"):
        await assumed(network, ecr, sts, {"AWS_ROLE_ARN": ROLE, "AWS_REGION": "eu-central-1"})
    assert not sts.forms


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff", b"x" * 20_001])
async def test_an_identity_that_is_none_is_not_sent(network: Network, ecr: FakeEcr, sts: FakeSts, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    env = {"AWS_ROLE_ARN": ROLE, "AWS_REGION": "eu-central-1"}
    for wrong in (file, tmp_path / "missing", tmp_path):
        with pytest.raises(ServiceError, match="web identity") as caught:
            await assumed(network, ecr, sts, env, wrong)
        assert str(tmp_path) not in str(caught.value)
    assert not sts.forms


async def test_a_role_that_is_not_ours(network: Network, ecr: FakeEcr, sts: FakeSts, token_file: Path) -> None:
    env = {"AWS_ROLE_ARN": ROLE.replace("puller", "other"), "AWS_REGION": "eu-central-1"}
    with pytest.raises(PermissionDeniedError, match="role's session") as caught:
        await assumed(network, ecr, sts, env, token_file)
    assert "trust policy" in caught.value.remedy
    assert not ecr.requests


@pytest.mark.parametrize(
    "role",
    ["role", "arn:aws:iam::1:role/r", "arn:aws:iam::123456789012:user/r", ROLE + "\n", ROLE + "&Action=x", f"{ROLE}é", ROLE + "x" * 600],
)
async def test_malformed_roles_are_not_sent(network: Network, ecr: FakeEcr, sts: FakeSts, role: str, token_file: Path) -> None:
    with pytest.raises(InvalidError, match="AWS_ROLE_ARN"):
        await assumed(network, ecr, sts, {**KEYS, "AWS_ROLE_ARN": role}, token_file)
    assert not sts.forms


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "<AccessKeyId>A</AccessKeyId>",
        session_document("AssumeRole", "A B", "s", "t"),
        session_document("AssumeRole", "AKID", "s\r\nX: y", "t"),
        session_document("AssumeRole", "AKID", "s", "&#13;&#10;t"),
        session_document("AssumeRole", "AKID", "s", "t") * 2,
    ],
)
async def test_answers_that_are_no_session(network: Network, ecr: FakeEcr, sts: FakeSts, answer: str) -> None:
    sts.answer = web.Response(text=answer)
    with pytest.raises(ServiceError) as caught:
        await assumed(network, ecr, sts, {**KEYS, "AWS_ROLE_ARN": ROLE})
    assert "AKID" not in str(caught.value)
    assert not ecr.requests


# --- Google, and plain passwords ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("registry", ["europe-docker.pkg.dev", "gcr.io", "eu.gcr.io", "localhost:5000"])
async def test_a_service_account_s_key_is_the_password(network: Network, registry: str) -> None:
    env = {"SERVICE_ACCOUNT_JSON": json.dumps(ACCOUNT, indent=2)}
    credentials = await credentials_of(env, "gcp_artifact_registry", registry, network)
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
        await credentials_of({"SERVICE_ACCOUNT_JSON": text}, "gcp_artifact_registry", registry, network)
    assert "private" not in str(caught.value)


async def test_user_and_password(network: Network) -> None:
    env = {"REGISTRY_USERNAME": "me", "REGISTRY_PASSWORD": "secret:é"}
    credentials = await credentials_of(env, "registry", "docker.io", network)
    assert base64.b64decode(credentials.basic().removeprefix("Basic ")).decode() == "me:secret:é"
    with pytest.raises(InvalidError, match="lacks REGISTRY_PASSWORD"):
        await credentials_of({"REGISTRY_USERNAME": "me"}, "registry", "docker.io", network)
