"""Mints the tokens that open sandboxes and nodes, with the router's Ed25519 key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from cove.types import NodeId, SandboxId
from policies.access import NodeClaims, SandboxClaims, sign_node, sign_sandbox, verify_sandbox
from policies.connect_tokens import ConnectClaims, sign_connect, verify_connect
from router.secret_files import read_or_create

NODE_TOKEN_LIFETIME_S: Final = 60


class AccessKey:
    """The key pair. Nodes hold the public half and can therefore check tokens, not make them."""

    def __init__(self, private_key: Ed25519PrivateKey, *, clock: Callable[[], float], access_lifetime_s: float) -> None:
        self._private_key = private_key
        self._public_key: Ed25519PublicKey = private_key.public_key()
        self._clock, self._access_lifetime_s = clock, access_lifetime_s
        self._node_tokens: dict[NodeId, tuple[float, str]] = {}

    @property
    def public_bytes(self) -> bytes:
        """The public half, 32 bytes."""
        return self._public_key.public_bytes(Encoding.Raw, PublicFormat.Raw)

    def sandbox_token(self, sandbox_id: SandboxId, node_id: NodeId) -> tuple[str, float]:
        """A data-plane token and its end (Unix seconds)."""
        expires_at = float(int(self._clock() + self._access_lifetime_s))
        return sign_sandbox(SandboxClaims(sandbox_id, node_id, expires_at), self._private_key), expires_at

    def node_token(self, node_id: NodeId) -> str:
        """A token for one node's API that is good for half a minute at least; signed anew once a half-life."""
        now = self._clock()
        expires_at, token = self._node_tokens.get(node_id, (0.0, ""))
        if expires_at < now + NODE_TOKEN_LIFETIME_S / 2:
            expires_at = now + NODE_TOKEN_LIFETIME_S
            token = sign_node(NodeClaims(node_id, expires_at), self._private_key)
            self._node_tokens[node_id] = (expires_at, token)
        return token

    def verify_sandbox(self, token: str) -> SandboxClaims:
        """The claims of a data-plane token.

        Raises:  AuthError: forged, for something else, or expired.
        """
        return verify_sandbox(token, self._public_key, now=self._clock())

    def sign_connect(self, claims: ConnectClaims) -> str:
        """The connect token for ``claims``."""
        return sign_connect(claims, self._private_key)

    def verify_connect(self, token: str) -> ConnectClaims:
        """The claims of a connect token.

        Raises:  AuthError: forged, for something else, or expired.
        """
        return verify_connect(token, self._public_key, now=self._clock())

    def is_over(self, expires_at: float) -> bool:
        """Whether a token that ends then has ended."""
        return expires_at <= self._clock()


def load_key(path: Path) -> Ed25519PrivateKey:
    """The key in ``path``, made at the first start."""
    return Ed25519PrivateKey.from_private_bytes(read_or_create(path, _new_key))


def _new_key() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
