"""Content of local files to the router's store, over HTTP: a few at once, each streamed and tried again when it is cut."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Collection, Iterator
from pathlib import Path
from typing import Final

from cove._image.definition import LocalBlob
from cove._transport.bulk import Body
from cove._transport.connection import Connection
from cove._transport.methods import BLOBS_MISSING
from cove._transport.retry import Attempts
from cove.exception import ConnectionError, Error, InvalidError
from cove.wire import image_pb2
from cove.wire.http_errors import check

PARALLEL: Final = 8
PIECE_BYTES: Final = 2**20
MOST_ASKED: Final = 10_000
"""Hashes in one question for what is missing."""


async def upload_missing(connection: Connection, blobs: Collection[LocalBlob]) -> int:
    """Upload those of ``blobs`` that the store does not have; how many these were.

    Raises:
        InvalidError: a file is no longer what it was when it was hashed.
        Error: what the server answered.
    """
    by_hash = {blob.sha256: blob for blob in blobs}
    missing = [by_hash[digest] for digest in await _missing(connection, list(by_hash)) if digest in by_hash]
    if missing and not await connection.http_url():
        raise InvalidError(
            "Files of the image have to be uploaded, and the router's HTTP address is not known.",
            remedy="Set COVE_SERVER_HTTP_URL, or server_http_url in the profile.",
        )
    waiting = iter(missing)
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(PARALLEL, len(missing))):
                group.create_task(_upload_each(connection, waiting))
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return len(missing)


async def _missing(connection: Connection, digests: list[bytes]) -> list[bytes]:
    found: list[bytes] = []
    for start in range(0, len(digests), MOST_ASKED):
        request = image_pb2.BlobsMissingRequest(sha256=digests[start : start + MOST_ASKED])
        found += (await connection.control.call(BLOBS_MISSING, request)).sha256
    return found


async def _upload_each(connection: Connection, waiting: Iterator[LocalBlob]) -> None:
    for blob in waiting:
        await _upload(connection, blob)


async def _upload(connection: Connection, blob: LocalBlob) -> None:
    attempts = Attempts(connection.server.reconnect_s)
    while (error := await _attempt(connection, blob)) is not None:
        await attempts.pause(error)


async def _attempt(connection: Connection, blob: LocalBlob) -> Error | None:
    """Send it once; the error, if another attempt can do better.

    Raises:  Error: none can.
    """
    import aiohttp

    server = connection.server
    base = await connection.http_url()
    headers = {"cove-token-id": server.token_id, "cove-token-secret": server.token_secret, "Content-Length": str(blob.size_bytes)}
    body = Body(_content(blob))
    try:
        async with connection.http().put(f"{base}/v1/blobs/sha256:{blob.sha256.hex()}", headers=headers, data=body.pieces()) as response:
            await check(response)
    except (TimeoutError, aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as broken:
        if body.error is not None:
            raise body.error from None
        return ConnectionError(
            f"An upload to {base} broke off: {type(broken).__name__}.",
            remedy="Check the network to the server, or set COVE_SERVER_HTTP_URL to where its HTTP service is from here.",
        )
    except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as wrong:
        raise InvalidError("The router's HTTP address is not a URL.", remedy="Set COVE_SERVER_HTTP_URL to http://host:port.") from wrong
    except Error as refused:
        if body.error is not None or not refused.retryable:
            raise body.error or refused from None
        return refused
    return None


async def _content(blob: LocalBlob) -> AsyncIterator[bytes]:
    """What was hashed, and nothing else.

    Raises:  InvalidError: the file has changed.
    """
    digest = hashlib.sha256()
    sent_bytes = 0
    try:
        while sent_bytes < blob.size_bytes:
            piece = await asyncio.to_thread(_read, blob.path, sent_bytes, min(blob.size_bytes - sent_bytes, PIECE_BYTES), digest)
            sent_bytes += len(piece)
            if not piece or (sent_bytes == blob.size_bytes and digest.digest() != blob.sha256):
                raise _changed(blob)
            yield piece
    except OSError as error:
        raise _changed(blob) from error


def _read(path: Path, offset: int, most: int, digest: hashlib._Hash) -> bytes:
    """One piece, which ``digest`` sees too.

    The file is opened for each: one left open by a thread whose caller is cancelled would stay so.
    """
    with path.open("rb") as file:
        file.seek(offset)
        piece = file.read(most)
    digest.update(piece)
    return piece


def _changed(blob: LocalBlob) -> InvalidError:
    return InvalidError(f"{blob.path} has changed while the image was built.", remedy="Build again when nothing writes to it.")
