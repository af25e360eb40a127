"""A simulated DIAL stream: what is inside a simulated sandbox's loopback is this machine's."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from typing import cast

from sandboxd.channel.fields import Reader, Writer
from sandboxd.channel.frames import INITIAL_WINDOW, MAX_PAYLOAD, Frame, FrameType, encode


class SimDial(asyncio.Protocol):
    """One connection, with the windows of docs/guest-protocol.md.

    Args:
        send: takes frames for the host.
        over: called once when the stream has ended on this side.
    """

    def __init__(self, stream: int, send: Callable[[bytes], None], over: Callable[[int], object]) -> None:
        self._stream, self._send, self._over = stream, send, over
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None
        self._waiting = b""
        self._sent, self._limit = 0, INITIAL_WINDOW
        self._written, self._acknowledged = 0, 0
        self._ended_here = self._ended_there = self._told_end = False

    def start(self, port: int) -> None:
        """Begin to connect; REPLY follows."""
        self._task = asyncio.get_running_loop().create_task(self._connect(port))

    async def _connect(self, port: int) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: self, "127.0.0.1", port)
        except OSError as error:
            number = error.errno or errno.EIO
            self._send(encode(FrameType.REPLY, self._stream, payload=Writer().u32(number).text(f"port {port}").done()))
            self._over(self._stream)

    def cut(self) -> None:
        """Break it off in silence: the host has forgotten the stream."""
        self._send = _say_nothing
        if self._transport is not None:
            self._transport.abort()

    async def stop(self) -> None:
        """:meth:`cut`, and wait for an attempt to connect."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self.cut()

    # --- the host's frames -------------------------------------------------------------------------------------------------------------

    def on_frame(self, frame: Frame) -> None:
        assert self._transport is not None  # the host waits for REPLY
        match frame.type:
            case FrameType.DATA:
                self._transport.write(bytes(frame.payload))
                self._written += len(frame.payload)
                self._acknowledge()
            case FrameType.EOF:
                self._ended_there = True
                self._transport.write_eof()
                self._close_if_over()
            case FrameType.ACK:
                self._limit = Reader(frame.payload).u64()
                self._flush()
            case FrameType.CLOSE:
                self._transport.abort()

    def _acknowledge(self) -> None:
        """Allow more, unless the server inside is behind."""
        assert self._transport is not None
        if self._transport.get_write_buffer_size() == 0 and self._written - self._acknowledged >= INITIAL_WINDOW // 2:
            self._acknowledged = self._written
            limit = Writer().u64(self._written + INITIAL_WINDOW).done()
            self._send(encode(FrameType.ACK, self._stream, 0, self._written, limit))

    def _flush(self) -> None:
        while self._waiting and (room := min(self._limit - self._sent, MAX_PAYLOAD)) > 0:
            piece, self._waiting = self._waiting[:room], self._waiting[room:]
            self._send(encode(FrameType.DATA, self._stream, 1, self._sent, piece))
            self._sent += len(piece)
        assert self._transport is not None
        if self._waiting:
            self._transport.pause_reading()
        elif self._ended_here:
            if self._told_end:
                return
            self._told_end = True
            self._send(encode(FrameType.EOF, self._stream, 1, self._sent))
            self._close_if_over()
        else:
            self._transport.resume_reading()

    def _close_if_over(self) -> None:
        assert self._transport is not None
        if self._ended_here and self._ended_there and not self._waiting:
            self._transport.close()

    # --- the server's bytes ------------------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=0)
        self._send(encode(FrameType.REPLY, self._stream, payload=Writer().u32(0).done()))

    def resume_writing(self) -> None:
        self._acknowledge()

    def data_received(self, data: bytes) -> None:
        self._waiting += data
        self._flush()

    def eof_received(self) -> bool:
        self._ended_here = True
        self._flush()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self._send(encode(FrameType.CLOSE, self._stream))
        self._over(self._stream)


def _say_nothing(data: bytes) -> None:
    """For streams that nobody listens to any more."""
