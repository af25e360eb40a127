"""Raw bytes between two connections: what comes on one goes out on the other, at the pace of the slower, ends one by one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

LINGER_S: Final = 60.0
"""How long what is still to be written may take after the other connection has gone."""


class Side(asyncio.Protocol):
    """One of the two connections; :func:`join` makes both."""

    peer: Side

    def __init__(self, transport: asyncio.Transport, over: Callable[[Side], None]) -> None:
        self.transport, self._over = transport, over
        self.ended = False
        """No more bytes come from here."""
        self.count = 0
        """Bytes that came from here."""
        self._gone = False
        self._linger: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        self.count += len(data)
        self.peer.transport.write(data)

    def pause_writing(self) -> None:
        self.peer.hold(True)

    def resume_writing(self) -> None:
        self.peer.hold(False)

    def hold(self, held: bool) -> None:
        """Stop or go on reading here."""
        if not self.transport.is_closing() and not self.ended:
            (self.transport.pause_reading if held else self.transport.resume_reading)()

    def eof_received(self) -> bool:
        self.ended = True
        if self.peer.ended:
            self.close()
            self.peer.close()
        else:
            self.peer.finish()
        # TLS has no half-closed connections here: asyncio closes them, whatever this returns, and uvloop grumbles at True.
        return self.transport.can_write_eof()

    def connection_lost(self, error: Exception | None) -> None:
        if self._gone:
            return
        self.ended = self._gone = True
        if self._linger is not None:
            self._linger.cancel()
        self.peer.close()
        self._over(self)

    def finish(self) -> None:
        """Nothing more will be written here."""
        if self.transport.is_closing():
            return
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.close()

    def close(self) -> None:
        """Close once everything is written, or LINGER_S later."""
        if not self.transport.is_closing():
            self.transport.close()
            self._linger = asyncio.get_running_loop().call_later(LINGER_S, self.transport.abort)


def join(
    client: asyncio.Transport, node: asyncio.Transport, over: Callable[[int, int], None], *, to_node: bytes = b"", to_client: bytes = b""
) -> None:
    """Relay between two connections whose reading is paused, from now until both are gone.

    Args:
        over: called once then with the bytes that came from the client, and from the node.
        to_node, to_client: what was read from the other before.
    """
    gone: list[Side] = []

    def one_is_over(side: Side) -> None:
        gone.append(side)
        if len(gone) == 2:
            over(outer.count, inner.count)

    outer, inner = Side(client, one_is_over), Side(node, one_is_over)
    outer.peer, inner.peer = inner, outer
    for side, data in ((inner, to_node), (outer, to_client)):
        side.transport.set_protocol(side)
        if data:
            side.transport.write(data)
    for side in (outer, inner):
        if side.transport.is_closing():  # what it told of its end, it may have told somebody else
            asyncio.get_running_loop().call_soon(side.connection_lost, None)
        else:
            side.transport.resume_reading()
