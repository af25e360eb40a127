"""The node's HTTP port: a connection's first bytes decide whether aiohttp serves it, or a relay to a port inside a sandbox."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from cove.wire.ports import PREFIX
from sandboxd.ports.relays import Relays


class Doorway(asyncio.Protocol):
    """Waits for the first bytes of one connection, then gives it away.

    Args: http: makes aiohttp's protocol for one connection.
    """

    def __init__(self, http: Callable[[], asyncio.Protocol], relays: Relays) -> None:
        self._http, self._relays = http, relays
        self._first = b""
        self._transport: asyncio.Transport | None = None
        self._silence: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._silence = self._relays.limit_head(self._transport)

    def data_received(self, data: bytes) -> None:
        self._first += data
        if len(self._first) < len(PREFIX) and PREFIX.startswith(self._first):
            return
        transport, first = self._transport, self._first
        assert transport is not None  # connection_made comes first
        self._stop_waiting()
        protocol = self._relays.new() if first.startswith(PREFIX) else self._http()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        protocol.data_received(first)

    def connection_lost(self, error: Exception | None) -> None:
        self._stop_waiting()

    def _stop_waiting(self) -> None:
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None
