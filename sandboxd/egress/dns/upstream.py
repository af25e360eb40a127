"""Asks the host's nameservers. Each question has a random id and a socket of its own, so that an answer can hardly be forged."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import struct
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import structlog

from sandboxd.egress.dns.message import Answer, MalformedError, Rcode, read_answer, write_question

log = structlog.get_logger()

TRY_S: Final = 1.5
TRIES: Final = 3
"""Questions in all, going round the servers: together less than the 5 s after which programs inside ask again."""
FAILED: Final = Answer(Rcode.SERVFAIL, (), 1)

_LENGTH: Final = struct.Struct("!H")


class Server(NamedTuple):
    """Where a nameserver listens."""

    host: str
    port: int = 53


class Upstream:
    """The nameservers of the host, asked in order."""

    def __init__(self, servers: Callable[[], Sequence[Server]]) -> None:
        """``servers``: asked for each question, as the host's may change while it is up."""
        self._servers = servers
        self._asking: dict[str, asyncio.Future[Answer]] = {}

    async def resolve(self, name: str) -> Answer:
        """The addresses of ``name``; one question for all who ask for it at the same time. SERVFAIL if nobody gives an answer."""
        asking = self._asking.get(name)
        if asking is not None:
            return await asyncio.shield(asking)
        asking = self._asking[name] = asyncio.get_running_loop().create_future()
        answer = FAILED
        try:
            answer = await self._resolve(name)
            return answer
        finally:
            # Who asks first may be cancelled; the others get a failure and ask again.
            self._asking.pop(name)
            asking.set_result(answer)

    async def _resolve(self, name: str) -> Answer:
        servers = list(self._servers())
        for attempt in range(TRIES if servers else 0):
            server = servers[attempt % len(servers)]
            try:
                async with asyncio.timeout(TRY_S):
                    answer = await _ask(server, name)
            except (OSError, MalformedError, asyncio.IncompleteReadError) as error:  # TimeoutError is an OSError
                log.debug("nameserver did not answer", server=server.host, error=type(error).__name__)
                continue
            if answer.rcode in (Rcode.NOERROR, Rcode.NXDOMAIN):
                return answer
        return FAILED


async def _ask(server: Server, name: str) -> Answer:
    answer = await _ask_by_datagram(server, name)
    return await _ask_by_stream(server, name) if answer.truncated else answer


async def _ask_by_datagram(server: Server, name: str) -> Answer:
    query_id = secrets.randbits(16)
    loop = asyncio.get_running_loop()
    transport, receiver = await loop.create_datagram_endpoint(lambda: _Receiver(query_id, name), remote_addr=server)
    try:
        transport.sendto(write_question(query_id, name))
        return await receiver.answer
    finally:
        transport.close()


class _Receiver(asyncio.DatagramProtocol):
    """Waits for the one datagram that answers; whatever else comes is forged or late, and passed over."""

    def __init__(self, query_id: int, name: str) -> None:
        self._query_id, self._name = query_id, name
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: object) -> None:
        if self.answer.done():
            return
        with contextlib.suppress(MalformedError):
            self.answer.set_result(read_answer(data, query_id=self._query_id, name=self._name))

    def error_received(self, exc: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        self.answer.cancel()


async def _ask_by_stream(server: Server, name: str) -> Answer:
    query_id = secrets.randbits(16)
    question = write_question(query_id, name)
    reader, writer = await asyncio.open_connection(server.host, server.port)
    try:
        writer.write(_LENGTH.pack(len(question)) + question)
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        return read_answer(await reader.readexactly(length), query_id=query_id, name=name)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
