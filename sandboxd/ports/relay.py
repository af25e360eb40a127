"""One relay: a TCP connection from a router, and a connection to a port inside a sandbox. Bytes both ways, ends both ways."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import cast

from cove.exception import InvalidError
from cove.types import SandboxId
from cove.wire import http_errors, ports
from cove.wire.keepalive import keep_alive
from sandboxd.channel.connections import Connection


class Relay(asyncio.Protocol):
    """The protocol of a router's connection; the sink of the guest's.

    Args:
        asked: called once with what the router asks for; :meth:`connect` or :meth:`refuse` answers.
        ended: called once when the router's connection is gone.
        head_s: how long the request may take to arrive.
    """

    def __init__(self, asked: Callable[[Relay, ports.PortRequest], None], ended: Callable[[Relay], None], *, head_s: float) -> None:
        self._asked, self._ended, self._head_s = asked, ended, head_s
        self._silence: asyncio.TimerHandle | None = None
        self.sandbox_id: SandboxId | None = None
        """Set when the relay counts as one of this sandbox's."""
        self._transport: asyncio.Transport | None = None
        self._head: bytes | None = b""
        self._connection: Connection | None = None
        self._activity: AbstractContextManager[None] | None = None
        self._unsent: deque[memoryview] = deque()
        self._eof = False
        self._inside_ended = False
        self._held_back = False
        self._untaken = 0

    # --- the router's side -------------------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        keep_alive(self._transport)
        self._silence = asyncio.get_running_loop().call_later(self._head_s, self._transport.abort)

    def data_received(self, data: bytes) -> None:
        if self._head is not None:
            self._take_head(data)
            return
        self._unsent.append(memoryview(data))
        self._send()

    def eof_received(self) -> bool:
        self._eof = True
        if self._head is not None:
            return False
        self._send()
        return True  # the other direction goes on

    def connection_lost(self, error: Exception | None) -> None:
        self._ended(self)
        self._let_go()

    def pause_writing(self) -> None:
        self._held_back = True

    def resume_writing(self) -> None:
        self._held_back = False
        untaken, self._untaken = self._untaken, 0
        if untaken and self._connection is not None:
            self._connection.take(untaken)

    def _take_head(self, data: bytes) -> None:
        assert self._head is not None
        self._head += data
        end = self._head.find(ports.HEAD_END)
        if end < 0 and len(self._head) <= ports.MAX_HEAD_BYTES:
            return
        end += len(ports.HEAD_END)
        head, rest = self._head[:end], self._head[end:]
        self._head = None
        self._stop_waiting()
        if rest:
            self._unsent.append(memoryview(rest))
        try:
            request = ports.decode(head)
        except InvalidError as error:
            body = http_errors.encode(error)
            self.refuse(ports.error_head(http_errors.status_of(error), len(body)) + body)
            return
        self._open_transport.pause_reading()
        self._asked(self, request)

    def _send(self) -> None:
        """Send inside what there is room for; what is left waits, and holds the router back."""
        if self._connection is None:
            return
        while self._unsent:
            data = self._unsent[0]
            sent = self._connection.send(data)
            if sent < len(data):
                self._unsent[0] = data[sent:]
                self._open_transport.pause_reading()
                return
            self._unsent.popleft()
        if self._eof:
            self._connection.end()
            self._close_if_over()

    # --- what becomes of it ------------------------------------------------------------------------------------------------------------

    def connect(self, connection: Connection, activity: AbstractContextManager[None]) -> None:
        """The port answered. ``activity`` is entered as long as the relay lasts."""
        if self._open_transport.is_closing():
            connection.close()
            return
        activity.__enter__()
        self._activity, self._connection = activity, connection
        self._open_transport.write(ports.UPGRADED)
        connection.start(self)
        self.on_room()

    def refuse(self, answer: bytes) -> None:
        """Answer and close."""
        if not self._open_transport.is_closing():
            self._open_transport.write(answer)
            self._open_transport.close()

    def abort(self) -> None:
        """Break it off."""
        self._open_transport.abort()

    @property
    def _open_transport(self) -> asyncio.Transport:
        assert self._transport is not None  # connection_made comes first
        return self._transport

    def _close_if_over(self) -> None:
        if self._eof and self._inside_ended and not self._unsent:
            self._open_transport.close()

    def _stop_waiting(self) -> None:
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None

    def _let_go(self) -> None:
        self._stop_waiting()
        self._unsent.clear()
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._activity is not None:
            self._activity.__exit__(None, None, None)
            self._activity = None

    # --- the guest's side --------------------------------------------------------------------------------------------------------------

    def on_bytes(self, data: bytes | memoryview) -> None:
        self._open_transport.write(data)
        if self._held_back:
            self._untaken += len(data)
        elif self._connection is not None:
            self._connection.take(len(data))

    def on_end(self) -> None:
        self._inside_ended = True
        if not self._open_transport.is_closing():
            self._open_transport.write_eof()
        self._close_if_over()

    def on_room(self) -> None:
        self._send()
        if not self._unsent and not self._eof and not self._open_transport.is_closing():
            self._open_transport.resume_reading()

    def on_over(self) -> None:
        self._let_go()
        self._open_transport.close()
