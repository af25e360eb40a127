"""A connection to a port inside the sandbox, without coroutines: one callback for what comes, one call for what goes.

A stream with a coroutine at its end costs a task switch for each chunk; relays of a port are where that would be felt.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from sandboxd.channel.fields import ProtocolViolation
from sandboxd.channel.frames import MAX_PAYLOAD
from sandboxd.channel.link import Link
from sandboxd.channel.session import Session

WINDOW_BYTES: Final = 1024 * 1024
"""Bytes from inside that may wait for their reader outside."""

_TO_PORT: Final = 0
_FROM_PORT: Final = 1


class ConnectionSink(Protocol):
    """Takes what comes out of a connection. Calls come in order, from the event loop; none after :meth:`Connection.close`."""

    def on_bytes(self, data: bytes | memoryview) -> None:
        """Bytes from inside. :meth:`Connection.take` tells when they have gone on; up to WINDOW_BYTES come before that."""

    def on_end(self) -> None:
        """No more bytes will come; some may still be sent."""

    def on_room(self) -> None:
        """:meth:`Connection.send` takes something again."""

    def on_over(self) -> None:
        """The connection is gone, inside or with the whole sandbox."""


class Connection:
    """One dialled connection. ``Guest.dial`` makes it."""

    def __init__(self, stream: int, session: Session, link: Link, forget: Callable[[int], None]) -> None:
        self._stream, self._session, self._link, self._forget = stream, session, link, forget
        self._sink: ConnectionSink | None = None
        self._held: list[bytes | memoryview] = []
        self._ended = False
        self._taken = 0
        self._closed = False

    def start(self, sink: ConnectionSink) -> None:
        """Tell ``sink`` what has happened since the dial, and from now on."""
        self._sink = sink
        held, self._held = self._held, []
        for data in held:
            sink.on_bytes(data)
        if self._ended:
            sink.on_end()
        if self._closed:
            sink.on_over()

    def send(self, data: memoryview) -> int:
        """Send what there is room for.

        Returns: how many bytes that was; after fewer than all ``on_room`` is called when there is room again.
        """
        sent = 0
        while sent < len(data):
            if self._link.crowded:
                self._link.call_when_drained(self.on_room)
                break
            count = min(self._session.room(self._stream, _TO_PORT), MAX_PAYLOAD, len(data) - sent)
            if count == 0:
                break
            self._link.write(self._session.data(self._stream, _TO_PORT, data[sent : sent + count]))
            sent += count
        return sent

    def end(self) -> None:
        """No more bytes will be sent."""
        self._link.write(self._session.end(self._stream, _TO_PORT))

    def take(self, count: int) -> None:
        """Note that ``count`` more bytes from inside have gone on."""
        self._taken += count
        self._link.write(self._session.consumed(self._stream, _FROM_PORT, self._taken, window=WINDOW_BYTES))

    def close(self) -> None:
        """Break it off, or let go of what has ended. Idempotent."""
        if not self._closed:
            self._closed = True
            self._link.write(self._session.close(self._stream))
            self._forget(self._stream)

    # --- what the client tells --------------------------------------------------------------------------------------------------------

    def on_data(self, data: bytes | memoryview) -> None:
        if self._sink is not None:
            self._sink.on_bytes(data)
        else:
            self._held.append(data)

    def on_event(self, number: int, payload: bytes) -> None:
        raise ProtocolViolation(f"event {number} on a connection")

    def on_end(self) -> None:
        self._ended = True
        if self._sink is not None:
            self._sink.on_end()

    def on_room(self) -> None:
        if self._sink is not None and not self._closed:
            self._sink.on_room()

    def on_closed(self) -> None:
        if not self._closed:
            self._closed = True
            if self._sink is not None:
                self._sink.on_over()

    def on_cut(self, error: Exception) -> None:
        self.on_closed()
