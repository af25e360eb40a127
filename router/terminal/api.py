"""The methods of ``cove.v1.Control`` about terminals."""

from __future__ import annotations

from collections.abc import Mapping

from cove.wire import control_pb2
from router.auth import Caller
from router.grpc_edge import Method
from router.sandboxes import Sandboxes
from router.terminal.tickets import Terminals


class TerminalApi:
    """Decodes, calls, encodes; one instance per router."""

    def __init__(self, sandboxes: Sandboxes, terminals: Terminals, *, url: str) -> None:
        """``url``: base of the links."""
        self._sandboxes, self._terminals, self._url = sandboxes, terminals, url.rstrip("/")

    def methods(self) -> Mapping[str, Method[Caller]]:
        """By name in the service."""
        return {"TerminalCreate": self.terminal_create}

    async def terminal_create(self, caller: Caller, request: control_pb2.TerminalCreateRequest) -> control_pb2.TerminalCreateResponse:
        sandbox = await self._sandboxes.get(caller, request.sandbox_id)
        record, ticket = await self._terminals.create(caller, sandbox, request)
        return control_pb2.TerminalCreateResponse(
            terminal_id=record.terminal_id,
            url=f"{self._url}/terminal/{record.terminal_id}#{ticket}",
            expires_at=record.ticket_expires_at,
        )
