"""The node's way to the store: blobs over HTTP at the router it is registered with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import aiohttp
import msgspec

from cove.exception import ConnectionError, DataLossError, Error, InternalFailure, from_code
from snapshots.digest import Digest

CHUNK_BYTES: Final = 2**20
STALL_S: Final = 60.0
"""A transfer in which nothing moves for so long is given up."""

MAX_ERROR_BYTES: Final = 64 * 1024


class _ErrorBody(msgspec.Struct):
    """The JSON form of an error."""

    code: str
    cause: str
    remedy: str = ""
    retryable: bool = False


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
        async with self._session() as session, self._sent(session.get(self._address(digest))) as response:
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
        async with self._session() as session, self._sent(session.put(self._address(digest), data=pieces(), headers=headers)):
            return

    def _session(self) -> aiohttp.ClientSession:
        if not self._url:
            raise ConnectionError("This node has not reached its router yet.", remedy="Try again in a moment.")
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=STALL_S, sock_read=STALL_S)
        return aiohttp.ClientSession(timeout=timeout, headers={"Authorization": f"Bearer {self._token}"}, trust_env=False)

    def _address(self, digest: Digest) -> str:
        return f"{self._url}/v1/blobs/{digest}"

    def _sent(self, request: aiohttp.client._RequestContextManager) -> _Checked:
        return _Checked(request)


class _Checked:
    """A request whose refusals are errors of ours."""

    def __init__(self, request: aiohttp.client._RequestContextManager) -> None:
        self._request = request

    async def __aenter__(self) -> aiohttp.ClientResponse:
        try:
            response = await self._request.__aenter__()
        except aiohttp.ClientError as error:
            raise ConnectionError("The router's store does not answer.", remedy="Try again in a moment.") from error
        if response.status >= 300:
            body = await response.content.read(MAX_ERROR_BYTES)
            response.close()
            raise _refusal(response.status, body)
        return response

    async def __aexit__(self, *exc_info: object) -> None:
        await self._request.__aexit__(None, None, None)


def _refusal(status: int, body: bytes) -> Error:
    try:
        told = msgspec.json.decode(body, type=_ErrorBody)
    except msgspec.MsgspecError:
        return InternalFailure(f"The router's store answered with HTTP status {status}.")
    return from_code(told.code, told.cause, remedy=told.remedy, retryable=told.retryable)
