"""Who may call: tokens of routers and of sandboxes' clients, checked against the router's public key."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from cove.exception import AuthError, PermissionDeniedError
from cove.types import NodeId
from policies.access import SandboxClaims, bearer, verify_node, verify_sandbox

CACHED_TOKENS: Final = 4096
"""Verified tokens remembered: checking a signature costs 160 us, looking one up under 1 us."""


class Gate:
    """Checks bearer tokens. Until the router's key is known (registration), nobody passes."""

    def __init__(self, node_id: NodeId) -> None:
        self._node_id = node_id
        self._key: Ed25519PublicKey | None = None
        self._verified: OrderedDict[str, SandboxClaims] = OrderedDict()

    def trust(self, router_public_key: bytes) -> None:
        """Take the router's key (raw, 32 bytes). Raises: ValueError: not a key."""
        self._key = Ed25519PublicKey.from_public_bytes(router_public_key)
        self._verified.clear()

    def router(self, header: str | None) -> None:
        """Pass a router. Raises: AuthError."""
        verify_node(bearer(header), self._trusted(), node_id=self._node_id, now=time.time())

    def client(self, header: str | None, sandbox_id: str) -> None:
        """Pass a client of ``sandbox_id``. Raises: AuthError; PermissionDeniedError: the token is another sandbox's."""
        token = bearer(header)
        now = time.time()
        claims = self._verified.get(token)
        if claims is None or claims.expires_at <= now:
            claims = verify_sandbox(token, self._trusted(), now=now)
            self._verified[token] = claims
            if len(self._verified) > CACHED_TOKENS:
                self._verified.popitem(last=False)
        if claims.sandbox_id != sandbox_id or claims.node_id != self._node_id:
            raise PermissionDeniedError("The token opens another sandbox.", remedy="Fetch access for this one.")

    def _trusted(self) -> Ed25519PublicKey:
        if self._key is None:
            raise AuthError("The node has not joined a router yet.", remedy="Try again in a moment.", retryable=True)
        return self._key
