"""Methods of sandboxes about what they may reach."""

from __future__ import annotations

from collections.abc import Sequence

from cove import _egress
from cove._async.base import Part
from cove._transport.connection import Connection
from cove._transport.data import DataPlane
from cove._transport.methods import SANDBOX_NETWORK_UPDATE
from cove.wire import network_pb2


class Networking(Part):
    """What has a network policy. The class that derives from it has files, too, and so a connection and a data plane."""

    _connection: Connection
    _plane: DataPlane

    async def update_network(
        self,
        *,
        block_network: bool = False,
        cidr_allowlist: Sequence[str] | None = None,
        domain_allowlist: Sequence[str] | None = None,
        record_network: bool = False,
    ) -> None:
        """Replace what the running sandbox may reach; without arguments that is everything that any sandbox may.

        When it returns the new policy holds, and connections that it does not allow are cut. The arguments are those of :meth:`create`.

        Raises:
            InvalidError: an entry is malformed, or the arguments contradict each other.
            ConflictError: the sandbox has ended, or was created with ``block_network``.
        """
        policy = _egress.policy(
            block_network=block_network,
            cidr_allowlist=cidr_allowlist,
            domain_allowlist=domain_allowlist,
            record_network=record_network,
        )
        request = network_pb2.SandboxNetworkUpdateRequest(sandbox_id=self._plane.sandbox_id, policy=policy)
        await self._connection.control.call(SANDBOX_NETWORK_UPDATE, request)
