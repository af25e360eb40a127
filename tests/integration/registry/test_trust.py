"""Where credentials go and where not: redirects, uploads, and token services."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from cove.exception import AuthError, ServiceError
from snapshots.registry.auth import Authenticator
from snapshots.registry.client import RegistryClient
from snapshots.registry.endpoints import origin
from snapshots.registry.network import Network
from snapshots.registry.push import push
from snapshots.registry.reference import parse_reference
from snapshots.registry.settings import RegistrySettings
from tests.integration.registry.conftest import LAYER
from tests.integration.registry.faults import CREDENTIALS, FakeRegistry, Sleeps, needs_basic, read, send_and_cut
from tests.integration.registry.sources import Blob, config_of


@pytest.fixture
async def client(fake: FakeRegistry) -> AsyncIterator[RegistryClient]:
    async with RegistryClient(fake.address, CREDENTIALS, sleep=Sleeps()) as opened:
        yield opened


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


@pytest.mark.parametrize(("expires_in", "lifetime_s"), [(None, 60), (300, 300), (0, 60), (-5, 60), (1e300, 3_600)])
async def test_a_token_is_used_until_just_before_its_end(
    fake: FakeRegistry, other: FakeRegistry, expires_in: float | None, lifetime_s: float
) -> None:
    given, now_s = 0, 1_000.0

    async def give(request: web.Request) -> web.StreamResponse:
        nonlocal given
        given += 1
        return web.json_response({"token": f"token-{given}", "expires_in": expires_in})

    other.override = give
    settings = RegistrySettings()
    async with Network(settings) as network:
        auth = Authenticator(origin(fake.address, settings), CREDENTIALS, network, settings, clock=lambda: now_s)
        assert await auth.authorization("repository:a:pull") is None
        assert await auth.challenged([f'Bearer realm="http://{other.address}/"'], "repository:a:pull", None)
        for advance_s, scope, token in [
            (0, "repository:a:pull", "token-1"),
            (lifetime_s - 15 - 1, "repository:a:pull", "token-1"),
            (1, "repository:a:pull", "token-2"),
            (0, "repository:b:pull", "token-3"),
            (0, "repository:a:pull", "token-2"),
        ]:
            now_s += advance_s
            assert await auth.authorization(scope) == f"Bearer {token}"


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
