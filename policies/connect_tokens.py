"""Connect tokens: who may speak to the HTTP server on a sandbox's port 8080, and as whom. Claims, signed and checked. Pure."""

from __future__ import annotations

from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from cove.exception import InvalidError
from cove.types import SandboxId, is_id
from policies.access import ISSUER, issuer_of, refused, sign, verify

AUDIENCE: Final = "connect"
TOKEN_PREFIX: Final = "ct"
PORT: Final = 8080
"""The server inside listens here; no token is for another port."""

MAX_METADATA: Final = 511
"""Characters."""


class ConnectClaims(msgspec.Struct, frozen=True):
    """Opens port 8080 of one sandbox until ``expires_at`` (Unix seconds), unless ``token_id`` is revoked."""

    token_id: str
    sandbox_id: SandboxId
    user_metadata: str
    """What the server inside is told of the user; empty: nothing."""
    expires_at: float


def sign_connect(claims: ConnectClaims, key: Ed25519PrivateKey) -> str:
    """The JWT for ``claims``."""
    values = {"sub": claims.sandbox_id, "jti": claims.token_id, "data": claims.user_metadata, "exp": claims.expires_at}
    return sign({"aud": AUDIENCE, **values}, key)


def verify_connect(token: str, key: Ed25519PublicKey, *, now: float) -> ConnectClaims:
    """The claims of a connect ``token``. Whether it was revoked is not in it.

    Args:    now: Unix seconds.
    Raises:  AuthError: ``token_expired`` when only its time is over, otherwise ``unauthenticated``.
    """
    claims = verify(token, key, audience=AUDIENCE, now=now)
    sandbox_id, token_id, metadata = claims["sub"], claims.get("jti"), claims.get("data")
    if not is_id(sandbox_id, "sb") or not isinstance(token_id, str) or not is_id(token_id, TOKEN_PREFIX) or not isinstance(metadata, str):
        raise refused()
    return ConnectClaims(token_id, SandboxId(sandbox_id), check_metadata(metadata), claims["exp"])


def is_ours(token: str) -> bool:
    """Whether ``token`` looks like one that a router issued, good or not: it is nobody else's business then."""
    return issuer_of(token) == ISSUER


def check_metadata(metadata: str) -> str:
    """``metadata`` if a header can carry it as it is.

    Raises:  InvalidError: too long, or not printable ASCII, which JSON always can be.
    """
    if len(metadata) > MAX_METADATA:
        raise InvalidError(f"user_metadata has {len(metadata)} characters.", remedy=f"Allowed are {MAX_METADATA} after serialization.")
    if not (metadata.isascii() and metadata.isprintable()) or metadata != metadata.strip():
        raise InvalidError(
            "user_metadata is not printable ASCII, which a header needs.", remedy="Pass a dict, or JSON with everything else escaped."
        )
    return metadata
