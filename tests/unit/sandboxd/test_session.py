"""The session: what a hostile guest can send is a violation, never anything else; what an honest one sends arrives."""

from __future__ import annotations

import secrets
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandboxd.channel.fields import ProtocolViolation, Writer
from sandboxd.channel.frames import INITIAL_WINDOW, MARKER_BYTES, MAX_PAYLOAD, PREAMBLE, FrameType, Kind, encode, split
from sandboxd.channel.session import MAX_DISCARDED, DataArrived, Replied, Session, Started

GUEST_MARKER = bytes(range(32))


def host_marker(start: bytes) -> bytes:
    """The marker inside a RESET frame."""
    return start[-MARKER_BYTES:]


def hello(states: int = 0, version: int = 1) -> bytes:
    return encode(FrameType.HELLO, 0, payload=Writer().u32(version).u32(MAX_PAYLOAD).u32(states).done())


def started() -> Session:
    session = Session(GUEST_MARKER)
    assert session.receive(host_marker(session.start()) + hello()) == [Started(())]
    return session


def process(session: Session) -> int:
    stream, _ = session.open(Kind.PROCESS, b"")
    return stream


def test_start_speaks_preamble_marker_reset() -> None:
    data = Session(GUEST_MARKER).start()
    assert data.startswith(PREAMBLE + GUEST_MARKER)
    frames, used = split(data[len(PREAMBLE) + MARKER_BYTES :])
    assert [frame.type for frame in frames] == [FrameType.RESET]
    assert used == 20 + MARKER_BYTES


@given(cuts=st.lists(st.integers(1, 40), max_size=40), noise=st.binary(max_size=200))
@settings(deadline=None)
def test_marker_is_found_in_any_cut_after_any_noise(cuts: list[int], noise: bytes) -> None:
    session = Session(GUEST_MARKER)
    data = noise + host_marker(session.reset()) + hello()
    events = []
    for cut in cuts:
        events += session.receive(data[:cut])
        data = data[cut:]
    events += session.receive(data)
    assert events == [Started(())]


def test_endless_noise_before_the_marker_is_a_violation() -> None:
    session = Session(GUEST_MARKER)
    session.reset()
    noise = bytes(1024 * 1024)
    with pytest.raises(ProtocolViolation, match="no answer"):
        for _ in range(MAX_DISCARDED // len(noise) + 2):
            session.receive(noise)


@given(st.binary(max_size=400))
@settings(max_examples=500, deadline=None)
def test_garbage_is_events_or_a_violation(garbage: bytes) -> None:
    session = started()
    process(session)
    session.open(Kind.CALL, b"")
    session.open(Kind.DIAL, b"")
    try:
        session.receive(garbage)
    except ProtocolViolation:
        return


frames = st.builds(
    lambda stream, type_, channel, offset, payload: struct.pack("<IIBBHQ", len(payload), stream, type_, channel, 0, offset) + payload,
    st.integers(0, 9),
    st.sampled_from([*FrameType, 0, 0x18, 0xFF]),
    st.integers(0, 20),
    st.sampled_from([0, 1, 5, 2**63, 2**64 - 1]),
    st.one_of(st.binary(max_size=80), st.builds(lambda n: struct.pack("<I", n), st.integers(0, 2**32 - 1))),
)


@given(st.lists(frames, max_size=12))
@settings(max_examples=500, deadline=None)
def test_well_formed_nonsense_is_events_or_a_violation(several: list[bytes]) -> None:
    session = started()
    for kind in (Kind.PROCESS, Kind.CALL, Kind.FILE_READ, Kind.WATCH):
        session.open(kind, b"")
    try:
        session.receive(b"".join(several))
    except ProtocolViolation:
        return


@pytest.mark.parametrize(
    ("what", "data"),
    [
        ("frame of", struct.pack("<IIBBHQ", MAX_PAYLOAD + 1, 2, FrameType.DATA, 1, 0, 0)),
        ("reserved", struct.pack("<IIBBHQ", 0, 2, FrameType.EOF, 1, 7, 0)),
        ("never opened", encode(FrameType.DATA, 8, 1, payload=b"x")),
        ("expected 0", encode(FrameType.DATA, 2, 1, 5, b"x")),
        ("allowed", encode(FrameType.DATA, 2, 1, 0, b"")),
        ("channel 0", encode(FrameType.DATA, 2, 0, 0, b"x")),
        ("channel 3", encode(FrameType.DATA, 2, 3, 0, b"x")),
        ("opened stream", encode(FrameType.OPEN, 4, Kind.API, payload=bytes(12))),
        ("opened stream", encode(FrameType.OPEN, 1, Kind.PROCESS, payload=bytes(12))),
        ("acknowledged", encode(FrameType.ACK, 2, 0, 100, Writer().u64(200).done())),
        ("on the session", hello()),
        ("on a stream", encode(FrameType.CONTROL, 2, 1)),
        ("errno", encode(FrameType.REPLY, 2, payload=Writer().u32(99999).text("x").done())),
        ("left over", encode(FrameType.PONG, 0, payload=bytes(17))),
    ],
)
def test_each_rule_is_enforced(what: str, data: bytes) -> None:
    session = started()
    assert process(session) == 2
    with pytest.raises(ProtocolViolation, match=what):
        session.receive(data)


def test_guest_cannot_send_past_its_window() -> None:
    session = started()
    stream = process(session)
    assert len(session.receive(encode(FrameType.DATA, stream, 1, 0, bytes(INITIAL_WINDOW)))) == 1
    with pytest.raises(ProtocolViolation, match="allowed"):
        session.receive(encode(FrameType.DATA, stream, 1, INITIAL_WINDOW, b"x"))


def test_acknowledgement_is_sent_at_half_a_window() -> None:
    session = started()
    stream = process(session)
    session.receive(encode(FrameType.DATA, stream, 1, 0, bytes(INITIAL_WINDOW)))
    assert session.consumed(stream, 1, INITIAL_WINDOW // 2 - 1) == b""
    (ack,), _ = split(session.consumed(stream, 1, INITIAL_WINDOW // 2))
    assert (ack.type, ack.offset) == (FrameType.ACK, INITIAL_WINDOW // 2)


def test_frames_that_crossed_a_close_are_dropped() -> None:
    session = started()
    stream = process(session)
    session.close(stream)
    assert session.receive(encode(FrameType.DATA, stream, 1, 0, b"late")) == []


def test_reset_keeps_processes_and_drops_the_rest() -> None:
    session = started()
    call, _ = session.open(Kind.CALL, b"")
    state = Writer().u32(6).text("e1").u32(77).u8(4).u64(10).u64(100).u64(200).done()
    data = host_marker(session.reset()) + hello(1) + encode(FrameType.STATE, 0, payload=state)
    (event,) = session.receive(b"half a frame of before" + data)
    assert isinstance(event, Started)
    assert (event.processes[0].exec_id, event.processes[0].stdout_offset) == ("e1", 100)
    assert not session.is_open(call)
    assert session.open(Kind.CALL, b"")[0] == 8
    session.resume(6, 1, 150)
    (data_event,) = session.receive(encode(FrameType.DATA, 6, 1, 150, b"go on"))
    assert isinstance(data_event, DataArrived)
    assert bytes(data_event.data) == b"go on"


def test_call_ends_with_its_reply() -> None:
    session = started()
    call, _ = session.open(Kind.CALL, b"")
    (event,) = session.receive(encode(FrameType.REPLY, call, payload=Writer().u32(2).text("No such file").done()))
    assert isinstance(event, Replied)
    assert (event.errno, event.message) == (2, "No such file")
    assert session.receive(encode(FrameType.REPLY, call, payload=bytes(4))) == []


@pytest.mark.parametrize("cut", range(0, 60, 7))
def test_large_frames_survive_any_cut(cut: int) -> None:
    session = started()
    stream = process(session)
    payload = secrets.token_bytes(50_000)
    data = encode(FrameType.DATA, stream, 1, 0, payload)
    events = session.receive(data[: cut * 500]) + session.receive(data[cut * 500 :])
    assert [bytes(event.data) for event in events if isinstance(event, DataArrived)] == [payload]
