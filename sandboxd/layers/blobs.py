"""The node's way to the store: blobs over HTTP at the router it is registered with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import aiohttp

from cove.exception import ConnectionError, DataLossError
from cove.wire.http_errors import check
from snapshots.digest import Digest

CHUNK_BYTES: Final = 2**20
STALL_S: Final = 60.0
"""A transfer in which nothing moves for so long is given up."""


class BlobClient:
    """Fetches and brings blobs. The router says at every registration where and with which token."""

    def __init__(self) -> None:
        self._url = ""
        self._token = ""

    def point_to(self, url: str, token: str) -> None:
        """Use the store of the router at ``url`` from now on."""
        self._url, self._token = url.rstrip("/"), token

    async def fetch(self, digest: Digest) -> AsyncIterator[bytes]:
        """The bytes of a blob; the reader verifies them.

        Raises:  NotFoundError: the store does not have it. ConnectionError, DataLossError: the transfer broke; trying again can help.
        """
        async with self._session() as session, _answered(session.get(self._address(digest))) as response:
            try:
                async for chunk in response.content.iter_chunked(CHUNK_BYTES):
                    yield chunk
            except aiohttp.ClientError as error:
                raise DataLossError(f"The store broke off the transfer of {digest}.", remedy="Try again.") from error

    async def bring(self, digest: Digest, file: Path) -> None:
        """Store a file as a blob; the store verifies it. Raises: ConnectionError, ResourceExhaustedError: the store is full."""

        async def pieces() -> AsyncIterator[bytes]:
            with file.open("rb") as opened:
                while piece := opened.read(CHUNK_BYTES):
                    yield piece

        headers = {"Content-Length": str(file.stat().st_size)}
        async with self._session() as session, _answered(session.put(self._address(digest), data=pieces(), headers=headers)):
            return

    def _session(self) -> aiohttp.ClientSession:
        if not self._url:
            raise ConnectionError("This node has not reached its router yet.", remedy="Try again in a moment.")
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=STALL_S, sock_read=STALL_S)
        return aiohttp.ClientSession(timeout=timeout, headers={"Authorization": f"Bearer {self._token}"}, trust_env=False)

    def _address(self, digest: Digest) -> str:
        return f"{self._url}/v1/blobs/{digest}"


@asynccontextmanager
async def _answered(request: aiohttp.client._RequestContextManager) -> AsyncIterator[aiohttp.ClientResponse]:
    """The answer, during the block. Raises: ConnectionError: there is none. Error: the one that it is."""
    try:
        response = await request
    except aiohttp.ClientError as error:
        raise ConnectionError("The router's store does not answer.", remedy="Try again in a moment.") from error
    async with response:
        await check(response)
        yield response
