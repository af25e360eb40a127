"""Tokens that open a sandbox's data plane or a node's API: their claims, signed and checked with Ed25519. Pure.

Routers sign; routers and nodes check. Nodes hold the public key only, so a broken-into node can open nothing but itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import jwt
import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from cove.exception import AuthError
from cove.types import NodeId, SandboxId, is_id

ISSUER: Final = "cove"
SANDBOX_AUDIENCE: Final = "sandbox"
NODE_AUDIENCE: Final = "node"
ALGORITHM: Final = "EdDSA"
MAX_TOKEN_LENGTH: Final = 4_096
MAX_NODE_ID_LENGTH: Final = 128


class SandboxClaims(msgspec.Struct, frozen=True):
    """Opens the data plane of one sandbox on one node until ``expires_at`` (Unix seconds)."""

    sandbox_id: SandboxId
    node_id: NodeId
    expires_at: float


class NodeClaims(msgspec.Struct, frozen=True):
    """Opens the node API of one node until ``expires_at`` (Unix seconds)."""

    node_id: NodeId
    expires_at: float


def sign_sandbox(claims: SandboxClaims, key: Ed25519PrivateKey) -> str:
    """The JWT for ``claims``."""
    return sign({"aud": SANDBOX_AUDIENCE, "sub": claims.sandbox_id, "node": claims.node_id, "exp": claims.expires_at}, key)


def sign_node(claims: NodeClaims, key: Ed25519PrivateKey) -> str:
    """The JWT for ``claims``."""
    return sign({"aud": NODE_AUDIENCE, "sub": claims.node_id, "exp": claims.expires_at}, key)


def verify_sandbox(token: str, key: Ed25519PublicKey, *, now: float) -> SandboxClaims:
    """The claims of a data-plane ``token``.

    Args:    now: Unix seconds.
    Raises:  AuthError: ``token_expired`` when only its time is over, otherwise ``unauthenticated``.
    """
    claims = verify(token, key, audience=SANDBOX_AUDIENCE, now=now)
    sandbox_id, node_id = claims["sub"], claims.get("node")
    if not is_id(sandbox_id, "sb") or not isinstance(node_id, str) or not 0 < len(node_id) <= MAX_NODE_ID_LENGTH:
        raise refused()
    return SandboxClaims(SandboxId(sandbox_id), NodeId(node_id), claims["exp"])


def verify_node(token: str, key: Ed25519PublicKey, *, node_id: NodeId, now: float) -> NodeClaims:
    """The claims of a node-API ``token`` that is meant for ``node_id``.

    Args:    now: Unix seconds.
    Raises:  AuthError: ``token_expired`` when only its time is over, otherwise ``unauthenticated``.
    """
    claims = verify(token, key, audience=NODE_AUDIENCE, now=now)
    if claims["sub"] != node_id:
        raise refused()
    return NodeClaims(node_id, claims["exp"])


def bearer(header: str | None) -> str:
    """The token in an ``Authorization: Bearer`` header.

    Raises:
        AuthError: there is none.
    """
    scheme, _, rest = (header or "").partition(" ")
    token = rest.strip()
    if scheme.lower() != "bearer" or not token or len(token) > MAX_TOKEN_LENGTH:
        raise AuthError("The call carries no bearer token.", remedy="Send `Authorization: Bearer <token>`.")
    return token


def sign(claims: Mapping[str, object], key: Ed25519PrivateKey) -> str:
    """A JWT of ours with ``claims``, which name their audience."""
    return jwt.encode({"iss": ISSUER, **claims}, key, algorithm=ALGORITHM)


def verify(token: str, key: Ed25519PublicKey, *, audience: str, now: float) -> dict[str, Any]:
    """Claims of a token for ``audience``: ``sub`` is a string, ``exp`` a finite number beyond ``now``.

    Raises:  AuthError: ``token_expired`` when only its time is over, otherwise ``unauthenticated``.
    """
    if len(token) > MAX_TOKEN_LENGTH:
        raise refused()
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[ALGORITHM],
            audience=audience,
            issuer=ISSUER,
            # Time is checked below against the caller's clock, so that this stays pure.
            options={"require": ["iss", "aud", "sub", "exp"], "verify_exp": False, "verify_iat": False, "verify_nbf": False},
        )
    except (jwt.PyJWTError, UnsupportedAlgorithm, ValueError) as error:
        raise refused() from error
    claims["exp"] = _finite(claims["exp"])
    if not isinstance(claims["sub"], str):
        raise refused()
    if claims["exp"] <= now:
        raise AuthError("The access token has expired.", code="token_expired", remedy="Fetch access again.", retryable=True)
    return claims


def issuer_of(token: str) -> object:
    """Who a token says issued it; nothing of it is checked. None: it is no token."""
    try:
        claims: dict[str, object] = jwt.decode(token[:MAX_TOKEN_LENGTH], options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError):
        return None
    return claims.get("iss")


def _finite(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise refused()
    try:
        number = float(value)
    except OverflowError:
        raise refused() from None
    if not math.isfinite(number):
        raise refused()
    return number


def refused() -> AuthError:
    """One text for every defect: a forger learns nothing."""
    return AuthError("The access token is not valid here.", remedy="Fetch access again.")
