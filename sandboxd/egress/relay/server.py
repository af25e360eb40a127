"""Takes the connections that the packet filter redirects, judges them, and connects them to where they wanted to go."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable, Mapping
from ipaddress import IPv4Address
from typing import Final

from cove.types import SandboxId
from policies.egress.ranges import Rule
from sandboxd.egress.model import Client, Gatekeeper
from sandboxd.egress.pin_store import PinStore
from sandboxd.egress.relay.proxies import Proxy
from sandboxd.egress.relay.relayed import Destination, Relayed, Surroundings
from sandboxd.egress.relay.side import Side
from sandboxd.egress.relay.verdicts import RefusedError

MAX_EACH: Final = 1_024
"""Connections of one sandbox."""
MAX_ALL: Final = 10_000
"""Of all; two descriptors and some 20 KB each."""
BACKLOG: Final = 1_024

_ORIGINAL_DESTINATION: Final = 80
"""Source: linux/netfilter_ipv4.h, SO_ORIGINAL_DST."""


def original_destination(sock: socket.socket) -> Destination | None:
    """From the kernel's table of connections; None: it was not redirected."""
    try:
        data = sock.getsockopt(socket.IPPROTO_IP, _ORIGINAL_DESTINATION, 16)
    except OSError:
        return None
    _, port, packed = struct.unpack_from("!HH4s", data)
    address = IPv4Address(packed)
    return None if (str(address), port) == sock.getsockname() else Destination(address, port)


class Relay:
    """The connections of all sandboxes of a node. Make one with :meth:`serving`."""

    def __init__(
        self,
        gate: Gatekeeper,
        pins: PinStore,
        proxies: Mapping[str, Proxy],
        clock: Callable[[], float],
        destination: Callable[[socket.socket], Destination | None],
    ) -> None:
        self._around = Surroundings(gate, pins, clock)
        self._proxies = proxies
        self._destination = destination
        self._connections: dict[SandboxId, set[Relayed]] = {}
        self._count = 0
        self._idle = asyncio.Event()
        """Whether there are no connections."""
        self._idle.set()
        self.port = 0

    @classmethod
    @contextlib.asynccontextmanager
    async def serving(
        cls,
        gate: Gatekeeper,
        pins: PinStore,
        *,
        host: str,
        port: int,
        proxies: Mapping[str, Proxy],
        clock: Callable[[], float],
        destination: Callable[[socket.socket], Destination | None] = original_destination,
    ) -> AsyncIterator[Relay]:
        """Serve until the block is left, which ends all connections. ``port``: 0 lets the kernel choose. Raises: OSError: it is taken."""
        relay = cls(gate, pins, proxies, clock, destination)
        server = await asyncio.get_running_loop().create_server(lambda: Side(relay.take), host, port, backlog=BACKLOG)
        relay.port = server.sockets[0].getsockname()[1]
        try:
            yield relay
        finally:
            server.close()
            relay._end_all()
            await relay._idle.wait()

    def take(self, side: Side) -> None:
        """A connection has come. Whoever is not a redirected sandbox is hung up on."""
        destination, client = self._destination(side.sock), self._client_of(side.sock)
        if destination is None or client is None:
            side.reset()
            return
        relayed = Relayed(self._around, client, destination, self._ended)
        try:
            relayed.begin(side, self._proxy(client))
        except RefusedError as error:
            side.reset()
            relayed.note_refused(error)
            return
        self._connections.setdefault(client.sandbox_id, set()).add(relayed)
        self._count += 1
        self._idle.clear()

    def _client_of(self, sock: socket.socket) -> Client | None:
        try:
            return self._around.gate.client_at(IPv4Address(sock.getpeername()[0]))
        except OSError:  # gone again
            return None

    def _proxy(self, client: Client) -> Proxy | None:
        """Raises: RefusedError: there are too many connections, or the proxy is not there."""
        if len(self._connections.get(client.sandbox_id, ())) >= MAX_EACH or self._count >= MAX_ALL:
            raise RefusedError(Rule.CONNECTIONS, f"Close some connections first; {MAX_EACH} may be open.")
        name = client.policy.proxy
        if name and name not in self._proxies:
            raise RefusedError(Rule.PROXY, f"The node has no proxy {name}; its operator can configure it.")
        return self._proxies[name] if name else None

    def policy_changed(self, client: Client) -> None:
        """End the connections of the sandbox that its new policy does not allow; the others go on under it."""
        for relayed in list(self._connections.get(client.sandbox_id, ())):
            relayed.policy_changed(client)

    def end(self, sandbox_id: SandboxId) -> None:
        """End all connections of a sandbox."""
        for relayed in list(self._connections.get(sandbox_id, ())):
            relayed.end()

    def _end_all(self) -> None:
        for sandbox_id in list(self._connections):
            self.end(sandbox_id)

    def _ended(self, relayed: Relayed) -> None:
        sandbox_id = relayed.client.sandbox_id
        connections = self._connections[sandbox_id]
        connections.discard(relayed)
        self._count -= 1
        if not self._count:
            self._idle.set()
        if not connections:
            del self._connections[sandbox_id]
