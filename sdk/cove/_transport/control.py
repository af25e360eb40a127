"""Calls to the router, with the client's token."""

from __future__ import annotations

from typing import Final

from cove._transport.channels import Peer, Peers
from cove._transport.plane import Metadata, Plane, Route

CONNECT_S: Final = 5.0
"""How long one attempt to connect to the router may take."""


class ControlPlane(Plane):
    """The router's API.

    Args:    address: host:port of its gRPC service.
    """

    def __init__(self, peers: Peers, address: str, *, token_id: str, token_secret: str, reconnect_s: float) -> None:
        super().__init__(reconnect_s)
        self.address = address
        self._peers = peers
        self._metadata: Metadata = (("cove-token-id", token_id), ("cove-token-secret", token_secret))

    async def route(self) -> Route:
        """See :meth:`Plane.route`."""
        peer = self._peers.get(self.address)
        await peer.reach(CONNECT_S)
        return Route(peer, self._metadata)

    def renew(self, rejected: Metadata) -> bool:
        """The client has only the one token."""
        return False

    def failed(self, peer: Peer) -> None:
        """There is only the one way."""
