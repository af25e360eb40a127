"""Files and archives over HTTP: to the node, or through the router where the node cannot be reached. A cut transfer starts again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Final, Literal, TypeVar
from urllib.parse import quote, urlencode

from cove._transport.connection import Connection
from cove._transport.data import DataPlane
from cove._transport.retry import Attempts
from cove.exception import AuthError, ConnectionError, Error
from cove.wire.http_errors import check

if TYPE_CHECKING:  # half a second to import, and only transfers need it
    import aiohttp
    import yarl

R = TypeVar("R")
Kind = Literal["file", "archive"]
Query = Mapping[str, str | bytes]
"""Parameters; a path is bytes, whatever bytes it has."""

PIECE_BYTES: Final = 256 * 1024


async def put(connection: Connection, plane: DataPlane, kind: Kind, query: Query, body: Callable[[], AsyncIterator[bytes]]) -> None:
    """Send a file or archive; ``body`` gives it from its start, once per attempt.

    Raises:  Error: what the server answered. Also whatever ``body`` raises.
    """

    async def attempt(session: aiohttp.ClientSession, url: str, headers: Mapping[str, str]) -> None:
        source = Body(body())
        try:
            async with session.put(_url(url, query), headers=headers, data=source.pieces()) as response:
                await check(response)
        except Exception as error:
            raise source.error or error from None

    await _repeat(connection, plane, kind, attempt)


async def get(
    connection: Connection,
    plane: DataPlane,
    kind: Kind,
    query: Query,
    receive: Callable[[AsyncIterator[bytes]], Awaitable[None]],
) -> None:
    """Fetch a file or archive; ``receive`` gets it from its start, once per attempt.

    Raises:  Error: what the server answered. Also whatever ``receive`` raises.
    """

    async def attempt(session: aiohttp.ClientSession, url: str, headers: Mapping[str, str]) -> None:
        async with session.get(_url(url, query), headers=headers) as response:
            await check(response)
            await receive(response.content.iter_chunked(PIECE_BYTES))

    await _repeat(connection, plane, kind, attempt)


class Body:
    """Passes pieces on and remembers the error that ended them: aiohttp would hide it behind one of its own."""

    def __init__(self, source: AsyncIterator[bytes]) -> None:
        self._source = source
        self.error: Exception | None = None

    async def pieces(self) -> AsyncIterator[bytes]:
        """The pieces of the source."""
        try:
            async for piece in self._source:
                yield piece
        except Exception as error:
            self.error = error
            raise


async def _repeat(
    connection: Connection,
    plane: DataPlane,
    kind: Kind,
    attempt: Callable[[aiohttp.ClientSession, str, Mapping[str, str]], Awaitable[None]],
) -> None:
    """Make attempts until one gets through, with fresh credentials or by another way where that is what it takes."""
    import aiohttp

    attempts = Attempts(connection.server.reconnect_s)
    while True:
        access = await plane.access()
        ways = [url for url in (access.http_url, connection.server.http_url) if url]
        error: Error = ConnectionError("The sandbox's node has no HTTP address.")
        for base in ways:
            url = f"{base.rstrip('/')}/v1/sandboxes/{plane.sandbox_id}/{kind}"
            try:
                return await attempt(connection.http(), url, {"Authorization": f"Bearer {access.token}"})
            except (TimeoutError, aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as broken:
                error = ConnectionError(f"The transfer broke off: {type(broken).__name__}.", remedy="Check the network to the node.")
            except AuthError as rejected:
                if attempts.renewed:
                    raise
                attempts.renewed = plane.renew((("authorization", f"Bearer {access.token}"),))
                error = rejected
                break
        if not isinstance(error, AuthError):
            await attempts.pause(error)


def _url(base: str, query: Query) -> yarl.URL:
    import yarl

    return yarl.URL(f"{base}?{urlencode(query, quote_via=quote)}", encoded=True)
