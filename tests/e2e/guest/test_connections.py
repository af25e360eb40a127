"""Dials into the sandbox, connections out of it, watches."""

from __future__ import annotations

import array
import errno
import fcntl
import struct
import termios
import time
from collections.abc import Iterator

import pytest

from tests.support.guest_driver import Driver
from tests.support.guest_wire import (
    ACK,
    API,
    CLOSE,
    DATA,
    DIAL,
    EOF,
    EVENT,
    FILE_READ,
    OPEN,
    REPLY,
    WATCH,
    Exec,
    Fields,
    GuestFailure,
    text,
)

SERVER = """
import socket, sys
family = socket.AF_INET6 if sys.argv[1] == '6' else socket.AF_INET
listener = socket.create_server(('::1' if sys.argv[1] == '6' else '127.0.0.1', 0), family=family)
print(listener.getsockname()[1], flush=True)
"""

ECHO = (
    SERVER
    + """
while True:
    connection, _ = listener.accept()
    while data := connection.recv(65536):
        connection.sendall(data)
    connection.close()
"""
)


def serve(driver: Driver, script: str, family: str = "4") -> tuple[Exec, int]:
    process = driver.start(["python3", "-S", "-c", script, family])
    while not process.stdout.endswith(b"\n"):
        driver.step(process)
    return process, int(process.stdout)


@pytest.fixture
def echo_port(driver: Driver) -> Iterator[int]:
    process, port = serve(driver, ECHO)
    yield port
    driver.signal(process, 9)
    driver.wait(process)


def dial(driver: Driver, port: int) -> int:
    stream = driver.open(DIAL, struct.pack("<H", port))
    driver.reply(stream).end()
    return stream


def exchange(driver: Driver, stream: int, data: bytes, channels: tuple[int, int] = (0, 1)) -> bytes:
    """Send all of ``data`` and EOF, keeping both windows, until the guest closes. Returns: what came back."""
    limit, position, received, ended, closed = 262_144, 0, bytearray(), False, False
    while not closed:
        while position < min(limit, len(data)):
            count = min(100_000, limit - position, len(data) - position)
            driver.send(DATA, stream, channels[0], position, data[position : position + count])
            position += count
        if position == len(data) and not ended:
            driver.send(EOF, stream, channels[0], position)
            ended = True
        frame = driver.receive(stream)
        if frame.kind == ACK:
            (limit,) = struct.unpack("<Q", frame.payload)
        elif frame.kind == DATA:
            assert (frame.channel, frame.offset) == (channels[1], len(received))
            received += frame.payload
            driver.acknowledge(stream, channels[1], len(received), 262_144)
        closed = frame.kind == CLOSE
    return bytes(received)


def test_bytes_come_back_from_a_port(driver: Driver, echo_port: int) -> None:
    data = bytes(range(256)) * 8000
    assert exchange(driver, dial(driver, echo_port), data) == data
    assert driver.status()[2] == 0


def test_many_connections_at_a_time(driver: Driver) -> None:
    script = (
        SERVER
        + """
import threading
def answer(connection):
    connection.sendall(connection.recv(100).upper())
    connection.close()
while True:
    threading.Thread(target=answer, args=[listener.accept()[0]]).start()
"""
    )
    process, port = serve(driver, script)
    streams = [dial(driver, port) for _ in range(40)]
    for stream in streams:
        driver.send(DATA, stream, 0, 0, b"hello %d" % stream)
    for stream in streams:
        assert driver.receive(stream).payload == b"HELLO %d" % stream
        assert driver.receive(stream).kind == EOF
        driver.send(EOF, stream, 0, 8)
        assert driver.receive(stream).kind == CLOSE
    driver.signal(process, 9)
    driver.wait(process)


def test_the_other_loopback_is_tried(driver: Driver) -> None:
    process, port = serve(driver, ECHO, "6")
    assert exchange(driver, dial(driver, port), b"six") == b"six"
    driver.signal(process, 9)
    driver.wait(process)


def test_a_refused_connection(driver: Driver) -> None:
    stream = driver.open(DIAL, struct.pack("<H", 1))
    with pytest.raises(GuestFailure) as raised:
        driver.reply(stream)
    assert raised.value.errno == errno.ECONNREFUSED
    assert driver.receive(stream).kind == CLOSE


def test_half_closed_connections_work(driver: Driver) -> None:
    """The server answers only after the end of the request."""
    script = (
        SERVER
        + """
connection, _ = listener.accept()
request = b''
while data := connection.recv(65536): request += data
connection.sendall(b'%d bytes' % len(request))
connection.close()
"""
    )
    process, port = serve(driver, script)
    assert exchange(driver, dial(driver, port), bytes(700_000)) == b"700000 bytes"
    driver.wait(process)


def test_a_server_that_does_not_read_blocks_nobody(driver: Driver) -> None:
    process, port = serve(driver, SERVER + "connection, _ = listener.accept()\nimport time; time.sleep(1000)")
    stream = dial(driver, port)
    position, limit = 0, 262_144
    while position < limit and position < 50_000_000:
        driver.send(DATA, stream, 0, position, bytes(131_072))
        position += 131_072
        driver.ping()
        while driver._frames[stream]:
            (limit,) = struct.unpack("<Q", driver.receive(stream).payload)
    assert driver.shell("echo fine") == "fine\n"
    driver.signal(process, 9)
    driver.wait(process)
    while driver.receive(stream).kind != CLOSE:
        pass


def test_a_client_that_does_not_read_stops_the_server_only(driver: Driver) -> None:
    process, port = serve(driver, SERVER + "connection, _ = listener.accept()\nwhile True: connection.sendall(bytes(65536))")
    stream = dial(driver, port)
    received = 0
    while received < 262_144:
        received += len(driver.receive(stream).payload)
    assert received == 262_144 and driver.silent(0.1)
    driver.close(stream)
    assert driver.wait(process).number == 1, "a broken pipe"
    assert driver.status()[2] == 0


def test_a_connection_that_breaks(driver: Driver) -> None:
    script = (
        SERVER
        + """
import struct
connection, _ = listener.accept()
connection.recv(1)
connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
connection.close()
"""
    )
    process, port = serve(driver, script)
    stream = dial(driver, port)
    driver.send(DATA, stream, 0, 0, b"x" * 100)
    driver.wait(process)
    while driver.receive(stream).kind != CLOSE:
        pass


API_CLIENT = """
import socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect('/run/cove/api.sock')
connection.sendall(sys.argv[1].encode())
connection.shutdown(socket.SHUT_WR)
answer = b''
while data := connection.recv(65536): answer += data
sys.stdout.write(answer.decode())
"""


def accept(driver: Driver) -> int:
    """The next API stream."""
    stream = driver.opened()
    frame = driver.receive(stream)
    assert (frame.kind, frame.channel, stream % 2) == (OPEN, API, 1)
    assert len(Fields(frame.payload).take("III")) == 3
    return stream


@pytest.mark.parametrize("user", ["", "daemon"])
def test_a_process_reaches_the_host(driver: Driver, user: str) -> None:
    process = driver.start(["python3", "-S", "-c", API_CLIENT, "GET / HTTP/1.1"], user=user)
    stream = accept(driver)
    driver.send(REPLY, stream, payload=bytes(4))
    assert driver.receive(stream).payload == b"GET / HTTP/1.1"
    assert driver.receive(stream).kind == EOF
    driver.send(DATA, stream, 1, 0, b"403 Forbidden")
    driver.send(EOF, stream, 1, 13)
    assert driver.receive(stream).kind == CLOSE
    driver.wait(process)
    assert process.stdout == b"403 Forbidden"


def test_the_host_may_refuse_a_connection(driver: Driver) -> None:
    for refuse in (lambda stream: driver.send(REPLY, stream, payload=struct.pack("<II", 13, 0)), driver.close):
        process = driver.start(["python3", "-S", "-c", API_CLIENT, ""])
        refuse(accept(driver))
        driver.wait(process)
        assert process.stdout == b""
        assert driver.status()[2] == 0


def test_more_connections_than_places_wait_their_turn(driver: Driver) -> None:
    script = """
import os, socket
connections = []
for _ in range(300):
    connection = socket.socket(socket.AF_UNIX)
    connection.setblocking(False)
    try: connection.connect('/run/cove/api.sock')
    except BlockingIOError: break
    connections.append(connection)
print(len(connections), flush=True)
input()
"""
    process = driver.start(["python3", "-S", "-c", script])
    while not process.stdout:
        driver.step(process)
    wanted = int(process.stdout)
    streams = [accept(driver) for _ in range(min(wanted, 256))]
    if wanted > 256:
        assert driver.silent(0.1)
    while streams:
        driver.close(streams.pop())
        wanted -= 1
        if wanted > len(streams):
            streams.append(accept(driver))
    assert wanted == 0 and driver.status()[2] == 0
    driver.signal(process, 9)
    driver.wait(process)


def pipe_bytes(pipe: int) -> int:
    count = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, count)
    return count[0]


class Watch:
    """A watch and what it has told."""

    def __init__(self, driver: Driver, path: str, *, recursive: bool) -> None:
        self._driver = driver
        self._stream = driver.open(WATCH, text(path) + bytes([recursive]))
        driver.reply(self._stream).end()

    def until(self, type_: int, *paths: str) -> None:
        """Take events in until this one comes."""
        wanted = (type_, [path.encode() for path in paths])
        seen: list[tuple[int, list[bytes]]] = []
        while not seen or seen[-1] != wanted:
            try:
                frame = self._driver.receive(self._stream, 5)
            except TimeoutError as error:
                raise AssertionError(f"{wanted} did not come, but {seen}") from error
            assert (frame.kind, frame.channel) == (EVENT, 1)
            fields = Fields(frame.payload)
            kind, count = fields.take("BI")
            seen.append((kind, [fields.text() for _ in range(count)]))
            fields.end()

    def close(self) -> None:
        self._driver.close(self._stream)


def test_a_watch_tells_of_everything_below(driver: Driver, scratch: str) -> None:
    driver.make_directory(f"{scratch}/old/deep", parents=True)
    watch = Watch(driver, scratch, recursive=True)
    driver.shell(f"echo x > {scratch}/old/deep/file")
    watch.until(2, f"{scratch}/old/deep/file")
    watch.until(3, f"{scratch}/old/deep/file")
    driver.shell(f"cat {scratch}/old/deep/file")
    watch.until(1, f"{scratch}/old/deep/file")
    driver.shell(f"chmod 600 {scratch}/old/deep/file")
    watch.until(3, f"{scratch}/old/deep/file")
    driver.shell(f"mv {scratch}/old/deep/file {scratch}/moved")
    watch.until(3, f"{scratch}/old/deep/file", f"{scratch}/moved")
    driver.shell(f"rm {scratch}/moved")
    watch.until(4, f"{scratch}/moved")
    driver.shell(f"mkdir -p {scratch}/new/a/b; touch {scratch}/new/a/b/file")
    watch.until(2, f"{scratch}/new/a/b/file")
    driver.shell(f"mv {scratch}/new {scratch}/newer; touch {scratch}/newer/a/b/again")
    watch.until(2, f"{scratch}/newer/a/b/again")
    watch.close()
    assert driver.status()[2] == 0


def test_a_plain_watch_stays_at_its_level(driver: Driver, scratch: str) -> None:
    driver.make_directory(f"{scratch}/sub")
    watch = Watch(driver, f"{scratch}/", recursive=False)
    driver.shell(f"touch {scratch}/sub/file {scratch}/mark")
    watch.until(2, f"{scratch}/mark")
    watch.close()
    driver.write_file(f"{scratch}/single", b"")
    watch = Watch(driver, f"{scratch}/single", recursive=True)
    driver.shell(f"echo x >> {scratch}/single")
    watch.until(3, f"{scratch}/single")
    driver.shell(f"rm {scratch}/single")
    watch.until(4, f"{scratch}/single")
    watch.close()


def test_watching_nothing(driver: Driver, scratch: str) -> None:
    stream = driver.open(WATCH, text(f"{scratch}/none") + b"\0")
    with pytest.raises(GuestFailure) as raised:
        driver.reply(stream)
    assert raised.value.errno == errno.ENOENT


def test_events_nobody_reads_are_lost_and_it_is_said(driver: Driver, scratch: str) -> None:
    """While the pipe to the host is full they are dropped, not kept; what happens later is told again."""
    ticker = driver.start(["sh", "-c", f"while :; do echo >> {scratch}/tick; sleep 0.01; done"])
    watch = driver.open(WATCH, text(scratch) + b"\1")
    driver.reply(watch)
    zeros = driver.open(FILE_READ, text("/dev/zero") + struct.pack("<QQ", 0, 2**64 - 1))
    driver.send(ACK, zeros, 1, 0, struct.pack("<Q", 1 << 40))
    before = -1
    while (waiting := pipe_bytes(driver.from_guest)) != before:
        before = waiting
        time.sleep(0.5)
    driver.close(zeros)
    while (frame := driver.receive(watch)).channel != 2:
        assert (frame.kind, frame.channel) == (EVENT, 1)
    assert frame.kind == EVENT
    assert driver.receive(watch).channel == 1
    driver.close(watch)
    driver.signal(ticker, 9)
    driver.wait(ticker)
