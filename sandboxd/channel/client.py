"""What a guest can do, as coroutines over one :class:`Session` and one :class:`Link`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final, Protocol

from sandboxd.channel.connections import Connection
from sandboxd.channel.fields import ProtocolViolation, Reader, Writer
from sandboxd.channel.frames import Kind
from sandboxd.channel.link import Fifos, Link
from sandboxd.channel.messages import Entry, Op, Peer, ProcessExit, ProcessRequest, ProcessSeen, Scope, Stat, WatchEvent, WriteFlag
from sandboxd.channel.session import (
    ApiOpened,
    Closed,
    DataArrived,
    EofArrived,
    Event,
    Happened,
    Pong,
    Replied,
    RoomGrew,
    Session,
    Started,
)
from sandboxd.channel.streams import ByteStream, GuestError, GuestStream, StreamCut, Waiter

PROCESS_WINDOW: Final = 512 * 1024
"""Output bytes of one process stream that may be on the way or kept in the guest: twice what makes a full frame."""

CHUNK_BYTES: Final = 262_144


class ProcessSink(Protocol):
    """Takes what one process does. Calls come in order, from the event loop."""

    def on_output(self, channel: int, offset: int, data: bytes | memoryview) -> None: ...
    def on_output_end(self, channel: int, offset: int) -> None: ...
    def on_input_taken(self, offset: int) -> None: ...
    def on_exit(self, exit_: ProcessExit) -> None: ...


class Guest:
    """The daemon's end of one guest.

    Args:
        violated: called once if the guest breaks the protocol or the link fails; the sandbox must end then.
        api_opened: serves a connection that a process in the sandbox made to ``/run/cove/api.sock``.
    """

    def __init__(
        self, fifos: Fifos, guest_marker: bytes, *, violated: Callable[[Exception], None], api_opened: Callable[[ByteStream, Peer], None]
    ) -> None:
        self._session = Session(guest_marker)
        self._violated = violated
        self._api_opened = api_opened
        self._replies: dict[int, asyncio.Future[Reader]] = {}
        self._streams: dict[int, GuestStream] = {}
        self._sinks: dict[int, ProcessSink] = {}
        self._started: asyncio.Future[tuple[ProcessSeen, ...]] | None = None
        self._pings: dict[int, asyncio.Future[Pong]] = {}
        self._broken: Exception | None = None
        self._link = Link(fifos, self._receive, self._fail)

    # --- session ---------------------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Greet a guest that has just booted. Returns when it serves."""
        await self._begin(self._session.start())

    async def reset(self) -> tuple[ProcessSeen, ...]:
        """Find frame boundaries again with a guest that is up. Returns: the processes it knows; see :meth:`adopt`."""
        self._cut(StreamCut("the session was reset"))
        return await self._begin(self._session.reset())

    async def _begin(self, data: bytes) -> tuple[ProcessSeen, ...]:
        self._check_usable()
        self._started = asyncio.get_running_loop().create_future()
        self._link.replace_unwritten(data)
        return await self._started

    async def ping(self, token: int) -> Pong:
        """One round trip; the answer has the guest's clocks."""
        self._check_usable()
        future = self._pings.setdefault(token, asyncio.get_running_loop().create_future())
        self._link.write(self._session.ping(token))
        return await future

    async def quiet(self) -> None:
        """Return when it has answered all that it was asked."""
        while waiting := [reply for reply in self._replies.values() if not reply.done()]:
            await asyncio.wait(waiting)

    def held(self) -> contextlib.AbstractContextManager[None]:
        """For the block nothing that the guest says is taken note of; it is afterwards."""
        return self._link.held()

    def close(self) -> None:
        """Stop talking; every waiting call fails with :class:`StreamCut`. Idempotent."""
        self._link.close()
        if self._broken is None:
            self._broken = StreamCut("the sandbox has ended")
        self._cut(self._broken)

    # --- processes -------------------------------------------------------------------------------------------------------------------

    async def spawn(self, request: ProcessRequest, sink: ProcessSink) -> tuple[int, int]:
        """Start a process.

        Returns: its stream and its pid inside the sandbox.
        Raises:  GuestError: the step that failed is the first word of the message.
        """
        stream = self._open(Kind.PROCESS, request.encode())
        self._sinks[stream] = sink
        try:
            reader = await self._reply(stream)
            pid = reader.u32()
            self._finish(reader)
        except BaseException:
            self._sinks.pop(stream, None)
            self._link.write(self._session.close(stream))
            raise
        return stream, pid

    def adopt(self, seen: ProcessSeen, sink: ProcessSink, *, stdout_offset: int, stderr_offset: int) -> None:
        """After :meth:`reset`: take a process over; its output continues at the given offsets."""
        self._sinks[seen.stream] = sink
        self._link.write(self._session.resume(seen.stream, 1, stdout_offset, window=PROCESS_WINDOW))
        if not seen.pty:
            self._link.write(self._session.resume(seen.stream, 2, stderr_offset, window=PROCESS_WINDOW))

    def input_room(self, stream: int) -> int:
        """Bytes of stdin that may be sent now."""
        return self._session.room(stream, 0)

    def send_input(self, stream: int, data: bytes | memoryview) -> None:
        """Send stdin; ``data`` fits into :meth:`input_room` and CHUNK_BYTES."""
        self._link.write(self._session.data(stream, 0, data))

    async def flushed(self) -> None:
        """Return when everything sent so far outlives this daemon."""
        await self._link.flushed()

    def end_input(self, stream: int) -> None:
        self._link.write(self._session.end(stream, 0))

    def signal(self, stream: int, signo: int, scope: Scope) -> None:
        self._link.write(self._session.control(stream, 1, Writer().u8(signo).u8(scope).done()))

    def resize(self, stream: int, rows: int, columns: int) -> None:
        self._link.write(self._session.control(stream, 2, Writer().u16(rows).u16(columns).done()))

    def forget(self, stream: int) -> None:
        """Tell the guest that an ended process's record is safe here."""
        self._sinks.pop(stream, None)
        self._link.write(self._session.close(stream))

    # --- calls -----------------------------------------------------------------------------------------------------------------------

    async def call(self, op: Op, arguments: Writer | None = None) -> Reader:
        """One request, one reply. Raises: GuestError with the guest's errno."""
        payload = Writer().u8(op).done() + (arguments.done() if arguments else b"")
        return await self._reply(self._open(Kind.CALL, payload))

    async def list_directory(self, path: bytes) -> AsyncIterator[list[Entry]]:
        """Entries of a directory in batches, sorted by name."""
        stream = self._open(Kind.CALL, Writer().u8(Op.LIST).bytes_(path).done())
        events = self._register(stream, Kind.CALL)
        reply = self._expect(stream)
        reply.add_done_callback(lambda _: events.finish())
        try:
            async for payload in events.events():
                reader = Reader(payload)
                entries = reader.list_(Entry.read)
                self._finish(reader)
                yield entries
            self._finish_with(await reply, Reader.u64)
        finally:
            self._replies.pop(stream, None)
            reply.cancel()
            self._forget_stream(stream)

    # --- transfers -------------------------------------------------------------------------------------------------------------------

    async def read_file(self, path: bytes) -> tuple[Stat, ByteStream]:
        """Open a file for one pass from its beginning. The caller closes the stream."""
        payload = Writer().bytes_(path).u64(0).u64(2**64 - 1).done()
        return await self._source(Kind.FILE_READ, payload)

    async def read_archive(self, path: bytes) -> tuple[Stat, ByteStream]:
        """A file or directory as a pax archive."""
        return await self._source(Kind.TAR_CREATE, Writer().bytes_(path).u8(0).done())

    async def write_file(self, path: bytes, mode: int, flags: WriteFlag) -> ByteStream:
        """Replace or append to a file. Write, :meth:`ByteStream.end`, then :meth:`ByteStream.result` has the bytes written."""
        return await self._sink(Kind.FILE_WRITE, Writer().bytes_(path).u32(mode).u8(flags).done())

    async def write_archive(self, path: bytes) -> ByteStream:
        """Extract an archive below a directory; the result is the number of members."""
        return await self._sink(Kind.TAR_EXTRACT, Writer().bytes_(path).done())

    async def watch(self, path: bytes, *, recursive: bool) -> ByteStream:
        """Watch a path; :func:`watch_events` reads the stream."""
        return await self._sink(Kind.WATCH, Writer().bytes_(path).u8(recursive).done())

    async def dial(self, port: int) -> Connection:
        """Connect to a port on the sandbox's loopback. The caller closes the connection. Raises: GuestError: nothing listens there."""
        stream = self._open(Kind.DIAL, Writer().u16(port).done())
        connection = self._streams[stream] = Connection(stream, self._session, self._link, self._forget_stream)
        try:
            self._finish(await self._reply(stream))
        except BaseException:
            connection.close()
            raise
        return connection

    async def _source(self, kind: Kind, payload: bytes) -> tuple[Stat, ByteStream]:
        stream = self._open(kind, payload)
        bytes_ = self._register(stream, kind)
        try:
            reader = await self._reply(stream)
            stat = Stat.read(reader)
            self._finish(reader)
        except BaseException:
            bytes_.close()
            raise
        return stat, bytes_

    async def _sink(self, kind: Kind, payload: bytes) -> ByteStream:
        stream = self._open(kind, payload)
        bytes_ = self._register(stream, kind)
        try:
            self._finish(await self._reply(stream))
        except BaseException:
            bytes_.close()
            raise
        return bytes_

    # --- plumbing --------------------------------------------------------------------------------------------------------------------

    def _check_usable(self) -> None:
        if self._broken is not None:
            raise StreamCut(str(self._broken)) from self._broken

    def _open(self, kind: Kind, payload: bytes) -> int:
        self._check_usable()
        if len(payload) > CHUNK_BYTES:
            raise GuestError(7, "the request does not fit into one frame")  # E2BIG
        stream, data = self._session.open(kind, payload)
        self._link.write(data)
        return stream

    def _expect(self, stream: int) -> asyncio.Future[Reader]:
        """What a reply will resolve. Made in the same step as the request: a guest can answer before the next task runs."""
        future: asyncio.Future[Reader] = asyncio.get_running_loop().create_future()
        self._replies[stream] = future
        return future

    async def _reply(self, stream: int) -> Reader:
        try:
            return await self._expect(stream)
        finally:
            self._replies.pop(stream, None)

    def _register(self, stream: int, kind: Kind) -> ByteStream:
        bytes_ = ByteStream(stream, kind, self._session, self._link, self._forget_stream)
        self._streams[stream] = bytes_
        return bytes_

    def _forget_stream(self, stream: int) -> None:
        self._streams.pop(stream, None)

    def _finish(self, reader: Reader) -> None:
        """A payload must be consumed exactly; a guest that sends more is broken."""
        try:
            reader.end()
        except ProtocolViolation as violation:
            self._fail(violation)
            raise StreamCut(str(violation)) from violation

    def _finish_with(self, reader: Reader, take: Callable[[Reader], int]) -> int:
        value = take(reader)
        self._finish(reader)
        return value

    def _receive(self, data: bytes) -> None:
        for event in self._session.receive(data):
            self._dispatch(event)

    def _dispatch(self, event: Event) -> None:
        match event:
            case DataArrived(stream, channel, offset, data):
                self._on_data(stream, channel, offset, data)
            case Replied(stream, errno, message, fields):
                self._on_reply(stream, errno, message, fields)
            case Happened(stream, number, payload):
                self._on_event(stream, number, payload)
            case EofArrived(stream, channel, offset):
                if sink := self._sinks.get(stream):
                    sink.on_output_end(channel, offset)
                elif bytes_ := self._streams.get(stream):
                    bytes_.on_end()
            case RoomGrew(stream, _, consumed):
                if sink := self._sinks.get(stream):
                    sink.on_input_taken(consumed)
                elif bytes_ := self._streams.get(stream):
                    bytes_.on_room()
            case Closed(stream):
                self._on_closed(stream)
            case ApiOpened(stream, peer):
                self._api_opened(self._register(stream, Kind.API), peer)
            case Started(processes):
                if self._started is not None and not self._started.done():
                    self._started.set_result(processes)
            case Pong(token, _, _):
                _resolve(self._pings.pop(token, None), event)

    def _on_data(self, stream: int, channel: int, offset: int, data: bytes | memoryview) -> None:
        if sink := self._sinks.get(stream):
            sink.on_output(channel, offset, data)
            self._link.write(self._session.consumed(stream, channel, offset + len(data), window=PROCESS_WINDOW))
        elif bytes_ := self._streams.get(stream):
            bytes_.on_data(data)

    def _on_reply(self, stream: int, errno: int, message: str, fields: Reader) -> None:
        future = self._replies.get(stream)
        if future is None or future.done():
            return
        if errno:
            future.set_exception(GuestError(errno, message))
        else:
            future.set_result(fields)

    def _on_event(self, stream: int, number: int, payload: bytes | memoryview) -> None:
        if sink := self._sinks.get(stream):
            if number != 1:
                raise ProtocolViolation(f"process event {number}")
            reader = Reader(payload)
            exit_ = ProcessExit.read(reader)
            reader.end()
            sink.on_exit(exit_)
        elif bytes_ := self._streams.get(stream):
            bytes_.on_event(number, bytes(payload))

    def _on_closed(self, stream: int) -> None:
        self._sinks.pop(stream, None)
        if bytes_ := self._streams.pop(stream, None):
            bytes_.on_closed()
        future = self._replies.get(stream)
        if future is not None and not future.done():
            future.set_exception(StreamCut("the guest closed the stream"))

    def _fail(self, error: Exception) -> None:
        if self._broken is None:
            self._broken = error
            self._link.close()
            self._cut(StreamCut(str(error)))
            self._violated(error)

    def _cut(self, error: Exception) -> None:
        waiting: Sequence[Waiter] = [*self._replies.values(), *self._pings.values()]
        if self._started is not None:
            waiting = [*waiting, self._started]
        for future in waiting:
            if not future.done():
                future.set_exception(error)
        self._replies.clear()
        self._pings.clear()
        self._sinks.clear()
        streams, self._streams = list(self._streams.values()), {}
        for bytes_ in streams:
            bytes_.on_cut(error)


def _resolve(future: asyncio.Future[Pong] | None, pong: Pong) -> None:
    if future is not None and not future.done():
        future.set_result(pong)


async def watch_events(stream: ByteStream) -> AsyncIterator[WatchEvent]:
    """Changes that a :meth:`Guest.watch` stream reports, until it is closed."""
    async for number, payload in stream.numbered_events():
        yield WatchEvent.read(number, payload)
