"""Asks a nameserver as programs in a sandbox do, from a source address of choice."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Final

from tests.support import dns_messages as dns

PATIENCE_S: Final = 5.0
SILENCE_S: Final = 0.2


async def ask(port: int, name: str, kind: int = dns.A, *, source: str = "127.0.0.2", edns: int = 0) -> dns.Parsed:
    """One question by datagram. Raises: TimeoutError: no answer."""
    return dns.parse(await exchange(port, dns.question(name, kind, edns=edns), source=source))


async def exchange(port: int, data: bytes, *, source: str = "127.0.0.2", patience_s: float = PATIENCE_S) -> bytes:
    """Send a datagram and wait for one. Raises: TimeoutError: none came."""
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        sock.setblocking(False)
        sock.bind((source, 0))
        sock.connect(("127.0.0.1", port))
        sock.send(data)
        async with asyncio.timeout(patience_s):
            return await asyncio.get_running_loop().sock_recv(sock, 65_535)


@contextlib.asynccontextmanager
async def stream(port: int, *, source: str = "127.0.0.2") -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A TCP connection to the resolver."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
    try:
        yield reader, writer
    finally:
        writer.close()
