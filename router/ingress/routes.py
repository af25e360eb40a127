"""From a data-plane token to the node that has the sandbox."""

from __future__ import annotations

from cove.exception import AuthError, NotFoundError
from policies.access import SandboxClaims, bearer
from router.access import AccessKey
from router.db.protocol import Database
from router.ingress.verified import Verified
from router.nodes import Node, NodeTable


class Routes:
    """Who may go where; one instance per router."""

    def __init__(self, db: Database, nodes: NodeTable, key: AccessKey) -> None:
        self._db, self._nodes, self._key = db, nodes, key
        self._verified = Verified(key.verify_sandbox, key.is_over)

    async def find(self, authorization: str | None) -> tuple[SandboxClaims, Node]:
        """What the ``Authorization`` header opens, and where that is.

        Raises:  AuthError: no, a wrong or an expired token. NotFoundError: the sandbox is kept no longer.
        """
        claims = self._verified(bearer(authorization))
        record = await self._db.sandboxes.get(claims.sandbox_id)
        if record is None:
            raise NotFoundError(f"The sandbox {claims.sandbox_id} is no longer kept.")
        if record.node_id != claims.node_id:
            raise AuthError("The access token is for another node.", remedy="Fetch access again.", retryable=True)
        return claims, self._nodes.get(record.node_id)
