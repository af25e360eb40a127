"""Who calls: API tokens of clients, the join token and session tokens of nodes.

Secrets are 131 random bits (``cove.types.new_id``), so the database keeps HMAC-SHA-256 under a key that is not in the database
(the *pepper*), with the token's id as salt. A slow hash such as scrypt protects guessable passwords; these cannot be guessed, and a
fast one lets every call be checked against the database, so that a revoked token fails at once and no cache can go stale. The pepper
adds what scrypt does not: who can write to the database still cannot make a token.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from typing import Final

import msgspec

from cove.exception import AuthError, ResourceExhaustedError
from cove.types import new_id
from router.db.protocol import TokenStore
from router.db.records import TokenRecord
from router.failures import FailureLimiter

TOKEN_PREFIX: Final = "ak"
SECRET_PREFIX: Final = "as"
SESSION_PREFIX: Final = "ns"
JOIN_PREFIX: Final = "jt"
PEPPER_BYTES: Final = 32

_CREDENTIAL = re.compile(r"[a-z]{2}-[A-Za-z0-9]{22}")


class Caller(msgspec.Struct, frozen=True):
    """Who an API call comes from."""

    token_id: str
    workspace: str


class Credentials(msgspec.Struct, frozen=True):
    """A token with its secret, as a client holds it. Never logged; ``repr`` hides the secret."""

    token_id: str
    token_secret: str

    def __repr__(self) -> str:
        return f"Credentials({self.token_id!r}, …)"


class Hasher:
    """Turns secrets into what may be stored."""

    def __init__(self, pepper: bytes) -> None:
        self._pepper = pepper

    def __call__(self, salt: str, secret: str) -> bytes:
        return hmac.new(self._pepper, f"{salt}\0{secret}".encode(), hashlib.sha256).digest()


class Authenticator:
    """Checks API tokens and remembers when each was last used."""

    def __init__(self, tokens: TokenStore, hasher: Hasher, *, clock: Callable[[], float]) -> None:
        self._tokens, self._hasher, self._clock = tokens, hasher, clock
        self._failures = FailureLimiter(clock)
        self._used_at: dict[str, float] = {}

    async def authenticate(self, token_id: str, secret: str, *, peer: str) -> Caller:
        """The caller with these credentials.

        Args:    peer: network address without port, for limiting failures; valid credentials always pass.
        Raises:
            AuthError: there are no such credentials, whichever part of them is wrong.
            ResourceExhaustedError: too many failures from ``peer``.
        """
        token = await self._tokens.get(token_id) if _CREDENTIAL.fullmatch(token_id) else None
        # Unknown ids cost the same work as wrong secrets, so that timing does not tell them apart.
        expected = token.secret_hash if token else bytes(hashlib.sha256().digest_size)
        matches = hmac.compare_digest(self._hasher(token_id[:64], secret[:256]), expected)
        if token is None or not matches or token.revoked_at:
            raise self._refusal(peer)
        self._used_at[token_id] = self._clock()
        return Caller(token_id, token.workspace)

    async def create(self, workspace: str, name: str) -> Credentials:
        """Store a new token; its secret exists in the answer only."""
        credentials = Credentials(new_id(TOKEN_PREFIX), new_id(SECRET_PREFIX))
        await self.store(credentials, workspace, name)
        return credentials

    async def store(self, credentials: Credentials, workspace: str, name: str) -> None:
        """Make ``credentials`` valid."""
        secret_hash = self._hasher(credentials.token_id, credentials.token_secret)
        await self._tokens.add(TokenRecord(credentials.token_id, workspace, name, secret_hash, self._clock()))

    async def save_use(self) -> None:
        """Write down when tokens were last used: seldom and together, not with every call."""
        used_at, self._used_at = self._used_at, {}
        if used_at:
            await self._tokens.touch(used_at)

    def _refusal(self, peer: str) -> AuthError | ResourceExhaustedError:
        if not self._failures.allows(peer):
            return ResourceExhaustedError("Too many failed logins from this address.", remedy="Wait a minute.")
        return AuthError("The API token is not valid.", remedy="Run `cove token set`, or set COVE_TOKEN_ID and COVE_TOKEN_SECRET.")


def new_pepper() -> bytes:
    """A fresh hashing key."""
    return secrets.token_bytes(PEPPER_BYTES)


def is_credential(text: str, prefix: str) -> bool:
    """Whether ``text`` has the form of a secret with this prefix."""
    return text.startswith(prefix + "-") and _CREDENTIAL.fullmatch(text) is not None
