"""Blobs over HTTP: nodes fetch and bring layers, clients bring the files that their builds need.

``GET`` and ``PUT /v1/blobs/sha256:<hex>``. Content is verified both ways. A node shows its session token; a client its API token, as
``cove-token-id`` and ``cove-token-secret``, and may only bring.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

import structlog
from aiohttp import web

from cove.exception import AuthError, DataLossError, RequestSizeError
from policies.access import bearer
from router.auth import Authenticator
from router.nodes import NodeTable
from snapshots.digest import Digest, parse_digest
from snapshots.store import Store

log = structlog.get_logger(__name__)

CHUNK_BYTES: Final = 2**20
MAX_CLIENT_BYTES: Final = 32 * 2**30
"""Of one file of a build's context."""

MAX_NODE_BYTES: Final = 256 * 2**30
"""Of one layer's archive."""


class BlobEdge:
    """The handlers; one instance per router."""

    def __init__(self, store: Store, nodes: NodeTable, authenticator: Authenticator) -> None:
        self._store, self._nodes, self._authenticator = store, nodes, authenticator

    def handlers(self) -> list[web.RouteDef]:
        """All paths."""
        return [web.get("/v1/blobs/{digest}", self.get, allow_head=False), web.put("/v1/blobs/{digest}", self.put)]

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Raises: AuthError: not a node. NotFoundError: no such blob."""
        self._check_node(request)
        async with self._store.view(_digest(request)) as view:
            response = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
            response.content_length = view.size_bytes
            await response.prepare(request)
            try:
                async for chunk in view.chunks():
                    await response.write(chunk)
            except DataLossError as error:
                # The head is out: the only way to say that this is not the blob is to break the connection.
                log.error("blob damaged", digest=view.digest, cause=error.cause)
                if request.transport is not None:
                    request.transport.abort()
                return response
            await response.write_eof()
        return response

    async def put(self, request: web.Request) -> web.Response:
        """Store the body, if it is what the path says.

        Raises:  AuthError. InvalidError: other content. RequestSizeError, ResourceExhaustedError: too large, or the store is full.
        """
        most = await self._allowance(request)
        digest = _digest(request)
        if (request.content_length or 0) > most:
            raise RequestSizeError(f"A blob of {request.content_length} bytes; at most {most} are taken.")
        await self._store.put(_body(request), max_bytes=most, expect=digest)
        return web.json_response({"digest": digest}, status=201)

    async def _allowance(self, request: web.Request) -> int:
        """How many bytes the sender may bring. Raises: AuthError: neither node nor client."""
        if "cove-token-id" not in request.headers:
            self._check_node(request)
            return MAX_NODE_BYTES
        secret = request.headers.get("cove-token-secret", "")
        await self._authenticator.authenticate(request.headers["cove-token-id"], secret, peer=request.remote or "")
        return MAX_CLIENT_BYTES

    def _check_node(self, request: web.Request) -> None:
        if self._nodes.by_session(bearer(request.headers.get("Authorization"))) is None:
            raise AuthError("The session token is not valid.", remedy="Register first.")


def _digest(request: web.Request) -> Digest:
    return parse_digest(request.match_info["digest"])


async def _body(request: web.Request) -> AsyncIterator[bytes]:
    async for chunk in request.content.iter_chunked(CHUNK_BYTES):
        yield chunk
