"""One end of a relayed connection as asyncio sees it: what it hands on, and how the other end slows it down."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Final, Protocol, cast

BUFFER_BYTES: Final = 256 * 1024
"""Bytes that wait for one end before the other is no longer read."""

_RESET_AT_CLOSE: Final = struct.pack("ii", 1, 0)
"""Source: socket(7), SO_LINGER: on, 0 s."""
_KEEPALIVE: Final = ((socket.TCP_KEEPIDLE, 120), (socket.TCP_KEEPINTVL, 30), (socket.TCP_KEEPCNT, 4))
"""Seconds of silence, seconds between questions, questions: an end that vanished is noticed after four minutes."""


class Listener(Protocol):
    """Who gets what comes from an end."""

    def received(self, side: Side, data: bytes) -> None: ...

    def ended(self, side: Side) -> None:
        """It will send no more, and still reads."""

    def lost(self, side: Side, error: Exception | None) -> None:
        """It is gone."""


class Side(asyncio.Protocol):
    """One end."""

    def __init__(self, made: Callable[[Side], None]) -> None:
        """``made``: called when there is a transport; it sets ``listener``, or resets."""
        self._made = made
        self._transport: asyncio.Transport | None = None
        self.listener: Listener | None = None
        self.other: Side | None = None
        """Which is not read while this one cannot be written to."""
        self.has_ended = False
        self.is_lost = False
        self._is_finished = False

    @property
    def sock(self) -> socket.socket:
        """Of an end whose transport is made."""
        return cast(socket.socket, self._transport and self._transport.get_extra_info("socket"))

    # --- what others do with it ------------------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send ``data``; after :meth:`write_eof` there is nobody to send it to."""
        if self._transport is not None and not self._is_finished:
            self._transport.write(data)

    def write_eof(self) -> None:
        """Nothing more follows."""
        if self._transport is not None and not self._is_finished and not self._transport.is_closing():
            self._is_finished = True
            self._transport.write_eof()

    def close(self) -> None:
        """End it when what was written is sent."""
        if self._transport is not None:
            self._transport.close()

    def reset(self) -> None:
        """End it at once, as if nobody had ever listened."""
        if self._transport is not None and not self._transport.is_closing():
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
            self._transport.abort()

    def hold(self) -> None:
        """Read no more for now."""
        if self._transport is not None and self._transport.is_reading() and not self._transport.is_closing():
            self._transport.pause_reading()

    def go_on(self) -> None:
        """Read again."""
        if self._transport is not None and not self._transport.is_reading() and not self._transport.is_closing():
            self._transport.resume_reading()

    # --- what asyncio does with it ---------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one by its methods alone
        self._transport.set_write_buffer_limits(high=BUFFER_BYTES)
        sock = self.sock
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
        self._made(self)

    def data_received(self, data: bytes) -> None:
        if self.listener is not None:
            self.listener.received(self, data)

    def eof_received(self) -> bool:
        self.has_ended = True
        if self.listener is not None:
            self.listener.ended(self)
        return True  # what is on its way here still arrives

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        if self.listener is not None:
            self.listener.lost(self, exc)

    def pause_writing(self) -> None:
        if self.other is not None:
            self.other.hold()

    def resume_writing(self) -> None:
        if self.other is not None:
            self.other.go_on()
