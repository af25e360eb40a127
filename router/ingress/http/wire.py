"""One connection as a coroutine reads and writes it: bounded in both directions, and to be given away in the middle of the stream."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, cast

from router.ingress.http.heads import HEAD_END, MAX_HEAD_BYTES, Malformed

HIGH_BYTES: Final = 256 * 1024
"""Unread bytes from which on reading pauses."""


class Wire(asyncio.Protocol):
    """The protocol of a connection.

    Args: lost: called when the connection is gone.
    """

    def __init__(self, lost: Callable[[], None]) -> None:
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self._unread = b""
        self._ended = False
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    # --- the transport's side ----------------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._unread = self._unread + data if self._unread else data
        if len(self._unread) >= HIGH_BYTES:
            self.transport.pause_reading()
        self._changed.set()

    def eof_received(self) -> bool:
        self._ended = True
        self._changed.set()
        return self.transport.can_write_eof()

    def connection_lost(self, error: Exception | None) -> None:
        self._ended = True
        self._changed.set()
        self._room.set()
        self._lost()

    def pause_writing(self) -> None:
        self._room.clear()

    def resume_writing(self) -> None:
        self._room.set()

    # --- the coroutine's side ----------------------------------------------------------------------------------------------------------

    @property
    def transport(self) -> asyncio.Transport:
        """The connection."""
        assert self._transport is not None  # connection_made comes first
        return self._transport

    @property
    def usable(self) -> bool:
        """Whether it is open both ways and nothing came that nobody asked for."""
        return not (self._ended or self._unread or self.transport.is_closing())

    async def read(self) -> bytes:
        """What has come, at least a byte; empty at the end."""
        while not self._unread and not self._ended:
            self._changed.clear()
            await self._changed.wait()
        return self._take(len(self._unread))

    async def head(self) -> bytes:
        """A head without its empty line; empty if the connection ends before one begins.

        Raises:  Malformed: it is too long, or breaks off.
        """
        searched = 0
        while (end := self._unread.find(HEAD_END, max(0, searched - 3))) < 0:
            searched = len(self._unread)
            if searched > MAX_HEAD_BYTES:
                raise Malformed(f"The head is longer than {MAX_HEAD_BYTES} bytes.", 431)
            if self._ended:
                if searched:
                    raise Malformed("The head breaks off.")
                return b""
            self._changed.clear()
            await self._changed.wait()
        if end > MAX_HEAD_BYTES:
            raise Malformed(f"The head is longer than {MAX_HEAD_BYTES} bytes.", 431)
        return self._take(end + len(HEAD_END))[:end]

    def unread(self, data: bytes) -> None:
        """Put back what belongs to the next message."""
        self._unread = data + self._unread

    async def write(self, data: bytes) -> None:
        """Send, waiting as long as too much is on the way. Raises: ConnectionResetError."""
        if self.transport.is_closing():
            raise ConnectionResetError
        self.transport.write(data)
        await self._room.wait()

    def give_away(self) -> tuple[asyncio.Transport, bytes]:
        """The connection, its reading paused, and what was not read; this protocol is done."""
        self.transport.pause_reading()
        return self.transport, self._take(len(self._unread))

    def _take(self, count: int) -> bytes:
        taken, self._unread = self._unread[:count], self._unread[count:]
        if len(self._unread) < HIGH_BYTES and not self._ended and not self.transport.is_closing():
            self.transport.resume_reading()
        return taken
