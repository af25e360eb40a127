"""From a data-plane token to the node that has the sandbox."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from cove.exception import AuthError, NotFoundError
from policies.access import SandboxClaims, bearer
from router.access import AccessKey
from router.db.protocol import Database
from router.nodes import Node, NodeTable

CACHED_TOKENS: Final = 4_096
"""Verified tokens remembered: checking a signature costs 160 us, as much as the rest of the proxying."""


class Routes:
    """Who may go where; one instance per router."""

    def __init__(self, db: Database, nodes: NodeTable, key: AccessKey) -> None:
        self._db, self._nodes, self._key = db, nodes, key
        self._verified: OrderedDict[str, SandboxClaims] = OrderedDict()

    async def find(self, authorization: str | None) -> tuple[SandboxClaims, Node]:
        """What the ``Authorization`` header opens, and where that is.

        Raises:  AuthError: no, a wrong or an expired token. NotFoundError: the sandbox is kept no longer.
        """
        claims = self._claims(bearer(authorization))
        record = await self._db.sandboxes.get(claims.sandbox_id)
        if record is None:
            raise NotFoundError(f"The sandbox {claims.sandbox_id} is no longer kept.")
        if record.node_id != claims.node_id:
            raise AuthError("The access token is for another node.", remedy="Fetch access again.", retryable=True)
        return claims, self._nodes.get(record.node_id)

    def _claims(self, token: str) -> SandboxClaims:
        claims = self._verified.get(token)
        if claims is None or self._key.is_over(claims.expires_at):
            claims = self._key.verify_sandbox(token)
            self._verified[token] = claims
            if len(self._verified) > CACHED_TOKENS:
                self._verified.popitem(last=False)
        return claims
