"""The edge of tunnels: a client's connection is joined to one into the sandbox, byte for byte. Nothing is added, nothing is read."""

from __future__ import annotations

import asyncio
import re
from typing import Final, cast

import structlog

from cove.exception import Error
from cove.wire.keepalive import keep_alive
from router.db.ingress import EntranceRecord
from router.ingress.dialer import Dialer
from router.ingress.limits import ConnectionLimits
from router.ingress.relay import join
from router.ingress.responses import refusal
from router.metrics import Metrics

FIRST_BYTES_S: Final = 1.0
"""How long a client whose tunnel leads nowhere is given to say that it speaks HTTP, which can be told why."""

_HTTP: Final = re.compile(rb"[A-Z]{3,7} /")

log = structlog.get_logger(__name__)


class TunnelEdge:
    """Serves all tunnels of one router."""

    def __init__(self, dialer: Dialer, limits: ConnectionLimits, metrics: Metrics) -> None:
        self._dialer, self._limits, self._metrics = dialer, limits, metrics
        self._opening: set[asyncio.Task[None]] = set()
        self._open: dict[str, set[asyncio.Transport]] = {}

    def accept(self, transport: asyncio.Transport, entrance: EntranceRecord, client: TunnelClient) -> None:
        """Take a client's connection, whose reading is paused."""
        if not self._limits.enter(entrance.sandbox_id):
            transport.abort()
            return
        keep_alive(transport)
        self._open.setdefault(entrance.name, set()).add(transport)
        task = asyncio.get_running_loop().create_task(self._join(transport, entrance, client), name="tunnel")
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    def break_off(self, name: str) -> None:
        """Break all connections of an entrance off."""
        for transport in self._open.pop(name, ()):
            transport.abort()

    async def close(self) -> None:
        """Break everything off."""
        for task in self._opening:
            task.cancel()
        for name in list(self._open):
            self.break_off(name)
        if self._opening:
            await asyncio.wait(self._opening)

    async def _join(self, transport: asyncio.Transport, entrance: EntranceRecord, client: TunnelClient) -> None:
        def over(up: int, down: int) -> None:
            self._metrics.count_bytes("tunnel", "up", up)
            self._metrics.count_bytes("tunnel", "down", down)
            self._left(transport, entrance)

        try:
            upstream = await self._dialer.dial(entrance.sandbox_id, entrance.port)
        except Error as error:
            log.info("tunnel not joined", sandbox=entrance.sandbox_id, port=entrance.port, code=error.code)
            try:
                await _say_why(transport, client, error)
            finally:
                self._left(transport, entrance)
            return
        except BaseException:
            self._left(transport, entrance)
            raise
        self._metrics.count_proxied("tunnel")
        join(transport, upstream.transport, over, to_node=client.first, to_client=upstream.first)

    def _left(self, transport: asyncio.Transport, entrance: EntranceRecord) -> None:
        transport.close()
        self._limits.leave(entrance.sandbox_id)
        others = self._open.get(entrance.name, set())
        others.discard(transport)
        if not others:
            self._open.pop(entrance.name, None)


class TunnelClient(asyncio.Protocol):
    """A client's connection until it is joined, or told why it is not."""

    def __init__(self, edge: TunnelEdge, entrance: EntranceRecord) -> None:
        self._edge, self._entrance = edge, entrance
        self._transport: asyncio.Transport | None = None
        self._spoke = asyncio.Event()
        self.first = b""
        """What came before the connection was joined. Little: uvloop reads once even where reading is paused from the beginning."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.pause_reading()
        self._edge.accept(self._transport, self._entrance, self)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None  # connection_made comes first
        self._transport.pause_reading()
        self.first += data
        self._spoke.set()

    def connection_lost(self, error: Exception | None) -> None:
        self._spoke.set()

    async def spoken(self) -> bytes:
        """What the client says first; empty if it leaves."""
        if not self.first and self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
            await self._spoke.wait()
        return self.first


async def _say_why(transport: asyncio.Transport, client: TunnelClient, error: Error) -> None:
    """Answer a client that speaks HTTP; others only see the connection close."""
    if transport.is_closing():
        return
    try:
        async with asyncio.timeout(FIRST_BYTES_S):
            first = await client.spoken()
    except TimeoutError:
        return
    if _HTTP.match(first) and not transport.is_closing():
        transport.write(refusal(error))
