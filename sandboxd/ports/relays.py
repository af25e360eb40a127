"""The relays of a node: which there are, who may have one, and what it takes to open one."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final

import structlog

from cove.exception import ConflictError, Error, ResourceExhaustedError
from cove.types import SandboxId
from cove.wire import http_errors
from cove.wire.ports import PortRequest, error_head
from sandboxd.channel.streams import GuestError
from sandboxd.node import Node
from sandboxd.ports.relay import Relay
from sandboxd.service.auth import Gate
from sandboxd.service.edge import as_error

MAX_PER_SANDBOX: Final = 4_096
"""Connections into one sandbox: each takes a descriptor of its supervisor, which has 65,536."""

HEAD_S: Final = 10.0
"""Routers send their request at once; who does not is none."""

OPEN_S: Final = 30.0
"""A port on the sandbox's own loopback answers at once, or its server's backlog is full."""

log = structlog.get_logger(__name__)


class Relays:
    """All relays of one node."""

    def __init__(self, node: Node, gate: Gate) -> None:
        self._node, self._gate = node, gate
        self._relays: set[Relay] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._per_sandbox: Counter[SandboxId] = Counter()

    def __len__(self) -> int:
        return len(self._relays)

    def new(self) -> Relay:
        """The protocol of a connection that asks for a port."""
        relay = Relay(self._opened, self._ended, head_s=HEAD_S)
        self._relays.add(relay)
        return relay

    def limit_head(self, transport: asyncio.Transport) -> asyncio.TimerHandle:
        """Close a connection that does not say in time what it wants; until the timer is cancelled."""
        return asyncio.get_running_loop().call_later(HEAD_S, transport.abort)

    async def close(self) -> None:
        """Break all of them off."""
        for relay in list(self._relays):
            relay.abort()
        for task in self._opening:
            task.cancel()
        if self._opening:
            await asyncio.wait(self._opening)

    def _opened(self, relay: Relay, request: PortRequest) -> None:
        task = asyncio.get_running_loop().create_task(self._open(relay, request), name="port")
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open(self, relay: Relay, request: PortRequest) -> None:
        """Connect a relay, or refuse it with the reason."""
        try:
            self._gate.client(request.authorization, request.sandbox_id)
            sandbox = self._node.get(request.sandbox_id)
            if self._per_sandbox[request.sandbox_id] >= MAX_PER_SANDBOX:
                raise ResourceExhaustedError(f"The sandbox has {MAX_PER_SANDBOX} connections.", remedy="Close some.")
            relay.sandbox_id = request.sandbox_id
            self._per_sandbox[request.sandbox_id] += 1
            async with asyncio.timeout(OPEN_S):
                guest = await sandbox.guest()
                relay.connect(await guest.dial(request.port), sandbox.timers.activity())
        except Exception as error:  # the edge: everything becomes an answer
            body = http_errors.encode(told := _told(error, request.port))
            relay.refuse(error_head(http_errors.status_of(told), len(body)) + body)

    def _ended(self, relay: Relay) -> None:
        self._relays.discard(relay)
        if relay.sandbox_id is not None:
            self._per_sandbox[relay.sandbox_id] -= 1
            if not self._per_sandbox[relay.sandbox_id]:
                del self._per_sandbox[relay.sandbox_id]


def _told(error: Exception, port: int) -> Error:
    if isinstance(error, GuestError | TimeoutError):
        return ConflictError(
            f"Nothing answers on port {port} inside the sandbox.",
            code="port_closed",
            remedy=f"Start a server there that listens on 127.0.0.1:{port} or on all addresses.",
            retryable=True,
        )
    return as_error(error)
