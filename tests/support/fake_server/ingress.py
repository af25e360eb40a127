"""Tunnels and connect tokens of the fake router."""

from __future__ import annotations

from cove.exception import ConflictError, NotFoundError, SandboxTimeoutError
from cove.types import new_id
from cove.wire import common_pb2, ingress_pb2
from tests.support.fake_server.edge import unary
from tests.support.fake_server.world import World


class FakeIngress:
    """The part of cove.v1.Control that is about ways into sandboxes."""

    world: World

    @unary
    async def SandboxTunnels(self, request: ingress_pb2.SandboxTunnelsRequest) -> ingress_pb2.SandboxTunnelsResponse:
        self.world.waits.append(request.timeout_s)
        if self.world.not_running > 0:
            self.world.not_running -= 1
            raise SandboxTimeoutError("The sandbox does not run.")
        ports = self.world.sandboxes[request.sandbox_id].spec.ports
        return ingress_pb2.SandboxTunnelsResponse(tunnels=[_tunnel(spec) for spec in ports])

    @unary
    async def SandboxPortOpen(self, request: ingress_pb2.SandboxPortOpenRequest) -> ingress_pb2.SandboxPortOpenResponse:
        ports = self.world.sandboxes[request.sandbox_id].spec.ports
        known = next((spec for spec in ports if spec.port == request.spec.port), None)
        if known is not None and known != request.spec:
            raise ConflictError("It is open in another way.")
        if known is None:
            ports.append(request.spec)
        return ingress_pb2.SandboxPortOpenResponse(tunnel=_tunnel(request.spec))

    @unary
    async def SandboxPortClose(self, request: ingress_pb2.SandboxPortCloseRequest) -> ingress_pb2.SandboxPortCloseResponse:
        spec = self.world.sandboxes[request.sandbox_id].spec
        kept = [one for one in spec.ports if one.port != request.port]
        del spec.ports[:]
        spec.ports.extend(kept)
        return ingress_pb2.SandboxPortCloseResponse()

    @unary
    async def ConnectTokenCreate(self, request: ingress_pb2.ConnectTokenCreateRequest) -> ingress_pb2.ConnectTokenCreateResponse:
        token_id = new_id("ct")
        self.world.connect_tokens[token_id] = request
        return ingress_pb2.ConnectTokenCreateResponse(token_id=token_id, token="e.y.z", url="http://127.1.2.3:4000", expires_at=5.0)

    @unary
    async def ConnectTokenList(self, request: ingress_pb2.ConnectTokenListRequest) -> ingress_pb2.ConnectTokenListResponse:
        tokens = [
            ingress_pb2.ConnectTokenInfo(token_id=token_id, user_metadata=made.user_metadata, created_at=1.0, expires_at=5.0)
            for token_id, made in self.world.connect_tokens.items()
            if made.sandbox_id == request.sandbox_id
        ]
        return ingress_pb2.ConnectTokenListResponse(tokens=tokens)

    @unary
    async def ConnectTokenRevoke(self, request: ingress_pb2.ConnectTokenRevokeRequest) -> ingress_pb2.ConnectTokenRevokeResponse:
        if self.world.connect_tokens.pop(request.token_id, None) is None:
            raise NotFoundError("There is no such connect token.")
        return ingress_pb2.ConnectTokenRevokeResponse()


def _tunnel(spec: common_pb2.PortSpec) -> ingress_pb2.TunnelInfo:
    raw = spec.kind == common_pb2.PORT_KIND_UNENCRYPTED
    return ingress_pb2.TunnelInfo(
        spec=spec,
        url=f"http://127.1.2.3:{spec.port}",
        tls_host="127.1.2.3",
        tls_port=spec.port + 1,
        tcp_host="127.1.2.3" if raw else "",
        tcp_port=spec.port if raw else 0,
    )
