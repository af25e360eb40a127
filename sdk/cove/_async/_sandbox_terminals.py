"""Methods of sandboxes that open terminals in web browsers."""

from __future__ import annotations

from cove import _spec
from cove._async.base import Part
from cove._transport.connection import Connection
from cove._transport.data import DataPlane
from cove._transport.methods import TERMINAL_CREATE
from cove.types import TerminalLink
from cove.wire import control_pb2


class Terminals(Part):
    """What can be opened in a browser. The class that derives from it has files, too, and so a connection and a data plane."""

    _connection: Connection
    _plane: DataPlane

    async def create_terminal(self, *args: str, workdir: str | None = None, user: str | None = None) -> TerminalLink:
        """Make a link that opens a terminal in a web browser, once and within two minutes.

        The command starts when the link is opened. It is hung up when the browser stays away for long; see docs/networking.md.

        Args:
            args: the command, run without a shell; ``/bin/bash`` when left out.
            workdir: its working directory; the sandbox's when left out.
            user: run it as this user, as :meth:`exec` takes it; root when left out.
        Raises:
            ConflictError: code ``sandbox_ended``: the sandbox has stopped.
            ResourceExhaustedError: it has too many terminals.
        """
        request = control_pb2.TerminalCreateRequest(
            sandbox_id=self._plane.sandbox_id,
            argv=_spec.command(args, what="Sandbox.create_terminal"),
            workdir=workdir or "",
            user=user or "",
        )
        answer = await self._connection.control.call(TERMINAL_CREATE, request)
        return TerminalLink(url=answer.url, expires_at=answer.expires_at)
