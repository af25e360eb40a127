"""Passes bulk transfers (``/v1/sandboxes/{id}/file`` and ``/archive``) on to the sandbox's node, streaming both ways."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Final

import aiohttp
import structlog
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from cove.exception import ConnectionError, PermissionDeniedError
from router.ingress.routes import Routes
from router.metrics import Metrics

_HOP_BY_HOP: Final = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
"""RFC 9110, section 7.6.1: these are about one connection."""

_NOT_UP: Final = _HOP_BY_HOP | {"host", "expect", "cookie"}
"""``expect``: this server has answered it already. ``cookie``: none of ours is meant for a node."""

CONNECT_TIMEOUT_S: Final = 5.0

log = structlog.get_logger(__name__)


class HttpProxy:
    """The handlers; one instance per router."""

    def __init__(self, routes: Routes, session: aiohttp.ClientSession, metrics: Metrics) -> None:
        self._routes, self._session, self._metrics = routes, session, metrics

    def handlers(self) -> list[web.RouteDef]:
        """All paths that are passed on."""
        paths = ("/v1/sandboxes/{sandbox_id}/file", "/v1/sandboxes/{sandbox_id}/archive")
        return [web.route(method, path, self.pass_on) for path in paths for method in ("GET", "PUT")]

    async def pass_on(self, request: web.Request) -> web.StreamResponse:
        """One transfer.

        Raises:  AuthError, PermissionDeniedError, NotFoundError: nothing was passed on. ConnectionError: the node is silent.
        """
        claims, node = await self._routes.find(request.headers.get("Authorization"))
        if request.match_info["sandbox_id"] != claims.sandbox_id:
            raise PermissionDeniedError("The token opens another sandbox.", remedy="Fetch access for this one.")
        self._metrics.count_proxied("http")
        # The path is put together from what was checked; the query is the node's to understand, to the byte.
        url = URL(f"{node.record.http_url}/v1/sandboxes/{claims.sandbox_id}/{request.path.rpartition('/')[2]}", encoded=True)
        url = URL(f"{url}?{request.rel_url.raw_query_string}", encoded=True)
        body = self._counted(request) if request.body_exists else None
        try:
            upstream = await self._session.request(
                request.method, url, headers=_without(request.headers.items(), _NOT_UP), data=body, allow_redirects=False
            )
        except aiohttp.ClientError as error:
            raise ConnectionError("The sandbox's node does not answer.", remedy="Try again in a moment.") from error
        async with upstream:
            return await self._pass_back(request, upstream)

    async def _pass_back(self, request: web.Request, upstream: aiohttp.ClientResponse) -> web.StreamResponse:
        response = web.StreamResponse(status=upstream.status, headers=_without(upstream.headers.items(), _HOP_BY_HOP))
        await response.prepare(request)
        try:
            async for chunk in upstream.content.iter_any():
                self._metrics.count_bytes("http", "down", len(chunk))
                await response.write(chunk)
        except aiohttp.ClientError as error:
            # The head is out: the only way to say that the rest is missing is to break the connection.
            log.info("transfer broken off", error=type(error).__name__)
            if request.transport is not None:
                request.transport.abort()
            return response
        await response.write_eof()
        return response

    async def _counted(self, request: web.Request) -> AsyncIterator[bytes]:
        async for chunk in request.content.iter_any():
            self._metrics.count_bytes("http", "up", len(chunk))
            yield chunk


def new_session() -> aiohttp.ClientSession:
    """A client for transfers of any length, that passes encoded bodies on as they are."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S)
    connector = aiohttp.TCPConnector(limit=0)
    return aiohttp.ClientSession(
        connector=connector, timeout=timeout, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
    )


def _without(headers: Iterable[tuple[str, str]], dropped: frozenset[str]) -> CIMultiDict[str]:
    """End-to-end headers: not ``dropped``, and not those that ``Connection`` names."""
    pairs = list(headers)
    named = {token.strip().lower() for key, value in pairs if key.lower() == "connection" for token in value.split(",")}
    return CIMultiDict((key, value) for key, value in pairs if key.lower() not in dropped and key.lower() not in named)
