"""A nameserver for tests, over UDP and TCP on loopback, that answers as it is told and remembers what it was asked."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from sandboxd.egress.dns.upstream import Server
from tests.support import dns_messages as dns

Answers = Callable[[bytes, bool], bytes | None]
"""From a query, and whether it came by stream, to the answer; None: silence."""


def from_table(table: Mapping[str, Sequence[dns.Record]]) -> Answers:
    """Answers with the records of a name; NXDOMAIN for others."""

    def answers(query: bytes, by_stream: bool) -> bytes:
        records = table.get(dns.asked_name(query))
        return dns.answer(query, records) if records is not None else dns.answer(query, rcode=3)

    return answers


class FakeUpstream:
    """What serves. ``answers`` may be replaced at any time."""

    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        self.asked: list[str] = []
        self.server = Server("127.0.0.1", 0)
        self.held: asyncio.Event | None = None
        """Datagrams wait for it."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._also: list[bytes] = []
        self._news = asyncio.Event()

    def send_too(self, data: bytes) -> None:
        """From within ``answers``: send this datagram before the answer."""
        self._also.append(data)

    @classmethod
    @contextlib.asynccontextmanager
    async def serving(cls, answers: Answers) -> AsyncIterator[FakeUpstream]:
        upstream = cls(answers)
        loop = asyncio.get_running_loop()
        streams = socket.create_server(("127.0.0.1", 0))
        port = streams.getsockname()[1]
        transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(upstream), local_addr=("127.0.0.1", port))
        server = await asyncio.start_server(upstream._serve_stream, sock=streams)
        upstream.server = Server("127.0.0.1", port)
        try:
            yield upstream
        finally:
            transport.close()
            server.close()
            for task in upstream._tasks:
                task.cancel()

    async def was_asked(self, times: int) -> None:
        """Wait until it was asked so many questions, or more."""
        while len(self.asked) < times:
            self._news.clear()
            await self._news.wait()

    def _note(self, what: str) -> None:
        self.asked.append(what)
        self._news.set()

    def take(self, transport: asyncio.DatagramTransport, query: bytes, peer: Any) -> None:
        self._note(dns.asked_name(query))
        task = asyncio.create_task(self._answer(transport, query, peer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, transport: asyncio.DatagramTransport, query: bytes, peer: Any) -> None:
        if self.held:
            await self.held.wait()
        answer = self.answers(query, False)
        while self._also:
            transport.sendto(self._also.pop(0), peer)
        if answer:
            transport.sendto(answer, peer)

    async def _serve_stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            query = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
            self._note(dns.asked_name(query) + " by stream")
            if answer := self.answers(query, True):
                writer.write(len(answer).to_bytes(2, "big") + answer)
                await writer.drain()
        writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, upstream: FakeUpstream) -> None:
        self._upstream = upstream
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._upstream.take(self._transport, data, addr)
