"""Connect tokens of this router: made, checked at every request, revoked at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from cove.exception import AuthError
from cove.types import SandboxId, derived_id
from policies.connect_tokens import TOKEN_PREFIX, ConnectClaims
from router.access import AccessKey
from router.db.ingress import ConnectTokenRecord
from router.db.protocol import Database
from router.db.records import SandboxRecord
from router.ingress.verified import Verified

LONGEST_S: Final = 30 * 86_400.0
"""Of a token for a sandbox that is not known to end before."""


class Issued(NamedTuple):
    """A token and its record."""

    token: str
    record: ConnectTokenRecord


class ConnectTokens:
    """One instance per router."""

    def __init__(self, db: Database, key: AccessKey, *, clock: Callable[[], float]) -> None:
        self._db, self._key, self._clock = db, key, clock
        self._verified = Verified(key.verify_connect, key.is_over)
        self._listeners: list[Callable[[str], None]] = []

    def on_revoked(self, listener: Callable[[str], None]) -> None:
        """Call ``listener`` with the id of every token that is revoked from now on."""
        self._listeners.append(listener)

    async def create(self, sandbox: SandboxRecord, user_metadata: str, *, lifetime_s: int, key: str) -> Issued:
        """A token; the same one for the same ``key``.

        Args:    lifetime_s: 0: as long as the sandbox may live. user_metadata: checked.
        """
        now = self._clock()
        longest = sandbox.observed.expires_at or now + LONGEST_S
        record = await self._db.connect_tokens.add(
            ConnectTokenRecord(
                token_id=derived_id(TOKEN_PREFIX, sandbox.sandbox_id.encode(), key.encode()),
                sandbox_id=sandbox.sandbox_id,
                user_metadata=user_metadata,
                created_at=now,
                expires_at=min(now + lifetime_s, longest) if lifetime_s else longest,
            )
        )
        claims = ConnectClaims(record.token_id, record.sandbox_id, record.user_metadata, record.expires_at)
        return Issued(self._key.sign_connect(claims), record)

    async def get(self, token_id: str) -> ConnectTokenRecord | None:
        """By id, revoked or not."""
        return await self._db.connect_tokens.get(token_id)

    async def list_(self, sandbox_id: SandboxId) -> Sequence[ConnectTokenRecord]:
        """All of a sandbox, oldest first."""
        return await self._db.connect_tokens.list_(sandbox_id)

    async def revoke(self, token_id: str) -> None:
        """Make it worthless, for open connections too."""
        await self._db.connect_tokens.revoke(token_id, self._clock())
        for listener in self._listeners:
            listener(token_id)

    async def check(self, token: str, sandbox_id: SandboxId) -> ConnectClaims:
        """The claims of a token that opens ``sandbox_id`` now.

        Raises:  AuthError: it does not.
        """
        claims = self._verified(token)
        record = await self._db.connect_tokens.get(claims.token_id)
        if record is None or record.revoked_at or claims.sandbox_id != sandbox_id:
            raise AuthError("The connect token is not valid here.", remedy="Ask for a fresh one.")
        return claims
