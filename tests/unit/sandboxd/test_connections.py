"""Connections into a sandbox on the host's side of the guest protocol: windows, congestion, ends in any order."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest

from sandboxd.channel.connections import WINDOW_BYTES, Connection
from sandboxd.channel.fields import ProtocolViolation, Writer
from sandboxd.channel.frames import INITIAL_WINDOW, MARKER_BYTES, Frame, FrameType, Kind, encode, split
from sandboxd.channel.link import PIPE_BYTES, Fifos, Link
from sandboxd.channel.session import DataArrived, Session


class Sink:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.told: list[bytes | str] = []

    def on_bytes(self, data: bytes | memoryview) -> None:
        self.told.append(bytes(data))

    def on_end(self) -> None:
        self.told.append("end")

    def on_room(self) -> None:
        self.told.append("room")

    def on_over(self) -> None:
        self.told.append("over")


class Wire:
    """A session on pipes whose guest end the test holds."""

    def __init__(self) -> None:
        self.guest_in, to_guest = os.pipe()
        from_guest, self.guest_out = os.pipe()
        for fd in (self.guest_in, to_guest, from_guest):
            os.set_blocking(fd, False)
        self.fifos = Fifos.of(to_guest=to_guest, from_guest=from_guest)
        self.session = Session(bytes(MARKER_BYTES))
        self.link = Link(self.fifos, lambda data: None, self._failed)
        self.forgotten: list[int] = []
        hello = Writer().u32(1).u32(262_144).u32(0).done()
        marker = self.session.start()[-MARKER_BYTES:]
        self.session.receive(marker + encode(FrameType.HELLO, 0, payload=hello))
        self.stream, _ = self.session.open(Kind.DIAL, b"\x50\x00")
        self.connection = Connection(self.stream, self.session, self.link, self.forgotten.append)
        self.sink = Sink()

    def _failed(self, error: Exception) -> None:
        raise error

    def sent(self) -> list[Frame]:
        """Frames that are in the pipe now."""
        data = b""
        try:
            while piece := os.read(self.guest_in, PIPE_BYTES):
                data += piece
        except BlockingIOError:
            pass
        return split(data)[0]

    def allow(self, limit: int) -> None:
        self.session.receive(encode(FrameType.ACK, self.stream, 0, 0, Writer().u64(limit).done()))
        self.connection.on_room()

    def close(self) -> None:
        self.link.close()
        self.fifos.close()
        os.close(self.guest_in)
        os.close(self.guest_out)


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    made = Wire()
    yield made
    made.close()


async def test_what_comes_before_the_sink_is_told_to_it_in_order(wire: Wire) -> None:
    wire.connection.on_data(b"a")
    wire.connection.on_data(b"b")
    wire.connection.on_end()
    wire.connection.on_closed()
    wire.connection.start(wire.sink)
    assert wire.sink.told == [b"a", b"b", "end", "over"]


async def test_no_more_is_sent_than_the_guest_allows(wire: Wire) -> None:
    wire.connection.start(wire.sink)
    data = memoryview(bytes(INITIAL_WINDOW + 5))
    sent = 0
    while count := wire.connection.send(data[sent : sent + 30_000]):
        sent += count
        wire.sent()
    assert sent == INITIAL_WINDOW
    wire.allow(INITIAL_WINDOW + 5)
    assert wire.sink.told == ["room"]
    assert wire.connection.send(data[sent:]) == 5


async def test_a_full_pipe_holds_senders_back_until_it_has_drained(wire: Wire) -> None:
    wire.connection.start(wire.sink)
    wire.link.write(bytes(2**20))  # far more than the pipe takes
    assert wire.link.crowded and wire.connection.send(memoryview(b"x")) == 0
    for _ in range(100):
        if wire.sink.told:
            break
        wire.sent()
        wire.link._on_writable()
    assert wire.sink.told == ["room"] and wire.connection.send(memoryview(b"x")) == 1


async def test_what_has_gone_on_is_acknowledged_by_half_windows(wire: Wire) -> None:
    wire.connection.start(wire.sink)
    wire.connection.take(WINDOW_BYTES // 2 - INITIAL_WINDOW)
    acknowledged = [frame for frame in wire.sent() if frame.type == FrameType.ACK]
    wire.connection.take(WINDOW_BYTES)
    acknowledged += [frame for frame in wire.sent() if frame.type == FrameType.ACK]
    assert 1 <= len(acknowledged) <= 2


async def test_after_close_nothing_is_told_and_nothing_sent(wire: Wire) -> None:
    wire.connection.start(wire.sink)
    wire.connection.close()
    wire.connection.close()
    assert [frame.type for frame in wire.sent()] == [FrameType.CLOSE] and wire.forgotten == [wire.stream]
    wire.connection.on_room()
    wire.connection.on_closed()
    wire.connection.take(5)
    wire.connection.end()
    assert wire.connection.send(memoryview(b"x")) == 0
    assert wire.sink.told == [] and wire.sent() == []


async def test_a_cut_session_ends_it_once(wire: Wire) -> None:
    wire.connection.start(wire.sink)
    wire.connection.on_cut(ValueError())
    wire.connection.on_closed()
    assert wire.sink.told == ["over"]


async def test_events_are_a_violation(wire: Wire) -> None:
    with pytest.raises(ProtocolViolation):
        wire.connection.on_event(1, b"")


async def test_a_guest_that_sends_more_than_allowed_is_broken(wire: Wire) -> None:
    (event,) = wire.session.receive(encode(FrameType.DATA, wire.stream, 1, 0, bytes(INITIAL_WINDOW)))
    assert isinstance(event, DataArrived)
    with pytest.raises(ProtocolViolation):
        wire.session.receive(encode(FrameType.DATA, wire.stream, 1, INITIAL_WINDOW, b"x"))
