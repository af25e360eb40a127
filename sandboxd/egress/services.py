"""Resolver and relay of a node as one thing to start, to tell of changes, and to stop. Wiring only."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from ipaddress import IPv4Address
from pathlib import Path

from cove.types import SandboxId
from sandboxd.egress.dns.nameservers import HostNameservers
from sandboxd.egress.dns.resolver import Resolver
from sandboxd.egress.dns.server import DnsServer
from sandboxd.egress.dns.upstream import Server, Upstream
from sandboxd.egress.model import Client, Gatekeeper
from sandboxd.egress.pin_store import PinStore


class EgressServices:
    """What the node has to do with resolver and relay. Make one with :meth:`serving`. All methods belong to the event loop's thread."""

    def __init__(self, resolver: Resolver, pins: PinStore, dns_port: int) -> None:
        self._resolver = resolver
        self._pins = pins
        self.dns_port = dns_port
        """Where the resolver listens, over UDP and TCP; what sandboxes send to port 53 of their nameserver is led there."""

    @classmethod
    @contextlib.asynccontextmanager
    async def serving(
        cls, gate: Gatekeeper, *, host: str, dns_port: int, directory: Path, nameservers: Callable[[], Sequence[Server]] | None = None
    ) -> AsyncIterator[EgressServices]:
        """Serve until the block is left. Pins that a former daemon left are known at once.

        Args:
            host: IPv4 address to listen on; ``0.0.0.0`` where the packet filter redirects. Nobody but sandboxes gets an answer.
            dns_port: 0 lets the kernel choose.
            directory: for the pins; need not survive a reboot.
            nameservers: those to ask; the host's own when left out.
        Raises: OSError: a port is taken, or the directory cannot be used.
        """
        pins = PinStore(directory, time.monotonic)
        resolver = Resolver(gate, Upstream(nameservers or HostNameservers()), pins, time.monotonic)
        async with DnsServer.serving(gate, resolver, host=host, port=dns_port) as bound:
            yield cls(resolver, pins, bound)

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
        return bare

    def forget(self, sandbox_id: SandboxId) -> None:
        """The sandbox is gone. Idempotent. Raises: OSError."""
        self._resolver.forget(sandbox_id)
        self._pins.forget(sandbox_id)

    def list_(self) -> frozenset[SandboxId]:
        """Sandboxes of which something is on disk; for the reconciler."""
        return self._pins.list_()
