"""One stream of bytes or events to or from a guest, with backpressure both ways."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, Protocol

from sandboxd.channel.fields import ProtocolViolation, Reader
from sandboxd.channel.frames import MAX_PAYLOAD, Kind
from sandboxd.channel.link import Link
from sandboxd.channel.session import Session

Waiter = asyncio.Future[Any]

WINDOW_BYTES: Final = 1024 * 1024
"""Received bytes that may wait for the reader of one stream."""

MAX_EVENT_BYTES: Final = 32 * 1024 * 1024
"""Event payloads that may wait for the reader of one stream. A watch that outruns its reader loses events and says so."""

WATCH_OVERFLOW: Final = (2, bytes(4))

_IN: Final = {Kind.FILE_READ: 1, Kind.TAR_CREATE: 1, Kind.API: 0}
_OUT: Final = {Kind.FILE_WRITE: 0, Kind.TAR_EXTRACT: 0, Kind.API: 1}


class GuestError(OSError):
    """The guest's refusal: a Linux errno and the guest's text."""

    def __init__(self, errno: int, message: str) -> None:
        super().__init__(errno, message[:1024] or os.strerror(errno))
        self.message = message[:1024]


class StreamCut(Exception):
    """The stream ended before its work did: the sandbox ended, or its session was reset."""


class GuestStream(Protocol):
    """What the client tells a stream that is no process's. Calls come in order, from the event loop."""

    def on_data(self, data: bytes | memoryview) -> None: ...
    def on_event(self, number: int, payload: bytes) -> None: ...
    def on_end(self) -> None: ...
    def on_room(self) -> None: ...
    def on_closed(self) -> None: ...
    def on_cut(self, error: Exception) -> None: ...


class ByteStream:
    """One non-process stream.

    Reading: ``async for chunk in stream`` gives bytes until the other side's EOF. Writing: :meth:`write`, :meth:`end`. Whoever holds a
    stream closes it; closing is idempotent.
    """

    def __init__(self, stream: int, kind: Kind, session: Session, link: Link, forget: Callable[[int], None]) -> None:
        self._stream = stream
        self._kind = kind
        self._session = session
        self._link = link
        self._forget = forget
        self._chunks: deque[bytes | memoryview] = deque()
        self._events: deque[tuple[int, bytes]] = deque()
        self._event_bytes = 0
        self._taken = 0
        self._ended = False
        self._error: Exception | None = None
        self._changed = asyncio.Event()

    # --- reading ---------------------------------------------------------------------------------------------------------------------

    def __aiter__(self) -> AsyncIterator[bytes | memoryview]:
        return self._read()

    async def _read(self) -> AsyncIterator[bytes | memoryview]:
        channel = _IN[self._kind]
        while True:
            while self._chunks:
                chunk = self._chunks.popleft()
                self._taken += len(chunk)
                self._link.write(self._session.consumed(self._stream, channel, self._taken, window=WINDOW_BYTES))
                yield chunk
            if self._events:
                self._raise_failure()
            if self._error is not None:
                raise self._error
            if self._ended:
                return
            await self._wait()

    def _raise_failure(self) -> None:
        """EVENT 1 of a reading transfer: an error in the middle."""
        number, payload = self._take_event()
        if number != 1:
            raise StreamCut(f"unexpected event {number}")
        reader = Reader(payload)
        raise GuestError(reader.u32(), reader.text())

    def _take_event(self) -> tuple[int, bytes]:
        number, payload = self._events.popleft()
        self._event_bytes = max(0, self._event_bytes - len(payload) - 64)
        return number, payload

    async def events(self) -> AsyncIterator[bytes]:
        """Payloads of events, until :meth:`finish` or the end."""
        async for _, payload in self.numbered_events():
            yield payload

    async def numbered_events(self) -> AsyncIterator[tuple[int, bytes]]:
        while True:
            while self._events:
                yield self._take_event()
            if self._error is not None:
                raise self._error
            if self._ended:
                return
            await self._wait()

    async def result(self) -> int:
        """After :meth:`end` of a writing transfer: what the guest counted. Raises: GuestError if it failed there."""
        async for number, payload in self.numbered_events():
            reader = Reader(payload)
            if number == 1:
                raise GuestError(reader.u32(), reader.text())
            return reader.u64()
        raise StreamCut("the guest closed the transfer without a result")

    # --- writing ---------------------------------------------------------------------------------------------------------------------

    async def write(self, data: bytes | memoryview) -> None:
        """Send bytes, waiting for the guest's window. Raises: GuestError if the guest has already refused; StreamCut."""
        channel = _OUT[self._kind]
        view = memoryview(data)
        while len(view):
            self._check_writable()
            room = min(self._session.room(self._stream, channel), MAX_PAYLOAD, len(view))
            if room == 0:
                await self._wait()
                continue
            self._link.write(self._session.data(self._stream, channel, view[:room]))
            view = view[room:]
            await self._link.drained()

    def _check_writable(self) -> None:
        if self._events and self._kind in (Kind.FILE_WRITE, Kind.TAR_EXTRACT):
            self._raise_failure()
        if self._error is not None:
            raise self._error
        if not self._session.is_open(self._stream):
            raise StreamCut("the guest closed the stream")

    def end(self) -> None:
        """No more bytes from here."""
        self._link.write(self._session.end(self._stream, _OUT[self._kind]))

    def accept(self) -> None:
        """Answer a guest-opened stream: it is served."""
        self._link.write(self._session.reply(self._stream, bytes(4)))

    def close(self) -> None:
        """Cancel or finish; idempotent."""
        self._link.write(self._session.close(self._stream))
        self._forget(self._stream)
        self.on_closed()

    def finish(self) -> None:
        """No more events will come."""
        self._ended = True
        self._changed.set()

    # --- what the client tells --------------------------------------------------------------------------------------------------------

    def on_data(self, data: bytes | memoryview) -> None:
        self._chunks.append(data)
        self._changed.set()

    def on_event(self, number: int, payload: bytes) -> None:
        self._event_bytes += len(payload) + 64
        if self._event_bytes > MAX_EVENT_BYTES:
            if self._kind is not Kind.WATCH:
                raise ProtocolViolation(f"over {MAX_EVENT_BYTES} bytes of events")
            self._events.clear()
            self._event_bytes = 0
            number, payload = WATCH_OVERFLOW
        self._events.append((number, payload))
        self._changed.set()

    def on_end(self) -> None:
        self._ended = True
        self._changed.set()

    def on_room(self) -> None:
        self._changed.set()

    def on_closed(self) -> None:
        if not self._ended and self._error is None and self._kind in (Kind.FILE_READ, Kind.TAR_CREATE) and not self._events:
            self._error = StreamCut("the guest closed the transfer in the middle")
        self._ended = True
        self._changed.set()

    def on_cut(self, error: Exception) -> None:
        self._error = error
        self._changed.set()

    async def _wait(self) -> None:
        self._changed.clear()
        await self._changed.wait()
