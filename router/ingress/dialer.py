"""Connections from this router to ports inside sandboxes, through their nodes. See ``cove.wire.ports``."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple, cast
from urllib.parse import urlsplit

from cove.exception import ConflictError, ConnectionError, Error
from cove.types import SandboxId
from cove.wire import http_errors, ports
from router.access import AccessKey
from router.db.protocol import Database
from router.nodes import NodeTable

CONNECT_S: Final = 5.0
DIAL_S: Final = 40.0
"""A node answers within 30 s, whatever the sandbox does."""

CACHED_TOKENS: Final = 4_096
SPARE_S: Final = 30.0
"""A token that ends sooner is not used any more."""


class Upstream(NamedTuple):
    """An open connection whose reading is paused, and what was read from it already."""

    transport: asyncio.Transport
    first: bytes


class Dialer:
    """Opens connections; one instance per router."""

    def __init__(self, db: Database, nodes: NodeTable, key: AccessKey, *, clock: Callable[[], float]) -> None:
        self._db, self._nodes, self._key, self._clock = db, nodes, key, clock
        self._tokens: OrderedDict[SandboxId, tuple[str, float]] = OrderedDict()

    async def dial(self, sandbox_id: SandboxId, port: int) -> Upstream:
        """Connect to a port inside a sandbox. The caller sets the transport's protocol and closes it.

        Raises:
            ConflictError: ``sandbox_ended``, or ``port_closed``: nothing listens there.
            NotFoundError: it is kept no longer. ConnectionError: its node does not answer.
        """
        record = await self._db.sandboxes.get(sandbox_id)
        if record is None or not record.is_live:
            raise ConflictError("The sandbox has ended.", code="sandbox_ended", remedy="Create another.")
        node = self._nodes.get(record.node_id).record
        request = ports.encode(sandbox_id, port, self._token(record.sandbox_id, lambda: self._key.sandbox_token(sandbox_id, node.node_id)))
        try:
            async with asyncio.timeout(DIAL_S):
                handshake = await _connect(node.http_url)
                return await handshake.ask(request)
        except (OSError, TimeoutError) as error:
            raise ConnectionError("The sandbox's node does not answer.", remedy="Try again in a moment.") from error

    def _token(self, sandbox_id: SandboxId, sign: Callable[[], tuple[str, float]]) -> str:
        token, expires_at = self._tokens.get(sandbox_id, ("", 0.0))
        if expires_at < self._clock() + SPARE_S:
            token, expires_at = sign()
            self._tokens[sandbox_id] = (token, expires_at)
            if len(self._tokens) > CACHED_TOKENS:
                self._tokens.popitem(last=False)
        return token


async def _connect(url: str) -> _Handshake:
    parts = urlsplit(url)
    tls = parts.scheme == "https"
    host, port = parts.hostname or "", parts.port or (443 if tls else 80)
    async with asyncio.timeout(CONNECT_S):
        _, handshake = await asyncio.get_running_loop().create_connection(_Handshake, host, port, ssl=tls or None)
    return handshake


class _Handshake(asyncio.Protocol):
    """The beginning of a connection: one request, one answer."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer = b""
        self._outcome: asyncio.Future[Upstream] = asyncio.get_running_loop().create_future()

    async def ask(self, request: bytes) -> Upstream:
        """Raises: Error: the node's refusal. OSError: it hung up."""
        assert self._transport is not None  # it is connected
        self._transport.write(request)
        try:
            return await self._outcome
        except BaseException:
            self._transport.abort()
            raise

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None  # connection_made comes first
        self._answer += data
        if self._answer.startswith(ports.UPGRADED):
            self._transport.pause_reading()
            self._settle(Upstream(self._transport, self._answer[len(ports.UPGRADED) :]))
        elif len(self._answer) > http_errors.MAX_BYTES:
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self._settle(_refusal(self._answer))

    def _settle(self, outcome: Upstream | Exception) -> None:
        if self._outcome.done():
            return
        if isinstance(outcome, Exception):
            self._outcome.set_exception(outcome)
        else:
            self._outcome.set_result(outcome)


def _refusal(answer: bytes) -> Error | OSError:
    """The error in a node's whole answer."""
    head, _, body = answer.partition(ports.HEAD_END)
    status = head.split(b" ", 2)[1:2]
    return http_errors.decode(int(status[0]), body) if status and status[0].isdigit() else OSError("the node hung up")
