"""Ways into sandboxes as rows, and the stores that keep them. All times are Unix seconds, 0 where something has not happened."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Protocol

import msgspec

from cove.types import SandboxId


class EntranceKind(IntEnum):
    """What an entrance speaks; the first three are those of ``cove.v1.PortKind``."""

    ENCRYPTED = 0
    UNENCRYPTED = 1
    H2 = 2
    CONNECT = 3
    """HTTP with a connect token; the others relay whatever comes."""


class EntranceRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One way from outside to a port inside: a tunnel, or the HTTP entrance for connect tokens."""

    name: str
    """A random DNS label: who knows it is let in to a tunnel."""
    sandbox_id: SandboxId
    port: int
    """Of the server inside."""
    kind: EntranceKind
    created_at: float
    plain_port: int = 0
    """Where it was bound outside, without TLS; 0: nowhere yet."""
    tls_port: int = 0


class ConnectTokenRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One connect token, without its signature: nobody can make it from this."""

    token_id: str
    sandbox_id: SandboxId
    user_metadata: str
    created_at: float
    expires_at: float
    revoked_at: float = 0


class EntranceStore(Protocol):
    """Entrances; ``SandboxStore.reserve`` writes those that a sandbox is created with. They go with their sandbox."""

    async def add(self, entrance: EntranceRecord) -> EntranceRecord:
        """Store it. Returns: ``entrance``, or the one that the sandbox's port has already, a tunnel or an HTTP entrance as this."""

    async def of(self, sandbox_id: SandboxId) -> list[EntranceRecord]:
        """All of a sandbox, by port."""

    async def live(self) -> list[EntranceRecord]:
        """All of sandboxes that have not stopped."""

    async def bound(self, name: str, *, plain_port: int, tls_port: int) -> None:
        """Note where it is reached."""

    async def remove(self, name: str) -> bool:
        """Forget it. False: there is none."""


class ConnectTokenStore(Protocol):
    """Connect tokens. They go with their sandbox."""

    async def add(self, token: ConnectTokenRecord) -> ConnectTokenRecord:
        """Store it. Returns: ``token``, or the one that has its id already."""

    async def get(self, token_id: str) -> ConnectTokenRecord | None:
        """The token, revoked or not."""

    async def list_(self, sandbox_id: SandboxId) -> Sequence[ConnectTokenRecord]:
        """All of a sandbox, oldest first."""

    async def revoke(self, token_id: str, at: float) -> bool:
        """Revoke it; a second time changes nothing. False: there is none."""
