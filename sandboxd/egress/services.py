"""Resolver and relay of a node as one thing to start, to tell of changes, and to stop. Wiring only."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from ipaddress import IPv4Address
from pathlib import Path

import msgspec

from cove.types import SandboxId
from sandboxd.egress.dns.nameservers import HostNameservers
from sandboxd.egress.dns.resolver import Resolver
from sandboxd.egress.dns.server import DnsServer
from sandboxd.egress.dns.upstream import Server, Upstream
from sandboxd.egress.model import Client, Gatekeeper
from sandboxd.egress.pin_store import PinStore
from sandboxd.egress.relay.proxies import Proxy
from sandboxd.egress.relay.relayed import Destination
from sandboxd.egress.relay.server import Relay, original_destination


class EgressSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the services of a node listen, and whom they ask."""

    host: str
    """IPv4 address to listen on. Nobody but sandboxes gets an answer."""
    dns_port: int = 53
    relay_port: int = 0
    """For either port: 0 lets the kernel choose."""
    directory: Path
    """For the pins; need not survive a reboot."""
    proxies: Mapping[str, Proxy] = msgspec.field(default_factory=dict)
    """Those that policies may name."""
    nameservers: Callable[[], Sequence[Server]] = msgspec.field(default_factory=HostNameservers)
    """Those to ask, of now: the host's own."""
    destination: Callable[[socket.socket], Destination | None] = original_destination
    """Where a connection was going before it was led to the relay."""


class EgressServices:
    """What the node has to do with resolver and relay. Make one with :meth:`serving`. All methods belong to the event loop's thread."""

    def __init__(self, resolver: Resolver, relay: Relay, pins: PinStore, dns_port: int) -> None:
        self._resolver = resolver
        self._relay = relay
        self._pins = pins
        self.dns_port = dns_port
        """Where the resolver listens, over UDP and TCP."""
        self.relay_port = relay.port
        """Where the relay listens; connections are led there by translating their destination, not by telling the sandbox."""

    @classmethod
    @contextlib.asynccontextmanager
    async def serving(cls, gate: Gatekeeper, settings: EgressSettings) -> AsyncIterator[EgressServices]:
        """Serve until the block is left. Pins that a former daemon left are known at once.

        Raises: OSError: a port is taken, or the directory cannot be used.
        """
        pins = PinStore(settings.directory, time.monotonic)
        resolver = Resolver(gate, Upstream(settings.nameservers), pins, time.monotonic)
        async with contextlib.AsyncExitStack() as stack:
            relay = await stack.enter_async_context(
                Relay.serving(
                    gate,
                    pins,
                    host=settings.host,
                    port=settings.relay_port,
                    proxies=settings.proxies,
                    clock=time.monotonic,
                    destination=settings.destination,
                )
            )
            dns_port = await stack.enter_async_context(DnsServer.serving(gate, resolver, host=settings.host, port=settings.dns_port))
            yield cls(resolver, relay, pins, dns_port)

    def pinned(self, sandbox_id: SandboxId) -> dict[IPv4Address, float]:
        """What the packet filter's set of the sandbox should have: address to seconds left. For a filter that is made anew."""
        return self._pins.book(sandbox_id).left(time.monotonic())

    def name_of(self, sandbox_id: SandboxId, address: IPv4Address) -> str:
        """The name for which the sandbox was given ``address`` last; empty: none, or too long ago."""
        names = self._pins.book(sandbox_id).names_of(address, time.monotonic())
        return names[-1] if names else ""

    def policy_changed(self, client: Client) -> list[IPv4Address]:
        """Call it when :meth:`Gatekeeper.client_at` says the new policy. What it no longer allows ends. Raises: OSError.

        Returns: addresses to take out of the packet filter's set.
        """
        bare = self._pins.book(client.sandbox_id).keep_only(client.policy.allows_name)
        self._pins.rewrite(client.sandbox_id)
        self._relay.policy_changed(client)
        return bare

    def forget(self, sandbox_id: SandboxId) -> None:
        """The sandbox is gone. Idempotent. Raises: OSError."""
        self._relay.end(sandbox_id)
        self._resolver.forget(sandbox_id)
        self._pins.forget(sandbox_id)

    def list_(self) -> frozenset[SandboxId]:
        """Sandboxes of which something is on disk; for the reconciler."""
        return self._pins.list_()
