"""Reading one blob: in pieces, resumed where the connection broke, its size and digest verified by the last piece."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final

import aiohttp
import structlog

from cove.exception import ConnectionError, DataLossError, Error, ServiceError
from snapshots.digest import Hasher
from snapshots.registry.descriptor import Descriptor
from snapshots.registry.endpoints import shown
from snapshots.registry.failures import network_failures
from snapshots.registry.retry import Retry, Sleep
from snapshots.registry.settings import RegistrySettings
from snapshots.registry.transport import Request, Transport

log = structlog.get_logger()

MIRROR_ATTEMPTS: Final = 2
"""At a mirror, in the place of the settings' ``attempts``: there is another place to ask."""

_CONTENT_RANGE: Final = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")


class BlobReader:
    """Reads one blob once."""

    def __init__(
        self, transports: Sequence[Transport], repository: str, descriptor: Descriptor, settings: RegistrySettings, sleep: Sleep
    ) -> None:
        """``transports``: places that have the blob, in the order to try them."""
        self._transports = transports
        self._path = f"{repository}/blobs/{descriptor.digest}"
        self._scope = f"repository:{repository}:pull"
        self._what = f"the blob {descriptor.digest} of {repository}"
        self._descriptor = descriptor
        self._settings = settings
        self._sleep = sleep
        self._hasher = Hasher()
        self.sources: list[Transport] = []
        """Where its bytes came from so far."""

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The pieces, each checked to be within the size; all of them are right only once the last one was followed by no error.

        Raises:
            DataLossError: wrong size or wrong digest; what was yielded must be thrown away.
            AuthError, ConnectionError, NotFoundError, PermissionDeniedError, ResourceExhaustedError, ServiceError: tries are used up.
        """
        for position, transport in enumerate(self._transports):
            try:
                async with aclosing(self._from(transport)) as stream:
                    async for chunk in stream:
                        yield chunk
                break
            except Error as error:
                if position + 1 == len(self._transports):
                    raise
                log.info("mirror skipped", mirror=transport.endpoint.shown, what=self._what, error=error.code)
        if self._hasher.digest() != self._descriptor.digest:
            raise DataLossError(f"What came for {self._what} has another digest: it was damaged or forged.")

    async def _from(self, transport: Transport) -> AsyncGenerator[bytes, None]:
        """What is still missing."""
        attempts = MIRROR_ATTEMPTS if transport.endpoint.is_mirror else None
        retry = Retry(self._settings, sleep=self._sleep, attempts=attempts)
        while (offset := self._hasher.size_bytes) < self._descriptor.size_bytes:
            try:
                async with aclosing(self._attempt(transport, offset)) as stream:
                    async for chunk in stream:
                        self._note(transport, chunk)
                        yield chunk
            except Error as error:
                # A few bytes for each connection would be a way to keep us here for ever.
                if self._hasher.size_bytes - offset >= self._settings.stall_window_bytes:
                    retry.progress()
                await retry.after(error)

    def _note(self, transport: Transport, chunk: bytes) -> None:
        self._hasher.update(chunk)
        if transport not in self.sources:
            self.sources.append(transport)

    async def _attempt(self, transport: Transport, offset: int) -> AsyncGenerator[bytes, None]:
        """All from ``offset``, in one request."""
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        request = Request(method="GET", path=self._path, scope=self._scope, what=self._what, headers=headers)
        left = self._descriptor.size_bytes - offset
        async with transport.exchange(request, {200, 206}) as response:
            skip = self._check_head(response, offset)
            async with aclosing(self._body(response)) as body:
                async for chunk in body:
                    skipped = min(skip, len(chunk))
                    skip -= skipped
                    left -= len(chunk) - skipped
                    if left < 0:
                        raise DataLossError(f"More came for {self._what} than its {self._descriptor.size_bytes} bytes.")
                    if len(chunk) > skipped:
                        yield chunk[skipped:]
            if left:
                raise ConnectionError(f"The connection with {shown(response.url)} ended {left} bytes early.")

    def _check_head(self, response: aiohttp.ClientResponse, offset: int) -> int:
        """Bytes at the beginning of the body that we have already: a server may answer a range with the whole."""
        size = self._descriptor.size_bytes
        if response.status == 200:
            start, total = 0, response.content_length
        else:
            match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if match is None or int(match[1]) != offset or not offset:
                raise ServiceError(f"{shown(response.url)} answered with another range than it was asked for.", retryable=False)
            start, total = offset, int(match[3])
        if total is not None and total != size:
            raise DataLossError(f"The registry has {total} bytes of {self._what}; there must be {size}.")
        return offset - start

    async def _body(self, response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
        """Pieces as they come.

        Raises:  ConnectionError: cut, silent, or so slow that a new connection is worth a try. Time in the reader's hands does not count.
        """
        clock = asyncio.get_running_loop().time
        waited_s, received = 0.0, 0
        while True:
            before_s = clock()
            with network_failures(shown(response.url)):
                chunk = await response.content.readany()
            if not chunk:
                return
            waited_s, received = waited_s + clock() - before_s, received + len(chunk)
            if received >= self._settings.stall_window_bytes:
                waited_s, received = 0.0, 0
            elif waited_s > self._settings.stall_window_s:
                raise ConnectionError(f"{shown(response.url)} sent {received} bytes in {waited_s:.0f} s.")
            yield chunk
