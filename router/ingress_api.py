"""The part of ``cove.v1.Control`` that is about ways into sandboxes: decodes requests, calls, encodes answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from cove.exception import NotFoundError
from cove.types import SandboxId
from cove.wire import common_pb2, ingress_pb2
from policies.connect_tokens import check_metadata
from policies.limits import out_of_range
from policies.names import check_idempotency_key
from policies.ports import check_port
from router.auth import Caller
from router.db.ingress import ConnectTokenRecord, EntranceKind
from router.grpc_edge import Method
from router.ingress.connect_tokens import ConnectTokens
from router.ingress.entrances import Entrances
from router.ingress.layout import Layout
from router.sandboxes import Sandboxes

MAX_WAIT_S: Final = 60.0


class IngressApi:
    """Methods by name; one instance per router."""

    def __init__(self, sandboxes: Sandboxes, entrances: Entrances, tokens: ConnectTokens, layout: Layout) -> None:
        self._sandboxes, self._entrances, self._tokens, self._layout = sandboxes, entrances, tokens, layout

    def methods(self) -> Mapping[str, Method[Caller]]:
        """By name in the service."""
        return {
            "SandboxTunnels": self.tunnels,
            "SandboxPortOpen": self.port_open,
            "SandboxPortClose": self.port_close,
            "ConnectTokenCreate": self.token_create,
            "ConnectTokenList": self.token_list,
            "ConnectTokenRevoke": self.token_revoke,
        }

    async def tunnels(self, caller: Caller, request: ingress_pb2.SandboxTunnelsRequest) -> ingress_pb2.SandboxTunnelsResponse:
        record = await self._sandboxes.get(caller, request.sandbox_id)
        open_ = await self._entrances.tunnels(record, timeout_s=_wait_s(request.timeout_s))
        return ingress_pb2.SandboxTunnelsResponse(tunnels=[self._layout.tunnel(one) for one in open_])

    async def port_open(self, caller: Caller, request: ingress_pb2.SandboxPortOpenRequest) -> ingress_pb2.SandboxPortOpenResponse:
        check_port(request.spec)
        record = await self._sandboxes.get(caller, request.sandbox_id)
        kind, timeout_s = EntranceKind(request.spec.kind), _wait_s(request.timeout_s)
        opened = await self._entrances.open_tunnel(record, request.spec.port, kind, timeout_s=timeout_s)
        return ingress_pb2.SandboxPortOpenResponse(tunnel=self._layout.tunnel(opened))

    async def port_close(self, caller: Caller, request: ingress_pb2.SandboxPortCloseRequest) -> ingress_pb2.SandboxPortCloseResponse:
        check_port(common_pb2.PortSpec(port=request.port))
        record = await self._sandboxes.get(caller, request.sandbox_id)
        await self._entrances.close_tunnel(SandboxId(record.sandbox_id), request.port)
        return ingress_pb2.SandboxPortCloseResponse()

    async def token_create(self, caller: Caller, request: ingress_pb2.ConnectTokenCreateRequest) -> ingress_pb2.ConnectTokenCreateResponse:
        key = check_idempotency_key(request.idempotency_key)
        record = await self._sandboxes.get(caller, request.sandbox_id)
        entrance = await self._entrances.connect_entrance(record)
        issued = await self._tokens.create(record, check_metadata(request.user_metadata), lifetime_s=request.lifetime_s, key=key)
        return ingress_pb2.ConnectTokenCreateResponse(
            token_id=issued.record.token_id, token=issued.token, url=self._layout.url(entrance), expires_at=issued.record.expires_at
        )

    async def token_list(self, caller: Caller, request: ingress_pb2.ConnectTokenListRequest) -> ingress_pb2.ConnectTokenListResponse:
        record = await self._sandboxes.get(caller, request.sandbox_id)
        return ingress_pb2.ConnectTokenListResponse(tokens=map(_token_info, await self._tokens.list_(record.sandbox_id)))

    async def token_revoke(self, caller: Caller, request: ingress_pb2.ConnectTokenRevokeRequest) -> ingress_pb2.ConnectTokenRevokeResponse:
        token = await self._tokens.get(request.token_id)
        # A token of another workspace is told from one that does not exist by nothing.
        if token is None or not await self._sandboxes.owns(caller, token.sandbox_id):
            raise NotFoundError(f"There is no connect token {request.token_id[:80]!r}.")
        await self._tokens.revoke(token.token_id)
        return ingress_pb2.ConnectTokenRevokeResponse()


def _token_info(token: ConnectTokenRecord) -> ingress_pb2.ConnectTokenInfo:
    return ingress_pb2.ConnectTokenInfo(
        token_id=token.token_id,
        user_metadata=token.user_metadata,
        created_at=token.created_at,
        expires_at=token.expires_at,
        revoked=token.revoked_at > 0,
    )


def _wait_s(timeout_s: float) -> float:
    """Raises:  InvalidError: out of range."""
    if not 0 <= timeout_s <= MAX_WAIT_S:  # NaN is out of range too
        raise out_of_range("timeout_s", timeout_s, 0, MAX_WAIT_S)
    return timeout_s
