"""Listens for the questions of sandboxes, over UDP and TCP. Who asks is known by source address; nobody else gets an answer."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from ipaddress import AddressValueError, IPv4Address
from typing import Any, Final, cast

import structlog

from cove.types import SandboxId
from sandboxd.egress.dns.message import PLAIN_UDP, MalformedError, Query, read_query, refuse_unread, write_reply
from sandboxd.egress.dns.resolver import Reply, Resolver
from sandboxd.egress.dns.upstream import FAILED
from sandboxd.egress.model import Client, Gatekeeper

log = structlog.get_logger()

MAX_WAITING: Final = 2_048
"""Questions of all sandboxes that wait for upstream; more are dropped, and asked again by whoever asked."""
MAX_WAITING_EACH: Final = 128
"""Of one sandbox."""
MAX_STREAMS_EACH: Final = 8
"""TCP connections of one sandbox."""
STREAM_IDLE_S: Final = 10.0
"""How long a TCP connection may be silent, or take to bring a question."""
MAX_QUESTION: Final = 512
"""Bytes of a question over TCP: one name of 255 and what EDNS adds."""

FREE_PORT_TRIES: Final = 16
"""Ports tried where the kernel is to choose: one that is free for datagrams is almost always free for streams, too."""

_LENGTH: Final = struct.Struct("!H")


class DnsServer:
    """Carries questions to the resolver and replies back. Make one with :meth:`serving`."""

    def __init__(self, gate: Gatekeeper, resolver: Resolver) -> None:
        self._gate = gate
        self._resolver = resolver
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: Counter[SandboxId] = Counter()
        self._streams: Counter[SandboxId] = Counter()

    @classmethod
    @contextlib.asynccontextmanager
    async def serving(cls, gate: Gatekeeper, resolver: Resolver, *, host: str, port: int) -> AsyncIterator[int]:
        """Serve until the block is left; questions that wait then get no answer.

        Args:    port: 0 lets the kernel choose one that is free for both protocols.
        Returns: the port. Raises: OSError: it is taken.
        """
        server = cls(gate, resolver)
        loop = asyncio.get_running_loop()
        async with contextlib.AsyncExitStack() as stack:
            datagrams, streams = _sockets(host, port)
            stack.push_async_callback(server._end_tasks)
            transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(server), sock=datagrams)
            stack.callback(transport.close)
            stack.callback((await asyncio.start_server(server._take_stream, sock=streams, limit=MAX_QUESTION)).close)
            bound: int = datagrams.getsockname()[1]
            yield bound

    def client_at(self, peer: Any) -> Client | None:
        """Whose socket address ``peer`` is."""
        try:
            return self._gate.client_at(IPv4Address(peer[0]))
        except (AddressValueError, TypeError, IndexError):
            return None

    def take_datagram(self, transport: asyncio.DatagramTransport, data: bytes, peer: Any) -> None:
        client = self.client_at(peer)
        if client is None:
            return
        try:
            query = read_query(data)
        except MalformedError:
            if refusal := refuse_unread(data):
                transport.sendto(refusal, peer)
            return
        limit = query.payload_bytes or PLAIN_UDP
        reply = self._resolver.answer(client, query)
        if isinstance(reply, Reply):
            transport.sendto(write_reply(query, reply.answer, limit=limit, why=reply.why), peer)
        elif self._waiting.total() >= MAX_WAITING or self._waiting[client.sandbox_id] >= MAX_WAITING_EACH:
            reply.close()
        else:
            self._start(self._reply_later(transport, query, reply, peer, limit), self._waiting, client.sandbox_id)

    def _start(self, work: Coroutine[Any, Any, None], counts: Counter[SandboxId], sandbox_id: SandboxId) -> None:
        """Run ``work`` beside everything else, counted for its sandbox in ``counts``."""
        counts[sandbox_id] += 1
        task = asyncio.create_task(work)
        self._tasks.add(task)

        def done(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            counts[sandbox_id] -= 1
            if not counts[sandbox_id]:
                del counts[sandbox_id]

        task.add_done_callback(done)

    async def _reply_later(
        self, transport: asyncio.DatagramTransport, query: Query, work: Coroutine[Any, Any, Reply], peer: Any, limit: int
    ) -> None:
        reply = await _in_any_case(work)
        transport.sendto(write_reply(query, reply.answer, limit=limit, why=reply.why), peer)

    def _take_stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = self.client_at(writer.get_extra_info("peername"))
        if client is None or self._streams[client.sandbox_id] >= MAX_STREAMS_EACH:
            writer.transport.abort()
        else:
            self._start(self._serve_stream(reader, writer), self._streams, client.sandbox_id)

    async def _serve_stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._serve_question(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, MalformedError):  # gone, silent for too long, or no question
            pass
        except Exception:  # the edge: nobody waits for this connection's task, and its end is all that the program inside is told
            log.exception("connection failed")
        finally:
            writer.close()

    async def _serve_question(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Returns: whether there may be another one. Raises: OSError, IncompleteReadError, MalformedError."""
        async with asyncio.timeout(STREAM_IDLE_S):
            (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
            if length > MAX_QUESTION:
                raise MalformedError("a question of that size")
            query = read_query(await reader.readexactly(length))
        client = self.client_at(writer.get_extra_info("peername"))  # again: its policy may be another by now
        if client is None:
            return False
        reply = self._resolver.answer(client, query)
        if not isinstance(reply, Reply):
            reply = await _in_any_case(reply)
        data = write_reply(query, reply.answer, why=reply.why)
        writer.write(_LENGTH.pack(len(data)) + data)
        async with asyncio.timeout(STREAM_IDLE_S):
            await writer.drain()
        return True

    async def _end_tasks(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)  # what they raise was logged by themselves


async def _in_any_case(work: Coroutine[Any, Any, Reply]) -> Reply:
    """What the resolver says, and that it failed if it has."""
    try:
        return await work
    except Exception:  # the edge: everything becomes an answer, or the program inside would wait for its time-out
        log.exception("question failed")
        return Reply(FAILED)


class _Datagrams(asyncio.DatagramProtocol):
    """Hands datagrams on."""

    def __init__(self, server: DnsServer) -> None:
        self._server = server
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # uvloop's is one by its methods alone

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if self._transport is not None:
            self._server.take_datagram(self._transport, data, addr)


def _sockets(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    """A socket for datagrams and one for streams, on the same port. Raises: OSError: it is taken."""
    for _ in range(1 if port else FREE_PORT_TRIES):
        with contextlib.ExitStack() as stack:
            datagrams = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            streams = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            streams.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of the last daemon linger
            datagrams.setblocking(False)
            datagrams.bind((host, port))
            try:
                streams.bind((host, datagrams.getsockname()[1]))
            except OSError:
                if port:
                    raise
                continue
            stack.pop_all()
            return datagrams, streams
    raise OSError(errno.EADDRINUSE, "no port is free for datagrams and streams")
