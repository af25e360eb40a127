"""A TCP proxy on loopback that cuts, stalls, or speaks TLS: what lies between a client and its object store."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from tests.support.loopback import loopback_server

PIECE_BYTES: Final = 1 << 16


class Proxy:
    """Relays connections to one port.

    Attributes:
        cut_up_after: bytes from clients, all connections together, after which the connection that sends more is reset; None: never.
        cut_down_after: the same for bytes from the server.
        cuts: how many connections may still be reset; None for any number.
        stalled: bytes from clients are taken and go nowhere.
        up, down: bytes relayed so far.
        moved: set whenever bytes from a client came.
    """

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self.cut_up_after: int | None = None
        self.cut_down_after: int | None = None
        self.cuts: int | None = None
        self.stalled = False
        self.up = self.down = 0
        self.moved = asyncio.Event()
        self.port = 0

    @asynccontextmanager
    async def run(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[Proxy]:
        async with loopback_server(self._relay, tls) as self.port:
            yield self

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._server_port)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._up(reader, server_writer))
                group.create_task(self._down(server_reader, writer))
        except* (OSError, asyncio.CancelledError):
            pass  # one side is gone, so the other goes; or the test is over
        finally:
            for one in (writer, server_writer):
                one.transport.abort()

    async def _up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(PIECE_BYTES):
            self.up += len(data)
            self.moved.set()
            if self.cut_up_after is not None and self.up > self.cut_up_after and self._may_cut():
                raise ConnectionResetError
            if not self.stalled:
                writer.write(data)
                await writer.drain()
        raise ConnectionResetError

    async def _down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(PIECE_BYTES):
            self.down += len(data)
            if self.cut_down_after is not None and self.down > self.cut_down_after and self._may_cut():
                raise ConnectionResetError
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError

    def _may_cut(self) -> bool:
        if self.cuts is None:
            return True
        self.cuts -= 1
        return self.cuts >= 0
