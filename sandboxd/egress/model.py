"""What resolver and relay share: who asks, what is told of an attempt, and what they need of the node. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address
from typing import Protocol

import msgspec

from cove.types import SandboxId
from policies.egress import EgressPolicy


class Client(msgspec.Struct, frozen=True):
    """A sandbox as its source address shows it."""

    sandbox_id: SandboxId
    policy: EgressPolicy


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a sandbox tried: a name it asked for, or a connection through the relay. One line of its egress log."""

    allowed: bool
    protocol: str
    """``dns`` or ``tcp``."""
    address: str = ""
    """Empty: a name that was asked for."""
    port: int = 0
    name: str = ""
    """That was asked for, or that the connection named; empty: none known."""
    rule: str
    """What decided."""
    remedy: str = ""
    """Of a denied one: what would allow it."""


class Gatekeeper(Protocol):
    """What resolver and relay need of the node. All methods belong to the event loop's thread."""

    def client_at(self, address: IPv4Address) -> Client | None:
        """The sandbox whose link has ``address``; None: nobody's, and nothing is answered.

        The packet filter vouches for source addresses.
        """

    def denied_range(self, address: IPv4Address) -> str:
        """The rule by which no sandbox may reach ``address`` (host, other sandboxes, metadata, private ranges); empty: there is none."""

    async def pin(self, client: Client, addresses: Sequence[IPv4Address], lasts_s: float) -> None:
        """Let the sandbox connect to ``addresses`` for so long; done when the packet filter has them. Asked of allowlists with names only.

        Raises:  ConflictError: ``client.policy`` is no longer in force. Other cove errors, OSError: the packet filter refused.
        """

    def note(self, sandbox_id: SandboxId, attempt: Attempt) -> None:
        """Put a line into the sandbox's egress log. Returns at once, never fails, and may be called at any rate."""
