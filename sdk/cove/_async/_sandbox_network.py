"""Methods of sandboxes about what they may reach."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from cove import _egress
from cove._async.base import Part
from cove._async.proxy import _Proxy, proxy_name
from cove._transport.connection import Connection
from cove._transport.data import DataPlane
from cove._transport.methods import NETWORK_GET, NETWORK_LOG, SANDBOX_NETWORK_UPDATE
from cove._transport.plane import Stream
from cove.types import NetworkRecord, NetworkSummary
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
        proxy: _Proxy | None = None,
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
            proxy=await proxy_name(proxy),
        )
        request = network_pb2.SandboxNetworkUpdateRequest(sandbox_id=self._plane.sandbox_id, policy=policy)
        await self._connection.control.call(SANDBOX_NETWORK_UPDATE, request)

    async def network_log(self, *, follow: bool = False) -> AsyncIterator[NetworkRecord]:
        """What the sandbox has reached and was refused, the latest change last; also after its end, as long as its output is kept.

        Args:    follow: go on until the sandbox ends. A record whose count has grown comes again.
        """
        request = network_pb2.NetworkLogRequest(sandbox_id=self._plane.sandbox_id, follow=follow)
        stream = Stream(self._plane, NETWORK_LOG, lambda: request)
        try:
            while (chunk := await stream.read()) is not None:
                for record in chunk.records:
                    request.cursor = record.cursor
                    yield _egress.record(record)
        finally:
            stream.cancel()

    async def network_summary(self) -> NetworkSummary:
        """The policy in force, and the smallest lists that permit what the sandbox has reached so far."""
        request = network_pb2.NetworkGetRequest(sandbox_id=self._plane.sandbox_id)
        return _egress.summary(await self._plane.call(NETWORK_GET, request))
