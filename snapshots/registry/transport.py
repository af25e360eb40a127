"""Requests to one endpoint: authentication, redirects, and answers that are no use as errors. One try each; retrying is the caller's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Final

import aiohttp
import msgspec
from yarl import URL

from cove.exception import ConnectionError, RequestSizeError, ServiceError
from snapshots.registry.auth import Authenticator
from snapshots.registry.endpoints import Endpoint, follow, same_origin, shown
from snapshots.registry.failures import MAX_ERROR_BYTES, error_of, network_failures
from snapshots.registry.network import Network
from snapshots.registry.settings import RegistrySettings

MAX_REDIRECTS: Final = 5
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})

Body = Callable[[], AsyncGenerator[bytes, None]]


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to ask for."""

    method: str
    path: str = ""
    """Below ``/v2/``."""
    url: URL | None = None
    """In the place of ``path``: an upload's URL, which the registry chose."""
    scope: str
    """Of the token, e.g. ``repository:library/debian:pull``."""
    what: str
    """For errors."""
    headers: Mapping[str, str] = {}
    body: bytes | Body | None = None
    """Bytes, or what makes a new stream of them for each time it must be sent."""
    answer_timeout_s: float | None = None
    """For the beginning of the answer, and each next piece; the settings' ``idle_timeout_s`` when left out."""


class Transport:
    """Speaks to one endpoint of a registry."""

    def __init__(self, endpoint: Endpoint, auth: Authenticator, network: Network, settings: RegistrySettings) -> None:
        self.endpoint = endpoint
        self._auth = auth
        self._network = network
        self._settings = settings

    @asynccontextmanager
    async def exchange(self, request: Request, expect: Collection[int]) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer, its body not yet read. Errors of what is done with it pass through untouched.

        Raises:
            AuthError, PermissionDeniedError, NotFoundError, ResourceExhaustedError, ServiceError: a status that is not in ``expect``.
            ConnectionError: no answer.
        """
        response = await self._send(request)
        async with response:
            if response.status not in expect:
                body = await self._error_body(response)
                raise error_of(
                    response.status,
                    what=request.what,
                    host=shown(response.url),
                    body=body,
                    retry_after=response.headers.get("Retry-After"),
                    credentials=self._auth.credentials,
                )
            yield response

    async def document(self, request: Request, max_bytes: int) -> tuple[bytes, Mapping[str, str]]:
        """The whole body of a small answer, and its headers.

        Raises:  RequestSizeError: it is longer; and what :meth:`exchange` raises.
        """
        try:
            async with asyncio.timeout(self._settings.document_timeout_s), self.exchange(request, {200}) as response:
                return await self._read(response, max_bytes, request.what), response.headers
        except TimeoutError as error:
            raise ConnectionError(f"{self.endpoint.shown} took too long for {request.what}.", remedy="Try again later.") from error

    async def _send(self, request: Request) -> aiohttp.ClientResponse:
        response, used = await self._ask(request)
        if response.status == 401:
            headers = response.headers.getall("WWW-Authenticate", [])
            try:
                again = await self._auth.challenged(headers, request.scope, used)
            except BaseException:
                response.close()
                raise
            if again:
                response.close()
                response, used = await self._ask(request)
        if request.method in ("GET", "HEAD"):
            return await self._redirected(request, response, used)
        return response

    async def _ask(self, request: Request) -> tuple[aiohttp.ClientResponse, str | None]:
        url = request.url or self.endpoint.url(request.path)
        authorization = await self._auth.authorization(request.scope) if same_origin(url, self.endpoint.base) else None
        return await self._one(request, url, authorization), authorization

    async def _redirected(self, request: Request, response: aiohttp.ClientResponse, used: str | None) -> aiohttp.ClientResponse:
        """Follow redirects. Once one leaves the registry, there is no ``Authorization`` any more, even if a later one leads back."""
        authorization, hops = used, 0
        while response.status in _REDIRECTS:
            response.close()
            hops += 1
            if hops > MAX_REDIRECTS:
                raise ServiceError(f"The registry {self.endpoint.shown} redirects without end.", retryable=False)
            target = follow(response.url, response.headers.get("Location", ""), "redirect")
            authorization = authorization if same_origin(response.url, target) else None
            response = await self._one(request, target, authorization)
        return response

    async def _one(self, request: Request, url: URL, authorization: str | None) -> aiohttp.ClientResponse:
        headers = dict(request.headers)
        if authorization is not None:
            headers["Authorization"] = authorization
        with network_failures(shown(url)):
            return await self._network.session.request(
                request.method,
                url,
                headers=headers,
                data=request.body() if callable(request.body) else request.body,
                allow_redirects=False,
                proxy=self._network.proxy(url),
                timeout=self._timeout(request),
            )

    def _timeout(self, request: Request) -> aiohttp.ClientTimeout:
        idle_s = request.answer_timeout_s or self._settings.idle_timeout_s
        return aiohttp.ClientTimeout(total=None, sock_connect=self._settings.connect_timeout_s, sock_read=idle_s)

    async def _read(self, response: aiohttp.ClientResponse, max_bytes: int, what: str) -> bytes:
        body = bytearray()
        with network_failures(shown(response.url)):
            while chunk := await response.content.readany():
                body += chunk
                if len(body) > max_bytes:
                    raise RequestSizeError(f"{what[:1].upper()}{what[1:]} is larger than {max_bytes} bytes.")
        return bytes(body)

    async def _error_body(self, response: aiohttp.ClientResponse) -> bytes:
        """What explains an error; nothing, where that is too long or does not arrive: the status says enough."""
        try:
            async with asyncio.timeout(self._settings.idle_timeout_s):
                return await self._read(response, MAX_ERROR_BYTES, "the error")
        except (ConnectionError, RequestSizeError, ServiceError, TimeoutError):
            return b""
