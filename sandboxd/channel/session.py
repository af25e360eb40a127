"""The session with one guest, without I/O: bytes in, events out; requests in, bytes out.

The rules of docs/guest-protocol.md live here and only here. A :class:`ProtocolViolation` from :meth:`Session.receive` means that the guest
is broken or hostile; nothing it sent after the last returned event may be used.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Final, NamedTuple, TypeVar

import msgspec

from sandboxd.channel.fields import ProtocolViolation, Reader, Writer
from sandboxd.channel.frames import INITIAL_WINDOW, MARKER_BYTES, PREAMBLE, Frame, FrameType, Kind, encode, split
from sandboxd.channel.messages import Hello, Peer, ProcessSeen

C = TypeVar("C")

MAX_DISCARDED: Final = 8 * 1024 * 1024
"""Bytes that may come between a reset and the guest's answer: more than a full pipe can hold."""

MAX_STATES: Final = 65_536
MAX_API_STREAMS: Final = 256

_INBOUND: Final[Mapping[int, frozenset[int]]] = {
    Kind.PROCESS: frozenset({1, 2}),
    Kind.CALL: frozenset(),
    Kind.FILE_READ: frozenset({1}),
    Kind.FILE_WRITE: frozenset(),
    Kind.TAR_EXTRACT: frozenset(),
    Kind.TAR_CREATE: frozenset({1}),
    Kind.WATCH: frozenset(),
    Kind.DIAL: frozenset({1}),
    Kind.API: frozenset({0}),
}
_OUTBOUND: Final[Mapping[int, frozenset[int]]] = {
    Kind.PROCESS: frozenset({0}),
    Kind.CALL: frozenset(),
    Kind.FILE_READ: frozenset(),
    Kind.FILE_WRITE: frozenset({0}),
    Kind.TAR_EXTRACT: frozenset({0}),
    Kind.TAR_CREATE: frozenset(),
    Kind.WATCH: frozenset(),
    Kind.DIAL: frozenset({0}),
    Kind.API: frozenset({1}),
}


class Started(NamedTuple):
    """The guest answered start or reset; ``processes`` are those it knows."""

    processes: tuple[ProcessSeen, ...]


class Replied(NamedTuple):
    """``errno`` 0 and the rest of the payload, or an error and its text. The stream stays open unless it is a CALL or failed."""

    stream: int
    errno: int
    message: str
    fields: Reader


class DataArrived(NamedTuple):
    stream: int
    channel: int
    offset: int
    data: bytes | memoryview


class EofArrived(NamedTuple):
    stream: int
    channel: int
    offset: int


class RoomGrew(NamedTuple):
    """The guest consumed input: ``consumed`` bytes in all; more may be sent."""

    stream: int
    channel: int
    consumed: int


class Happened(NamedTuple):
    """An EVENT frame; what it means depends on the stream's kind."""

    stream: int
    event: int
    payload: bytes | memoryview


class Closed(NamedTuple):
    stream: int


class ApiOpened(NamedTuple):
    stream: int
    peer: Peer


class Pong(NamedTuple):
    token: int
    monotonic_ns: int
    realtime_ns: int


Event = Started | Replied | DataArrived | EofArrived | RoomGrew | Happened | Closed | ApiOpened | Pong


class _Inbound(msgspec.Struct):
    """Bytes from the guest on one channel."""

    offset: int = 0
    consumed: int = 0
    limit: int = INITIAL_WINDOW
    window: int = INITIAL_WINDOW
    ended: bool = False
    resumed: bool = False
    """After a reset the first DATA may lie beyond ``offset``: what the guest no longer holds is lost."""


class _Outbound(msgspec.Struct):
    """Bytes to the guest on one channel."""

    offset: int = 0
    limit: int = INITIAL_WINDOW
    ended: bool = False


class _Stream(msgspec.Struct):
    kind: Kind
    inbound: dict[int, _Inbound]
    outbound: dict[int, _Outbound]


def _new_stream(kind: Kind) -> _Stream:
    return _Stream(kind, {channel: _Inbound() for channel in _INBOUND[kind]}, {channel: _Outbound() for channel in _OUTBOUND[kind]})


class Session:
    """One guest's session.

    Args:
        guest_marker: 32 random bytes that the guest was or will be given at its start; they outlive the daemon (journal, snapshots).
    """

    def __init__(self, guest_marker: bytes) -> None:
        if len(guest_marker) != MARKER_BYTES:
            raise ValueError("a guest marker has 32 bytes")
        self._guest_marker = guest_marker
        self._host_marker = b""
        self._leftover = b""
        self._discarded = 0
        self._hello: Hello | None = None
        self._states: list[ProcessSeen] = []
        self._streams: dict[int, _Stream] = {}
        self._next_stream = 2
        self._last_guest_stream = -1

    # --- start and reset -------------------------------------------------------------------------------------------------------------

    def start(self) -> bytes:
        """The first bytes a booted guest gets."""
        return PREAMBLE + self.reset()

    def reset(self) -> bytes:
        """Bytes that make the guest find frame boundaries again. Every stream but PROCESS ones is gone on both sides."""
        self._host_marker = secrets.token_bytes(MARKER_BYTES)
        self._leftover, self._discarded = b"", 0
        self._hello, self._states = None, []
        self._streams.clear()
        self._last_guest_stream = -1
        return self._guest_marker + encode(FrameType.RESET, 0, payload=self._host_marker)

    @property
    def started(self) -> bool:
        """Whether HELLO and all STATEs of the last start or reset arrived."""
        return self._hello is not None and len(self._states) == self._hello.states

    # --- receiving -------------------------------------------------------------------------------------------------------------------

    def receive(self, data: bytes) -> list[Event]:
        """Take bytes from the guest.

        Returns: what they mean, in order. ``DataArrived.data`` may be a view into ``data``.
        Raises:  ProtocolViolation: the sandbox must end.
        """
        if self._host_marker:
            synchronised = self._synchronise(data)
            if synchronised is None:
                return []
            data = synchronised
        if self._leftover:
            data = self._leftover + data
        frames, used = split(data)
        self._leftover = data[used:]
        events: list[Event] = []
        for frame in frames:
            event = self._on_session_frame(frame) if frame.stream == 0 else self._on_stream_frame(frame)
            if event is not None:
                events.append(event)
        return events

    def _synchronise(self, data: bytes) -> bytes | None:
        """Discard up to and including the host marker; None while it has not come."""
        data = self._leftover + data
        at = data.find(self._host_marker)
        if at < 0:
            keep = min(len(data), MARKER_BYTES - 1)
            self._discarded += len(data) - keep
            if self._discarded > MAX_DISCARDED:
                raise ProtocolViolation(f"no answer to a reset within {MAX_DISCARDED} bytes")
            self._leftover = data[len(data) - keep :]
            return None
        self._leftover = b""
        self._host_marker = b""
        return data[at + MARKER_BYTES :]

    def _on_session_frame(self, frame: Frame) -> Event | None:
        if frame.type == FrameType.HELLO and self._hello is None:
            self._hello = Hello.read(frame.payload)
            if self._hello.states > MAX_STATES:
                raise ProtocolViolation(f"{self._hello.states} processes")
            return self._started_event()
        if frame.type == FrameType.STATE and self._hello is not None and not self.started:
            self._adopt(ProcessSeen.read(frame.payload))
            return self._started_event()
        if frame.type == FrameType.PONG and self.started:
            reader = Reader(frame.payload)
            pong = Pong(frame.offset, reader.u64(), reader.u64())
            reader.end()
            return pong
        raise ProtocolViolation(f"frame type {frame.type:#x} on the session")

    def _started_event(self) -> Started | None:
        return Started(tuple(self._states)) if self.started else None

    def _adopt(self, seen: ProcessSeen) -> None:
        if seen.stream in self._streams:
            raise ProtocolViolation(f"stream {seen.stream} told twice")
        stream = _new_stream(Kind.PROCESS)
        for inbound in stream.inbound.values():
            inbound.resumed = True
        stream.outbound[0].offset = seen.stdin_offset
        stream.outbound[0].limit = seen.stdin_offset + INITIAL_WINDOW
        stream.outbound[0].ended = seen.stdin_closed
        self._streams[seen.stream] = stream
        self._next_stream = max(self._next_stream, seen.stream + 2)
        self._states.append(seen)

    def _on_stream_frame(self, frame: Frame) -> Event | None:
        if not self.started:
            raise ProtocolViolation("stream frame before the session is on")
        if frame.type == FrameType.OPEN:
            return self._on_open(frame)
        stream = self._streams.get(frame.stream)
        if stream is None:
            known = frame.stream <= self._last_guest_stream if frame.stream % 2 else frame.stream < self._next_stream
            if not known:
                raise ProtocolViolation(f"stream {frame.stream} was never opened")
            return None
        match frame.type:
            case FrameType.DATA:
                return self._on_data(frame, stream)
            case FrameType.EOF:
                return self._on_eof(frame, stream)
            case FrameType.ACK:
                return self._on_ack(frame, stream)
            case FrameType.REPLY:
                return self._on_reply(frame, stream)
            case FrameType.EVENT:
                return Happened(frame.stream, frame.channel, frame.payload)
            case FrameType.CLOSE:
                del self._streams[frame.stream]
                return Closed(frame.stream)
        raise ProtocolViolation(f"frame type {frame.type:#x} on a stream")

    def _on_open(self, frame: Frame) -> Event:
        if frame.channel != Kind.API or frame.stream % 2 == 0 or frame.stream <= self._last_guest_stream:
            raise ProtocolViolation(f"guest opened stream {frame.stream} of kind {frame.channel}")
        if sum(stream.kind is Kind.API for stream in self._streams.values()) >= MAX_API_STREAMS:
            raise ProtocolViolation(f"over {MAX_API_STREAMS} API streams")
        peer = Peer.read(frame.payload)
        self._last_guest_stream = frame.stream
        self._streams[frame.stream] = _new_stream(Kind.API)
        return ApiOpened(frame.stream, peer)

    def _on_data(self, frame: Frame, stream: _Stream) -> Event:
        inbound = _channel(stream.inbound, frame)
        if frame.offset != inbound.offset and not (inbound.resumed and frame.offset > inbound.offset):
            raise ProtocolViolation(f"data at {frame.offset}, expected {inbound.offset}")
        if inbound.resumed:
            inbound.resumed = False
            inbound.consumed = frame.offset
            inbound.limit = max(inbound.limit, frame.offset + inbound.window)
        end = frame.offset + len(frame.payload)
        if not len(frame.payload) or end > inbound.limit or inbound.ended:
            raise ProtocolViolation(f"data up to {end}, allowed {inbound.limit}")
        inbound.offset = end
        return DataArrived(frame.stream, frame.channel, frame.offset, frame.payload)

    def _on_eof(self, frame: Frame, stream: _Stream) -> Event:
        inbound = _channel(stream.inbound, frame)
        beyond = inbound.resumed and frame.offset > inbound.offset
        if inbound.ended or (frame.offset != inbound.offset and not beyond):
            raise ProtocolViolation(f"end at {frame.offset}, expected {inbound.offset}")
        inbound.ended = True
        return EofArrived(frame.stream, frame.channel, frame.offset)

    def _on_ack(self, frame: Frame, stream: _Stream) -> Event:
        outbound = _channel(stream.outbound, frame)
        reader = Reader(frame.payload)
        limit = reader.u64()
        reader.end()
        if frame.offset > outbound.offset or limit < frame.offset:
            raise ProtocolViolation(f"acknowledged {frame.offset} of {outbound.offset}, limit {limit}")
        outbound.limit = max(outbound.limit, limit)
        return RoomGrew(frame.stream, frame.channel, frame.offset)

    def _on_reply(self, frame: Frame, stream: _Stream) -> Event:
        reader = Reader(frame.payload)
        errno = reader.u32()
        if errno > 4095:
            raise ProtocolViolation(f"errno {errno}")
        message = reader.text() if errno else ""
        if errno or stream.kind is Kind.CALL:
            del self._streams[frame.stream]
        return Replied(frame.stream, errno, message, reader)

    # --- sending ---------------------------------------------------------------------------------------------------------------------

    def open(self, kind: Kind, payload: bytes) -> tuple[int, bytes]:
        """Open a stream. Returns: its id, and the bytes to write."""
        stream = self._next_stream
        self._next_stream += 2
        self._streams[stream] = _new_stream(kind)
        return stream, encode(FrameType.OPEN, stream, kind, payload=payload)

    def is_open(self, stream: int) -> bool:
        return stream in self._streams

    def room(self, stream: int, channel: int) -> int:
        """Bytes that may be sent on the channel now; 0 once the stream is gone."""
        known = self._streams.get(stream)
        if known is None:
            return 0
        outbound = known.outbound[channel]
        return 0 if outbound.ended else max(0, outbound.limit - outbound.offset)

    def data(self, stream: int, channel: int, data: bytes | memoryview) -> bytes:
        """Bytes to write for ``data``, which must fit into :meth:`room` and one frame."""
        outbound = self._streams[stream].outbound[channel]
        frame = encode(FrameType.DATA, stream, channel, outbound.offset, data)
        outbound.offset += len(data)
        return frame

    def end(self, stream: int, channel: int) -> bytes:
        """EOF on a channel; nothing if it was sent or the stream is gone."""
        known = self._streams.get(stream)
        if known is None or known.outbound[channel].ended:
            return b""
        outbound = known.outbound[channel]
        outbound.ended = True
        return encode(FrameType.EOF, stream, channel, outbound.offset)

    def consumed(self, stream: int, channel: int, upto: int, *, window: int = INITIAL_WINDOW) -> bytes:
        """Note that bytes below ``upto`` were consumed. Returns: an ACK when it is due, else nothing."""
        known = self._streams.get(stream)
        if known is None:
            return b""
        inbound = known.inbound[channel]
        inbound.consumed, inbound.window = max(inbound.consumed, upto), window
        limit = inbound.consumed + window
        if limit - inbound.limit < window // 2:
            return b""
        inbound.limit = limit
        return encode(FrameType.ACK, stream, channel, inbound.consumed, Writer().u64(limit).done())

    def resume(self, stream: int, channel: int, offset: int, *, window: int = INITIAL_WINDOW) -> bytes:
        """After a reset: ask for a PROCESS channel's output from ``offset`` on."""
        inbound = self._streams[stream].inbound[channel]
        inbound.offset = inbound.consumed = offset
        inbound.limit, inbound.window = offset + window, window
        return encode(FrameType.ACK, stream, channel, offset, Writer().u64(inbound.limit).done())

    def control(self, stream: int, operation: int, payload: bytes) -> bytes:
        return encode(FrameType.CONTROL, stream, operation, payload=payload) if stream in self._streams else b""

    def reply(self, stream: int, payload: bytes) -> bytes:
        return encode(FrameType.REPLY, stream, payload=payload) if stream in self._streams else b""

    def close(self, stream: int) -> bytes:
        """Forget a stream; on both sides nothing of it is left."""
        return encode(FrameType.CLOSE, stream) if self._streams.pop(stream, None) else b""

    def ping(self, token: int) -> bytes:
        return encode(FrameType.PING, 0, offset=token)


def _channel(channels: dict[int, C], frame: Frame) -> C:
    try:
        return channels[frame.channel]
    except KeyError:
        raise ProtocolViolation(f"frame type {frame.type:#x} on channel {frame.channel}") from None
