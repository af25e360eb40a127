"""The ``cove.v1.NodeRegistry`` service: how nodes join and report."""

from __future__ import annotations

import hmac
from collections.abc import Mapping

import structlog

from cove.exception import AuthError, PermissionDeniedError
from cove.wire import node_pb2
from policies.access import bearer
from router.auth import SESSION_PREFIX, is_credential
from router.convert import from_registration
from router.grpc_edge import Metadata, Method
from router.nodes import Node, NodeTable
from router.reports import Reports

log = structlog.get_logger(__name__)

Principal = Node | None
"""The reporting node; None: one that may join, or one whose session is over."""


class RegistryApi:
    """All methods of the service; one instance per router."""

    def __init__(
        self, nodes: NodeTable, reports: Reports, *, join_token: str, public_key: bytes, report_interval_s: float, http_url: str
    ) -> None:
        """``http_url``: where nodes find the store."""
        self._nodes, self._reports, self._http_url = nodes, reports, http_url
        self._join_token, self._public_key, self._report_interval_s = join_token, public_key, report_interval_s

    def methods(self) -> Mapping[str, Method[Principal]]:
        """By name in the service."""
        return {"Register": self.register, "Report": self.report}

    async def authenticate(self, method: str, metadata: Metadata, peer: str) -> Principal:
        """The join token for Register, a session token for anything else. Raises: AuthError."""
        token = bearer(metadata.get("authorization"))
        if method == "Register":
            if not hmac.compare_digest(token.encode(), self._join_token.encode()):
                raise AuthError("The join token is not valid.", remedy="Give the node the router's join-token file.")
            return None
        if not is_credential(token, SESSION_PREFIX):
            raise AuthError("The session token is not valid.", remedy="Register first.")
        return self._nodes.by_session(token)

    async def register(self, principal: Principal, request: node_pb2.RegisterRequest) -> node_pb2.RegisterResponse:
        registration = from_registration(request)
        token = await self._nodes.register(registration)
        log.info("node joined", node=registration.node_id, address=registration.grpc_address, version=registration.version)
        return node_pb2.RegisterResponse(
            session_token=token,
            router_public_key=self._public_key,
            report_interval_s=self._report_interval_s,
            http_url=self._http_url,
        )

    async def report(self, principal: Principal, request: node_pb2.ReportRequest) -> node_pb2.ReportResponse:
        if principal is None:
            # Nothing is taken and nothing told: a node whose session ended is to join again.
            return node_pb2.ReportResponse(register_again=True)
        if request.node_id != principal.node_id:
            raise PermissionDeniedError("The session belongs to another node.", remedy="Register first.")
        await self._reports.take(principal, request)
        return node_pb2.ReportResponse()
