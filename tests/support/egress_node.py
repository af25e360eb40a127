"""What resolver and relay need of a node, for tests: sandboxes by address, and an account of all that was said."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from cove.exception import ConflictError
from cove.types import SandboxId, new_id
from policies.egress import EgressPolicy
from policies.egress.ranges import Rule
from sandboxd.egress.model import Attempt, Client

DENIED: Final = {"10.0.0.0/8": Rule.PRIVATE, "169.254.0.0/16": Rule.LINK_LOCAL, "192.168.0.0/16": Rule.PRIVATE}


class FakeNode:
    """A Gatekeeper. ``denied``: ranges that no sandbox may reach, and why."""

    def __init__(self, denied: Mapping[str, Rule] = DENIED) -> None:
        self.clients: dict[IPv4Address, Client] = {}
        self.denied = {IPv4Network(entry): rule for entry, rule in denied.items()}
        self.pinned: list[tuple[SandboxId, list[str], float]] = []
        self.notes: list[tuple[SandboxId, Attempt]] = []
        self.noted = asyncio.Event()
        """Set by each note."""
        self.pin_error: Exception | None = None
        self.pinning = asyncio.Event()
        """Pins wait for it; set by default."""
        self.pinning.set()

    def add(self, address: str, policy: EgressPolicy) -> Client:
        client = Client(SandboxId(new_id("sb")), policy)
        self.clients[IPv4Address(address)] = client
        return client

    def client_at(self, address: IPv4Address) -> Client | None:
        return self.clients.get(address)

    def denied_range(self, address: IPv4Address) -> str:
        return next((rule for network, rule in self.denied.items() if address in network), "")

    async def pin(self, client: Client, addresses: Sequence[IPv4Address], lasts_s: float) -> None:
        await self.pinning.wait()
        if client not in self.clients.values():
            raise ConflictError("The policy is another by now.")
        if self.pin_error:
            raise self.pin_error
        self.pinned.append((client.sandbox_id, [str(address) for address in addresses], lasts_s))

    def note(self, sandbox_id: SandboxId, attempt: Attempt) -> None:
        self.notes.append((sandbox_id, attempt))
        self.noted.set()

    def denials(self) -> list[tuple[str, str]]:
        """(rule, name or address) of what was denied, in order."""
        return [(attempt.rule, attempt.name or attempt.address) for _, attempt in self.notes if not attempt.allowed]
