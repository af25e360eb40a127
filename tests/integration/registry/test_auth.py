"""Basic and bearer authentication with real registries, and a token service of the tests."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from cove.exception import AuthError, NotFoundError, PermissionDeniedError, ResourceExhaustedError
from snapshots.registry.client import RegistryClient
from snapshots.registry.credentials import Credentials
from snapshots.registry.push import LayerSource, push
from snapshots.registry.reference import parse_reference
from tests.integration.registry.conftest import FAST, Images
from tests.integration.registry.sources import Blob, config_of
from tests.support.registry_server import PASSWORD, SERVICE, USERNAME, RegistryServer, TokenIssuer, htpasswd, registry_server, skopeo

GOOD = Credentials(USERNAME, PASSWORD)
BAD = Credentials(USERNAME, "wrong-password")


@pytest.fixture(scope="module")
def basic(tmp_path_factory: pytest.TempPathFactory, images: Images) -> Iterator[RegistryServer]:
    directory = tmp_path_factory.mktemp("basic")
    with registry_server(directory / "registry", auth=htpasswd(directory)) as server:
        skopeo("copy", "--dest-creds", f"{USERNAME}:{PASSWORD}", images.two_layers, f"docker://{server.address}/private/two")
        yield server


async def test_basic(basic: RegistryServer) -> None:
    reference = parse_reference(f"{basic.address}/private/two")
    async with RegistryClient(basic.address, GOOD, settings=FAST) as client:
        image = await client.resolve(reference)
        assert sum([len(chunk) async for chunk in client.read_blob(reference, image.layers[1])]) == image.layers[1].size_bytes
        await push(client, parse_reference(f"{basic.address}/private/new"), config_of(), [])


@pytest.mark.parametrize("credentials", [None, BAD], ids=["none", "wrong"])
async def test_basic_without_the_password(basic: RegistryServer, credentials: Credentials | None) -> None:
    async with RegistryClient(basic.address, credentials, settings=FAST) as client:
        with pytest.raises(AuthError, match="REGISTRY_USERNAME and REGISTRY_PASSWORD") as caught:
            await client.resolve(parse_reference(f"{basic.address}/private/two"))
    assert not caught.value.retryable
    assert_silent(caught.value)


def assert_silent(error: BaseException) -> None:
    """No secret in the error, its causes or their reprs."""
    seen: BaseException | None = error
    while seen is not None:
        text = f"{seen} {seen!r} {vars(seen)}"
        for secret in (PASSWORD, "wrong-password", base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()):
            assert secret not in text
        seen = seen.__cause__ or seen.__context__


class TokenService:
    """Gives tokens, to :data:`USERNAME` for everything, to others for reading ``public/``."""

    def __init__(self, issuer: TokenIssuer) -> None:
        self.issuer = issuer
        self.asked: list[tuple[list[str], bool]] = []
        """Scopes, and whether credentials were sent."""
        self.lifetime_s = 300.0
        self.status = 200
        self.spoil = False
        self.url = ""
        """Known once it listens."""

    async def answer(self, request: web.Request) -> web.Response:
        authorization = request.headers.get("Authorization")
        scopes = request.query.getall("scope", [])
        assert request.query["service"] == SERVICE
        self.asked.append((scopes, authorization is not None))
        if self.status != 200:
            return web.Response(status=self.status, headers={"Retry-After": "0"})
        if authorization not in (None, GOOD.basic()):
            return web.Response(status=401)
        allowed = (
            scopes if authorization else [scope for scope in scopes if scope.startswith("repository:public/") and scope.endswith(":pull")]
        )
        token = self.issuer.token(allowed, -600.0 if self.spoil else self.lifetime_s)
        self.spoil = False
        return web.json_response({"token": token, "expires_in": 300})


@pytest.fixture
async def tokens(tmp_path: Path) -> AsyncIterator[TokenService]:
    service = TokenService(TokenIssuer(tmp_path))
    app = web.Application()
    app.router.add_get("/token", service.answer)
    async with TestServer(app) as server:
        service.url = f"http://127.0.0.1:{server.port}/token"
        yield service


@pytest.fixture
async def bearer(tokens: TokenService, tmp_path: Path) -> AsyncIterator[RegistryServer]:
    with registry_server(tmp_path / "registry", auth=tokens.issuer.auth(tokens.url)) as server:
        async with RegistryClient(server.address, GOOD, settings=FAST) as client:
            for name in ("public/image", "private/image"):
                await push(client, parse_reference(f"{server.address}/{name}"), config_of(), [])
        tokens.asked.clear()
        yield server


async def test_bearer_with_credentials(bearer: RegistryServer, tokens: TokenService) -> None:
    reference = parse_reference(f"{bearer.address}/private/image")
    async with RegistryClient(bearer.address, GOOD, settings=FAST) as client:
        for _ in range(2):
            await client.resolve(reference)
    assert tokens.asked == [(["repository:private/image:pull"], True)]


async def test_bearer_anonymous(bearer: RegistryServer, tokens: TokenService) -> None:
    async with RegistryClient(bearer.address, settings=FAST) as client:
        await client.resolve(parse_reference(f"{bearer.address}/public/image"))
        with pytest.raises(AuthError, match="pass a Secret with REGISTRY_USERNAME"):
            await client.resolve(parse_reference(f"{bearer.address}/private/image"))
    assert [sent for _, sent in tokens.asked] == [False] * len(tokens.asked)


async def test_many_requests_share_one_token(bearer: RegistryServer, tokens: TokenService) -> None:
    reference = parse_reference(f"{bearer.address}/private/image")
    async with RegistryClient(bearer.address, GOOD, settings=FAST) as client, asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(client.resolve(reference))
    assert len(tokens.asked) == 1


async def test_a_token_that_the_registry_no_longer_takes_is_renewed(bearer: RegistryServer, tokens: TokenService) -> None:
    tokens.spoil = True  # the first one has expired, whatever its answer says
    async with RegistryClient(bearer.address, GOOD, settings=FAST) as client:
        with pytest.raises(AuthError):
            await client.resolve(parse_reference(f"{bearer.address}/private/image"))
        await client.resolve(parse_reference(f"{bearer.address}/private/image"))
    assert len(tokens.asked) == 2


async def test_a_mount_asks_for_both_repositories(bearer: RegistryServer, tokens: TokenService) -> None:
    blob = Blob(b"layer")
    async with RegistryClient(bearer.address, GOOD, settings=FAST) as client:
        for name, mount_from in (("private/one", None), ("private/two", "private/one")):
            source = LayerSource(blob.descriptor, blob.chunks, mount_from)
            await push(client, parse_reference(f"{bearer.address}/{name}"), config_of(blob.descriptor.digest), [source])
    assert blob.opened == 1
    assert (["repository:private/two:pull,push", "repository:private/one:pull"], True) in tokens.asked


@pytest.mark.parametrize(
    ("status", "kind"), [(401, AuthError), (403, AuthError), (400, AuthError), (404, NotFoundError), (429, ResourceExhaustedError)]
)
async def test_a_token_service_that_refuses(bearer: RegistryServer, tokens: TokenService, status: int, kind: type[Exception]) -> None:
    tokens.status = status
    async with RegistryClient(bearer.address, GOOD, settings=FAST) as client:
        with pytest.raises(kind) as caught:
            await client.resolve(parse_reference(f"{bearer.address}/private/image"))
    assert len(tokens.asked) == (FAST.attempts if status == 429 else 1)
    assert_silent(caught.value)


async def test_wrong_credentials_for_a_token(bearer: RegistryServer) -> None:
    async with RegistryClient(bearer.address, BAD, settings=FAST) as client:
        with pytest.raises(AuthError, match="Check REGISTRY_USERNAME and REGISTRY_PASSWORD") as caught:
            await client.resolve(parse_reference(f"{bearer.address}/private/image"))
    assert_silent(caught.value)


async def test_no_right_to_push(bearer: RegistryServer) -> None:
    async with RegistryClient(bearer.address, settings=FAST) as client:
        with pytest.raises((AuthError, PermissionDeniedError)):
            await push(client, parse_reference(f"{bearer.address}/public/image:mine"), config_of(), [])
