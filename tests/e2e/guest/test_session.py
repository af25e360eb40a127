"""The session itself: greetings, resets in the middle of anything, garbage."""

from __future__ import annotations

import os
import signal
import struct
import time
from pathlib import Path

import pytest

from tests.support.guest_driver import Driver
from tests.support.guest_launch import LaunchedGuest, RunscGuests
from tests.support.guest_wire import ACK, CALL, CLOSE, DATA, EOF, EVENT, FILE_WRITE, HEADER, OPEN, PREAMBLE, RESET, GuestFailure, text


def test_clocks(driver: Driver) -> None:
    first, _ = driver.ping()
    second, realtime_ns = driver.ping()
    assert second > first
    assert abs(realtime_ns - time.time_ns()) < 10_000_000_000


def test_reset_in_the_middle_of_a_frame_to_the_guest(driver: Driver) -> None:
    """Whatever was begun is forgotten, wherever it was cut."""
    frame = HEADER.pack(9, 2, OPEN, CALL, 0, 0) + b"\x01" + text("/x")
    for cut in range(1, len(frame)):
        driver.write(frame[:cut])
        assert driver.reset() == []
        driver.ping()


def test_a_marker_that_arrives_byte_by_byte(driver: Driver) -> None:
    """The host writes it at once, but the guest does not depend on that at a frame's boundary."""
    host_marker = os.urandom(32)
    for byte in driver.marker + HEADER.pack(32, 0, RESET, 0, 0, 0) + host_marker:
        driver.write(bytes([byte]))
    answer = bytearray()
    while host_marker not in answer:
        driver._fill(time.monotonic() + 10)
        answer += driver._received
        driver._received.clear()
    driver.reset()
    driver.ping()


def test_reset_while_the_guest_is_in_the_middle_of_output(driver: Driver) -> None:
    """The pipe is full and the guest stopped inside a frame; after the reset the output goes on at the asked offset."""
    process = driver.start(["sh", "-c", "yes | head -c 3000000"])
    driver.acknowledge(process.stream, 1, 0, 4 << 20)
    file = driver.shell("head -c 5000000 /dev/zero > /root/zeros; echo /root/zeros").strip()
    stream = driver.open(3, text(file) + struct.pack("<QQ", 0, 2**64 - 1))
    driver.send(ACK, stream, 1, 0, struct.pack("<Q", 1 << 30))
    time.sleep(0.2)
    states = driver.reset()
    assert [state.stream for state in states] == [process.stream]
    assert states[0].held == (0, 0) and states[0].exec_id and not states[0].pty
    assert driver.receive(process.stream).kind == ACK
    assert driver.silent(0.2), "nothing is sent before the host has said from where"
    driver.acknowledge(process.stream, 1, 0)
    driver.acknowledge(process.stream, 2, 0)
    assert driver.wait(process).succeeded
    assert process.stdout == b"y\n" * 1_500_000
    driver.remove(file)


def test_output_is_sent_again_from_where_the_host_says(driver: Driver) -> None:
    process = driver.start(["sh", "-c", "printf 0123456789; sleep 1000"])
    while len(process.stdout) < 10:
        frame = driver.receive(process.stream)
        process.output[1] += frame.payload
    for offset, expected in [(3, b"3456789"), (3, b"3456789"), (10, b""), (7, b"789"), (0, b"3456789")]:
        (state,) = driver.reset()
        assert driver.receive(process.stream).kind == ACK
        held = state.held[0]
        driver.acknowledge(process.stream, 1, offset)
        if not expected or offset == 10:
            assert driver.silent(0.1)
            break
        frame = driver.receive(process.stream)
        assert (frame.kind, frame.offset, frame.payload) == (DATA, max(offset, held), expected)
    driver.signal(process, signal.SIGKILL)
    driver.acknowledge(process.stream, 2, 0)
    process.output[1] = bytearray(10)
    driver.wait(process)


def test_an_exited_process_tells_its_end_again(driver: Driver) -> None:
    process = driver.start(["sh", "-c", "echo out; echo err >&2; exit 5"], exec_id="again")
    while process.exit is None:
        driver.step(process)
    for _ in range(3):
        (state,) = driver.reset()
        assert (state.exec_id, state.stdin_closed, state.held) == ("again", True, (4, 4))
        assert state.exit == process.exit
        assert driver.receive(process.stream).kind == ACK
        driver.acknowledge(process.stream, 1, 4)
        assert driver.receive(process.stream).kind == EOF
        assert driver.silent(0.05), "EXIT waits for the other channel"
        driver.acknowledge(process.stream, 2, 4)
        assert driver.receive(process.stream).kind == EOF
        assert driver.receive(process.stream).kind == EVENT
    driver.close(process.stream)
    assert driver.reset() == []


def test_stdin_goes_on_where_it_was(driver: Driver) -> None:
    """The guest counts what it took; what is repeated is passed over, what is missing is refused."""
    process = driver.start(["cat"])
    driver.send(DATA, process.stream, 0, 0, b"abc")
    (state,) = driver.reset()
    assert state.stdin_taken == 3 and not state.stdin_closed
    assert driver.receive(process.stream).kind == ACK
    driver.acknowledge(process.stream, 1, 0)
    driver.acknowledge(process.stream, 2, 0)
    driver.send(DATA, process.stream, 0, 1, b"bcdef")
    driver.send(EOF, process.stream, 0, 6)
    assert driver.wait(process).succeeded
    assert process.stdout == b"abcdef"


def test_stdin_half_written_when_the_reset_came(driver: Driver) -> None:
    process = driver.start(["sh", "-c", "sleep 0.3; cat | wc -c"])
    driver.send(DATA, process.stream, 0, 0, bytes(200_000))
    frame = HEADER.pack(50_000, process.stream, DATA, 0, 0, 200_000) + bytes(20_000)
    driver.write(frame)
    (state,) = driver.reset()
    assert state.stdin_taken == 200_000
    driver.acknowledge(process.stream, 1, 0)
    driver.acknowledge(process.stream, 2, 0)
    driver.write_stdin(process, bytes(100_000), 200_000)
    driver.wait(process)
    assert process.stdout == b"300000\n"


def test_a_reset_ends_everything_but_processes(driver: Driver, scratch: str) -> None:
    process = driver.start(["sleep", "1000"])
    (handle,) = driver.call(6, text("/etc/passwd") + struct.pack("<III", 1, 0, 0)).take("I")
    upload = driver.open(FILE_WRITE, text(f"{scratch}/file") + struct.pack("<IB", 0o644, 0))
    driver.reply(upload)
    driver.send(DATA, upload, 0, 0, b"half")
    watch = driver.open(7, text(scratch) + b"\x01")
    driver.reply(watch)
    assert driver.status()[2:] == (2, 1)
    assert len(driver.reset()) == 1
    assert driver.status()[2:] == (0, 0)
    assert driver.list_directory(scratch) == []
    with pytest.raises(GuestFailure):
        driver.call(7, struct.pack("<II", handle, 10))
    driver.close(process.stream)


def test_frames_for_what_is_gone_are_dropped(driver: Driver) -> None:
    process = driver.run(["true"])
    for kind in (DATA, EOF, ACK, CLOSE):
        driver.send(kind, process.stream, 1, 0, bytes(8) if kind == ACK else b"")
    driver.ping()


def test_garbage_is_survived_up_to_the_next_marker(driver: Driver, guest: LaunchedGuest) -> None:
    driver.write(os.urandom(100_000) + b"\xff" * 40)
    assert driver.reset() == []
    driver.ping()
    guest.forgive(len(guest.complaints()))


def test_frames_nobody_should_send_are_passed_over(driver: Driver, guest: LaunchedGuest) -> None:
    driver.send(0x99, 0)
    driver.send(OPEN, 3, CALL, payload=b"\x0e")
    driver.send(OPEN, 0, CALL, payload=b"\x0e")
    driver.send(ACK, 2, payload=b"short")
    driver.ping()
    guest.forgive(4)
    with pytest.raises(GuestFailure):
        driver.reply(driver.open(77, b""))
    with pytest.raises(GuestFailure):
        driver.call(99, b"")


def test_a_flood_of_requests_nobody_reads_the_answers_of(driver: Driver) -> None:
    """The guest stops reading when its answers pile up, and loses none."""
    count, path = 3000, text("/etc/passwd")
    frames = b"".join(
        HEADER.pack(1 + len(path) + 1, stream, OPEN, CALL, 0, 0) + b"\x01" + path + b"\x01" for stream in range(2, 2 * count + 2, 2)
    )
    driver.write(frames)
    driver._next_stream = 2 * count + 2
    for stream in range(2, 2 * count + 2, 2):
        driver.reply(stream)


def test_pings_overtake_bulk(driver: Driver) -> None:
    stream = driver.open(3, text("/dev/zero") + struct.pack("<QQ", 0, 1 << 30))
    driver.reply(stream)
    driver.send(ACK, stream, 1, 0, struct.pack("<Q", 1 << 30))
    driver.ping()
    driver.close(stream)
    driver.ping()


@pytest.mark.needs_root
@pytest.mark.needs_runsc
def test_the_greeting_may_be_begun_again(runsc_guests: RunscGuests, tmp_path: Path) -> None:
    """A daemon may die between any two bytes of it but those of one write."""

    class Hesitant(Driver):
        def greet(self) -> list[object]:  # type: ignore[override]  # nothing is known of processes yet
            self.write(b"noise" + PREAMBLE + self.marker[:7])
            self.marker = os.urandom(32)
            return list(super().greet())

    with runsc_guests.guest(driver=Hesitant) as guest:
        guest.driver.ping()
        assert guest.driver.reset() == []


@pytest.mark.needs_runsc
def test_a_guest_gets_another_name(runsc_guest: LaunchedGuest) -> None:
    """In a container only: elsewhere it would be the machine's."""
    driver = runsc_guest.driver
    assert driver.reset() == []
    before = driver.shell("hostname").strip()
    for name in ("sb-other", "x" * 64, before):
        driver.call(16, text(name)).end()
        assert driver.shell("hostname").strip() == name
    for payload in (text("x" * 65), text("a") + b"more", b"", b"\xff\xff\xff\xff"):
        with pytest.raises(GuestFailure):
            driver.call(16, payload)
    assert driver.shell("hostname").strip() == before
