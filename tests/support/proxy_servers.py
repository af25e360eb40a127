"""Real SOCKS5 and HTTP CONNECT proxies, as small as they get, written apart from the relay's own code."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator

from tests.support.loopback import loopback_server

USERNAME, PASSWORD = "relay", "s3cret: ü"


class ProxyServer:
    """A proxy of either kind. ``asked`` has the destinations it was asked for; ``refuses`` makes it say no."""

    def __init__(self, scheme: str, *, with_credentials: bool) -> None:
        self.scheme = scheme
        self.with_credentials = with_credentials
        self.asked: list[tuple[str, int]] = []
        self.refuses = False
        self.port = 0

    @classmethod
    @contextlib.asynccontextmanager
    async def serving(cls, scheme: str, *, with_credentials: bool = False) -> AsyncIterator[ProxyServer]:
        proxy = cls(scheme, with_credentials=with_credentials)
        async with loopback_server(proxy._serve) as proxy.port:
            yield proxy

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            greet = self._socks if self.scheme == "socks5" else self._connect
            destination = await greet(reader, writer)
            if destination:
                await _splice(reader, writer, *await asyncio.open_connection(*destination))

    async def _socks(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[str, int] | None:
        _, count = await reader.readexactly(2)
        methods = await reader.readexactly(count)
        wanted = 2 if self.with_credentials else 0
        if wanted not in methods:
            writer.write(b"\5\xff")
            return None
        writer.write(bytes([5, wanted]))
        if wanted:
            _, length = await reader.readexactly(2)
            username = await reader.readexactly(length)
            password = await reader.readexactly((await reader.readexactly(1))[0])
            right = (username.decode(), password.decode()) == (USERNAME, PASSWORD)
            writer.write(b"\1\0" if right else b"\1\1")
            if not right:
                return None
        assert await reader.readexactly(4) == b"\5\1\0\1"
        host = ".".join(map(str, await reader.readexactly(4)))
        port = int.from_bytes(await reader.readexactly(2), "big")
        self.asked.append((host, port))
        if self.refuses:
            writer.write(b"\5\2\0\1\0\0\0\0\0\0")
            return None
        name = b"proxy.example"  # the answer may have a name for an address
        writer.write(b"\5\0\0\3" + bytes([len(name)]) + name + b"\x12\x34")
        return host, port

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[str, int] | None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, target, _ = head[0].split(" ")
        headers = dict(line.split(": ", 1) for line in head[1:] if line)
        token = base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()
        if self.with_credentials and headers.get("Proxy-Authorization") != f"Basic {token}":
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            return None
        assert (method, headers["Host"]) == ("CONNECT", target)
        host, _, port = target.partition(":")
        self.asked.append((host, int(port)))
        if self.refuses:
            writer.write(b"HTTP/1.1 403 Forbidden\r\n\r\n")
            return None
        writer.write(b"HTTP/1.1 200 Connection established\r\nX-Proxy: yes\r\n\r\n")
        return host, int(port)


async def _splice(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, far_reader: asyncio.StreamReader, far_writer: asyncio.StreamWriter
) -> None:
    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65_536):
            target.write(data)
            await target.drain()
        target.write_eof()

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(copy(reader, far_writer))
            group.create_task(copy(far_reader, writer))
    except* ConnectionError:
        pass
    finally:
        far_writer.transport.abort()
