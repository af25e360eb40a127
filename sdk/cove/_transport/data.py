"""Calls to one sandbox: straight to its node, or through the router where the node cannot be reached, with the sandbox's access token."""

from __future__ import annotations

import asyncio
from typing import Final

from cove._transport.channels import Peer, Peers
from cove._transport.control import CONNECT_S, ControlPlane
from cove._transport.methods import SANDBOX_ACCESS
from cove._transport.plane import Metadata, Plane, Route
from cove.exception import ConnectionError
from cove.types import SandboxId
from cove.wire import common_pb2, control_pb2

DIRECT_CONNECT_S: Final = 3.0
"""How long a node may take to accept a connection before the router is asked to pass the calls on."""

AVOID_S: Final = 60.0
"""How long a node that could not be reached is not tried again."""

AVOID_KNOWN_S: Final = 5.0
"""The same for a node that was reached before: it is probably being restarted."""


class DataPlane(Plane):
    """One sandbox's data plane.

    Args:    access: as ``SandboxCreate`` gave it; fetched on first use when left out.
    """

    def __init__(
        self,
        peers: Peers,
        control: ControlPlane,
        sandbox_id: SandboxId,
        *,
        reconnect_s: float,
        access: common_pb2.Access | None = None,
    ) -> None:
        super().__init__(reconnect_s)
        self._peers = peers
        self._control = control
        self.sandbox_id = sandbox_id
        self._access = access
        self._fetching = asyncio.Lock()

    async def access(self) -> common_pb2.Access:
        """Address and token that hold now; fetched from the router where none are known."""
        async with self._fetching:
            if self._access is None:
                request = control_pb2.SandboxAccessRequest(sandbox_id=self.sandbox_id)
                self._access = await self._control.call(SANDBOX_ACCESS, request)
            return self._access

    async def route(self) -> Route:
        """See :meth:`Plane.route`."""
        access = self._access or await self.access()
        return Route(await self._peer(access.grpc_address), _bearer(access.token))

    def renew(self, rejected: Metadata) -> bool:
        """Forget the token, unless another call has renewed it meanwhile."""
        if self._access is not None and _bearer(self._access.token) == rejected:
            self._access = None
        return True

    def failed(self, peer: Peer) -> None:
        """A call through the router broke: the node itself may be back."""
        if peer.address == self._control.address and self._access is not None:
            self._peers.get(self._access.grpc_address).avoid_until = 0.0

    async def _peer(self, address: str) -> Peer:
        node = self._peers.get(address)
        if asyncio.get_running_loop().time() >= node.avoid_until:
            try:
                await node.reach(DIRECT_CONNECT_S)
                return node
            except ConnectionError:
                node.avoid_until = asyncio.get_running_loop().time() + (AVOID_KNOWN_S if node.reached else AVOID_S)
        router = self._peers.get(self._control.address)
        await router.reach(CONNECT_S)
        return router


def _bearer(token: str) -> Metadata:
    return (("authorization", f"Bearer {token}"),)
