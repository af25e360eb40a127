"""A server that sandboxes want to reach, for tests: each connection is handed to the test."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from ipaddress import IPv4Address
from typing import Final

PATIENCE_S: Final = 5.0


class Stream:
    """One end of a TCP connection in a test. Reading takes no longer than a test's patience."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def receive(self, size: int) -> bytes:
        """Exactly ``size`` bytes. Raises: IncompleteReadError, ConnectionResetError, TimeoutError."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.readexactly(size)

    async def rest(self) -> bytes:
        """Everything up to the end. Raises: ConnectionResetError, TimeoutError."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.read()

    async def was_reset(self) -> bool:
        """Wait for the end; whether it was a reset, and not a proper one."""
        try:
            await self.rest()
        except ConnectionResetError:
            return True
        return False

    def end(self) -> None:
        """Send no more."""
        self.writer.write_eof()

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


class Origin:
    """The server. ``accepted`` has connections as they come."""

    def __init__(self) -> None:
        self.address = IPv4Address("127.0.0.1")
        self.port = 0
        self.connections = 0
        self._queue: asyncio.Queue[Stream] = asyncio.Queue()
        self._streams: list[Stream] = []

    @classmethod
    @contextlib.asynccontextmanager
    async def serving(cls) -> AsyncIterator[Origin]:
        origin = cls()
        server = await asyncio.start_server(origin._take, "127.0.0.1", 0)
        origin.port = server.sockets[0].getsockname()[1]
        try:
            yield origin
        finally:
            server.close()
            for stream in origin._streams:
                stream.writer.transport.abort()

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stream = Stream(reader, writer)
        self.connections += 1
        self._streams.append(stream)
        self._queue.put_nowait(stream)

    async def accepted(self) -> Stream:
        """The next connection."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._queue.get()


@contextlib.asynccontextmanager
async def connected(port: int, source: str = "127.0.0.2") -> AsyncIterator[Stream]:
    """A connection of a sandbox to what listens on ``port``."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
    try:
        yield Stream(reader, writer)
    finally:
        writer.transport.abort()
