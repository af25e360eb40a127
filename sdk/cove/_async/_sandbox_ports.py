"""Methods of sandboxes that let others in: tunnels to ports, connect tokens."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from cove import _spec
from cove._async import _tunnels
from cove._async.base import Part
from cove._async.container_process import LINK_MARGIN_S
from cove._transport.connection import Connection
from cove._transport.methods import (
    CONNECT_TOKEN_CREATE,
    CONNECT_TOKEN_REVOKE,
    SANDBOX_PORT_CLOSE,
    SANDBOX_PORT_OPEN,
    SANDBOX_TUNNELS,
)
from cove.exception import SandboxTimeoutError
from cove.tunnel import SandboxConnectCredentials, Tunnel
from cove.types import new_id
from cove.wire import common_pb2, control_pb2, ingress_pb2

ASK_S: Final = 60.0
"""Longest that the server waits in one call."""


class Ports(Part):
    """What has ports that can be reached from outside."""

    _connection: Connection
    _info: control_pb2.SandboxInfo

    async def tunnels(self, timeout: int = 50) -> dict[int, Tunnel]:
        """Its tunnels by port: those of ``Sandbox.create`` and of :meth:`open_port`. Waits until the sandbox runs.

        They can be connected to from then on; whether anything answers is up to the servers inside.

        Args:    timeout: seconds to wait.
        Raises:
            SandboxTimeoutError: it did not run in time.
            ConflictError: code ``sandbox_ended``: it has stopped.
        """
        deadline = time.monotonic() + _spec.seconds(timeout, what="timeout")
        while True:
            left_s = max(0.0, deadline - time.monotonic())
            request = ingress_pb2.SandboxTunnelsRequest(sandbox_id=self._info.sandbox_id, timeout_s=min(left_s, ASK_S))
            try:
                answer = await self._connection.control.call(SANDBOX_TUNNELS, request, deadline_s=min(left_s, ASK_S) + LINK_MARGIN_S)
            except SandboxTimeoutError:
                if left_s <= ASK_S:
                    raise
            else:
                return {info.spec.port: _tunnels.tunnel(info) for info in answer.tunnels}

    async def open_port(self, port: int, *, unencrypted: bool = False, h2_enabled: bool = False, timeout: int = 50) -> Tunnel:
        """Open a tunnel to one more port of a running sandbox; the one that is there, if it is open in this way.

        Args:
            unencrypted: as a plain TCP port, too.
            h2_enabled: for a server that speaks HTTP/2.
            timeout: seconds to wait until the sandbox runs.
        Raises:
            ConflictError: it is open in another way, or the sandbox has stopped.
            SandboxTimeoutError: it did not run in time.
        """
        timeout_s = min(_spec.seconds(timeout, what="timeout"), ASK_S)
        kind = common_pb2.PORT_KIND_UNENCRYPTED if unencrypted else common_pb2.PORT_KIND_ENCRYPTED
        spec = _tunnels.port_spec(port, common_pb2.PORT_KIND_H2 if h2_enabled else kind)
        request = ingress_pb2.SandboxPortOpenRequest(sandbox_id=self._info.sandbox_id, spec=spec, timeout_s=timeout_s)
        answer = await self._connection.control.call(SANDBOX_PORT_OPEN, request, deadline_s=timeout_s + LINK_MARGIN_S)
        return _tunnels.tunnel(answer.tunnel)

    async def close_port(self, port: int) -> None:
        """Close the tunnel to a port, and with it every connection through it. Does nothing if there is none."""
        spec = _tunnels.port_spec(port, common_pb2.PORT_KIND_ENCRYPTED)
        request = ingress_pb2.SandboxPortCloseRequest(sandbox_id=self._info.sandbox_id, port=spec.port)
        await self._connection.control.call(SANDBOX_PORT_CLOSE, request)

    async def create_connect_token(
        self, user_metadata: str | Mapping[str, Any] | None = None, *, expires_in: int | None = None
    ) -> SandboxConnectCredentials:
        """Let somebody speak HTTP and WebSocket to the server on port 8080 of the sandbox.

        The server gets every request with the header ``X-Verified-User-Data``, which nobody outside can set or change.

        Args:
            user_metadata: the value of that header: a dict is sent as JSON, text as it is; fewer than 512 characters.
            expires_in: seconds; as long as the sandbox when left out.
        Raises:
            InvalidError: the metadata is no JSON or too long.
            ConflictError: code ``sandbox_ended``: it has stopped.
        """
        request = ingress_pb2.ConnectTokenCreateRequest(
            sandbox_id=self._info.sandbox_id,
            user_metadata=_tunnels.metadata(user_metadata),
            lifetime_s=_spec.whole_seconds(expires_in, what="expires_in", most=_spec.MAX_SECONDS),
            idempotency_key=new_id("rq"),
        )
        answer = await self._connection.control.call(CONNECT_TOKEN_CREATE, request)
        return SandboxConnectCredentials(answer.url, answer.token, answer.token_id, answer.expires_at)

    async def revoke_connect_token(self, token: str | SandboxConnectCredentials) -> None:
        """Make a connect token worthless at once; connections that it opened are broken off.

        Args:    token: the credentials, or their ``token_id``.
        Raises:  NotFoundError: there is no such token.
        """
        token_id = token.token_id if isinstance(token, SandboxConnectCredentials) else token
        await self._connection.control.call(CONNECT_TOKEN_REVOKE, ingress_pb2.ConnectTokenRevokeRequest(token_id=token_id))
