"""A plain, synchronous host side of docs/guest-protocol.md: what it says, byte by byte, and nothing clever.

It is written from the page alone and shares no code with the daemon's channel, so that a misunderstanding in one shows against the other.
"""

from __future__ import annotations

import errno
import os
import secrets
import select
import struct
import time
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence

from tests.support.guest_wire import (
    ACK,
    CALL,
    CLOSE,
    CONTROL,
    DATA,
    EOF,
    EVENT,
    FILE_READ,
    FILE_WRITE,
    HEADER,
    HELLO,
    INITIAL_WINDOW,
    MAX_PAYLOAD,
    OPEN,
    PATH,
    PING,
    PONG,
    PREAMBLE,
    PROCESS,
    REPLY,
    RESET,
    STATE,
    TAR_CREATE,
    TAR_EXTRACT,
    WINDOW,
    Exec,
    Exit,
    Fields,
    Frame,
    GuestFailure,
    Stat,
    State,
    failure,
    list_,
    map_,
    text,
)


class Driver:
    """The host's end of one guest.

    Args: to_guest, from_guest: descriptors of the two FIFOs, opened read-write and non-blocking.
    """

    def __init__(self, to_guest: int, from_guest: int) -> None:
        self.to_guest = to_guest
        self.from_guest = from_guest
        self.marker = secrets.token_bytes(32)
        self._received = bytearray()
        self._frames: dict[int, deque[Frame]] = defaultdict(deque)
        self._next_stream = 2

    # --- bytes ----------------------------------------------------------------------------------------------------------------------

    def write(self, data: bytes, timeout_s: float = 15) -> None:
        """Write raw bytes; what comes meanwhile is kept, so that two full FIFOs cannot wait for each other."""
        view = memoryview(data)
        deadline = time.monotonic() + timeout_s
        while view:
            readable, writable, _ = select.select([self.from_guest], [self.to_guest], [], deadline - time.monotonic())
            assert readable or writable, "the guest takes no bytes"
            if readable:
                self._received += os.read(self.from_guest, 1 << 20)
            if writable:
                try:
                    view = view[os.write(self.to_guest, view) :]
                except BlockingIOError:
                    # A small write needs a whole free page.
                    select.select([self.from_guest], [], [], 0.001)

    def _fill(self, deadline: float) -> None:
        readable, _, _ = select.select([self.from_guest], [], [], max(0, deadline - time.monotonic()))
        if not readable:
            raise TimeoutError("nothing came from the guest")
        self._received += os.read(self.from_guest, 1 << 20)

    def send(self, kind: int, stream: int, channel: int = 0, offset: int = 0, payload: bytes = b"") -> None:
        self.write(HEADER.pack(len(payload), stream, kind, channel, 0, offset) + payload)

    def _next_frame(self, deadline: float) -> Frame:
        while True:
            if len(self._received) >= HEADER.size:
                length, stream, kind, channel, reserved, offset = HEADER.unpack_from(self._received)
                assert length <= MAX_PAYLOAD and reserved == 0, "the guest's bytes are no frame"
                if len(self._received) >= HEADER.size + length:
                    payload = bytes(self._received[HEADER.size : HEADER.size + length])
                    del self._received[: HEADER.size + length]
                    return Frame(kind, stream, channel, offset, payload)
            self._fill(deadline)

    def receive(self, stream: int, timeout_s: float = 15) -> Frame:
        """The next frame of one stream; others wait for their turn."""
        deadline = time.monotonic() + timeout_s
        while not self._frames[stream]:
            frame = self._next_frame(deadline)
            self._frames[frame.stream].append(frame)
        return self._frames[stream].popleft()

    def receive_any(self, timeout_s: float = 15) -> Frame:
        """The next frame, of whatever stream."""
        for waiting in self._frames.values():
            if waiting:
                return waiting.popleft()
        return self._next_frame(time.monotonic() + timeout_s)

    def opened(self, timeout_s: float = 15) -> int:
        """The next stream that the guest opens; its OPEN is still to be received."""
        deadline = time.monotonic() + timeout_s
        while True:
            for stream, frames in self._frames.items():
                if frames and frames[0].kind == OPEN:
                    return stream
            frame = self._next_frame(deadline)
            self._frames[frame.stream].append(frame)

    def silent(self, for_s: float) -> bool:
        """Whether nothing at all came in the given time."""
        try:
            frame = self.receive_any(for_s)
        except TimeoutError:
            return True
        self._frames[frame.stream].appendleft(frame)
        return False

    # --- session --------------------------------------------------------------------------------------------------------------------

    def greet(self) -> list[State]:
        return self._begin(PREAMBLE + self.marker)

    def reset(self) -> list[State]:
        return self._begin(self.marker)

    def _begin(self, prefix: bytes, timeout_s: float = 15) -> list[State]:
        host_marker = secrets.token_bytes(32)
        self._frames.clear()
        self.write(prefix + HEADER.pack(32, 0, RESET, 0, 0, 0) + host_marker)
        deadline = time.monotonic() + timeout_s
        while (at := self._received.find(host_marker)) < 0:
            self._fill(deadline)
        del self._received[: at + 32]
        hello = self._next_frame(deadline)
        assert (hello.kind, hello.stream) == (HELLO, 0)
        version, most, count = struct.unpack("<III", hello.payload)
        assert (version, most) == (1, MAX_PAYLOAD)
        states = [self._next_frame(deadline) for _ in range(count)]
        assert all((frame.kind, frame.stream) == (STATE, 0) for frame in states)
        found = [State.read(frame.payload) for frame in states]
        self._next_stream = max([0, *(state.stream for state in found)]) + 2
        return found

    def ping(self) -> tuple[int, int]:
        """The guest's two clocks, in ns."""
        token = secrets.randbits(64)
        self.send(PING, 0, offset=token)
        frame = self.receive(0)
        assert (frame.kind, frame.offset) == (PONG, token)
        monotonic_ns, realtime_ns = struct.unpack("<QQ", frame.payload)
        return monotonic_ns, realtime_ns

    def open(self, kind: int, payload: bytes) -> int:
        stream = self._next_stream
        self._next_stream += 2
        self.send(OPEN, stream, kind, payload=payload)
        return stream

    def reply(self, stream: int, timeout_s: float = 15) -> Fields:
        """The stream's REPLY. Raises: GuestFailure."""
        frame = self.receive(stream, timeout_s)
        assert frame.kind == REPLY, frame
        fields = Fields(frame.payload)
        (number,) = fields.take("I")
        if number:
            raise failure(fields, number)
        return fields

    def close(self, stream: int) -> None:
        self.send(CLOSE, stream)

    # --- processes ------------------------------------------------------------------------------------------------------------------

    def start(
        self,
        argv: Sequence[str | bytes],
        *,
        exec_id: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str = "/",
        user: str = "",
        pty: tuple[int, int] | None = None,
        null_stdin: bool = False,
        timeout_ms: int = 0,
        max_tasks: int = 0,
    ) -> Exec:
        """Start a process; ``env`` is the whole environment but for a PATH."""
        rows, columns = pty or (0, 0)
        payload = text(exec_id or secrets.token_hex(8)) + list_(argv) + map_({"PATH": PATH, **(env or {})}) + text(cwd) + text(user)
        payload += struct.pack("<BHHQI", bool(pty) | null_stdin << 1, rows, columns, timeout_ms, max_tasks)
        stream = self.open(PROCESS, payload)
        fields = self.reply(stream)
        (pid,) = fields.take("I")
        fields.end()
        return Exec(stream, pid, ended={2} if pty else set())

    def step(self, process: Exec, timeout_s: float = 15) -> Frame:
        """Take one frame of a process in, acknowledging what it brings."""
        frame = self.receive(process.stream, timeout_s)
        if frame.kind == DATA:
            output = process.output[frame.channel]
            assert frame.offset == len(output) and frame.channel not in process.ended
            output += frame.payload
            self.acknowledge(process.stream, frame.channel, len(output))
        elif frame.kind == EOF:
            assert frame.offset == len(process.output[frame.channel])
            process.ended.add(frame.channel)
        elif frame.kind == EVENT:
            assert frame.channel == 1 and process.ended == {1, 2}, "EXIT comes last"
            fields = Fields(frame.payload)
            process.exit = Exit.read(fields)
            fields.end()
        return frame

    def acknowledge(self, stream: int, channel: int, offset: int, window: int = WINDOW) -> None:
        self.send(ACK, stream, channel, offset, struct.pack("<Q", offset + window))

    def wait(self, process: Exec, timeout_s: float = 15) -> Exit:
        """Everything up to EXIT, then forget the process."""
        deadline = time.monotonic() + timeout_s
        while process.exit is None:
            self.step(process, deadline - time.monotonic())
        self.close(process.stream)
        return process.exit

    def run(self, argv: Sequence[str | bytes], timeout_s: float = 15, **options: object) -> Exec:
        process = self.start(argv, **options)  # type: ignore[arg-type]  # passed through
        self.wait(process, timeout_s)
        return process

    def shell(self, script: str, **options: object) -> str:
        """What a script printed; it must succeed."""
        process = self.run(["sh", "-c", script], **options)  # type: ignore[arg-type]  # passed through
        assert process.exit is not None and process.exit.succeeded, (process.exit, process.stderr)
        return process.stdout.decode()

    def write_stdin(self, process: Exec, data: bytes, offset: int = 0, *, eof: bool = True) -> None:
        """Send stdin as the guest's window allows, taking the process's frames in meanwhile."""
        limit, position, view = INITIAL_WINDOW, 0, memoryview(data)
        while position < len(data):
            if offset + position >= limit:
                frame = self.step(process)
                if frame.kind == ACK:
                    assert frame.channel == 0 and frame.offset <= offset + position
                    (limit,) = struct.unpack("<Q", frame.payload)
                continue
            count = min(65_536, limit - offset - position, len(data) - position)
            self.send(DATA, process.stream, 0, offset + position, bytes(view[position : position + count]))
            position += count
        if eof:
            self.send(EOF, process.stream, 0, offset + len(data))

    def signal(self, process: Exec, number: int, *, tree: bool = False) -> None:
        self.send(CONTROL, process.stream, 1, payload=bytes([number, tree]))

    # --- calls ----------------------------------------------------------------------------------------------------------------------

    def call(self, operation: int, arguments: bytes) -> Fields:
        """One CALL. Raises: GuestFailure."""
        return self.reply(self.open(CALL, bytes([operation]) + arguments))

    def stat(self, path: str | bytes, *, follow: bool = False) -> tuple[Stat, bytes]:
        fields = self.call(1, text(path) + bytes([follow]))
        found = Stat.read(fields), fields.text()
        fields.end()
        return found

    def exists(self, path: str | bytes) -> bool:
        try:
            self.stat(path)
        except GuestFailure as error:
            if error.errno != errno.ENOENT:
                raise
            return False
        return True

    def list_directory(self, path: str | bytes) -> list[tuple[bytes, Stat]]:
        stream = self.open(CALL, b"\x02" + text(path))
        entries: list[tuple[bytes, Stat]] = []
        while (frame := self.receive(stream)).kind == EVENT:
            assert frame.channel == 1 and len(frame.payload) <= 65_536
            fields = Fields(frame.payload)
            entries += [(fields.text(), Stat.read(fields)) for _ in range(fields.take("I")[0])]
            fields.end()
        fields = Fields(frame.payload)
        (number,) = fields.take("I")
        if number:
            raise failure(fields, number)
        assert fields.take("Q") == (len(entries),)
        return entries

    def remove(self, path: str | bytes, *, recursive: bool = False) -> None:
        self.call(4, text(path) + bytes([recursive])).end()

    def make_directory(self, path: str | bytes, mode: int = 0o755, *, parents: bool = False) -> None:
        self.call(3, text(path) + struct.pack("<IB", mode, parents)).end()

    def status(self) -> tuple[int, ...]:
        """Processes, trees, other streams, handles."""
        return self.call(14, b"").take("IIII")

    # --- transfers ------------------------------------------------------------------------------------------------------------------

    def send_bytes(self, stream: int, data: bytes) -> int:
        """DATA and EOF of a writing transfer. Returns: what the guest counted. Raises: GuestFailure."""
        limit, position, view = INITIAL_WINDOW, 0, memoryview(data)
        while position < len(data):
            while self._frames[stream] or position >= limit:
                frame = self.receive(stream)
                if frame.kind != ACK:
                    return self._result(frame)
                (limit,) = struct.unpack("<Q", frame.payload)
            count = min(MAX_PAYLOAD, limit - position, len(data) - position)
            self.send(DATA, stream, 0, position, bytes(view[position : position + count]))
            position += count
        self.send(EOF, stream, 0, len(data))
        while (frame := self.receive(stream)).kind == ACK:
            pass
        return self._result(frame)

    def _result(self, frame: Frame) -> int:
        assert frame.kind == EVENT, frame
        fields = Fields(frame.payload)
        assert self.receive(frame.stream).kind == CLOSE
        if frame.channel == 1:
            raise failure(fields, fields.take("I")[0])
        (count,) = fields.take("Q")
        fields.end()
        return count

    def receive_bytes(self, stream: int, window: int = WINDOW) -> bytes:
        """DATA up to EOF and CLOSE of a reading transfer. Raises: GuestFailure."""
        data = bytearray()
        ended = False
        while (frame := self.receive(stream)).kind != CLOSE:
            if frame.kind == EVENT:
                fields = Fields(frame.payload)
                raise failure(fields, fields.take("I")[0])
            assert frame.offset == len(data) and frame.channel == 1 and not ended
            data += frame.payload
            ended = frame.kind == EOF
            if not ended:
                self.acknowledge(stream, 1, len(data), window)
        assert ended
        return bytes(data)

    def write_file(self, path: str | bytes, data: bytes, mode: int = 0o644, *, parents: bool = False, append: bool = False) -> int:
        stream = self.open(FILE_WRITE, text(path) + struct.pack("<IB", mode, parents | append << 1))
        self.reply(stream).end()
        return self.send_bytes(stream, data)

    def read_file(self, path: str | bytes, offset: int = 0, length: int = 2**64 - 1) -> bytes:
        stream = self.open(FILE_READ, text(path) + struct.pack("<QQ", offset, length))
        fields = self.reply(stream)
        Stat.read(fields)
        fields.end()
        return self.receive_bytes(stream)

    def extract(self, path: str, archive: bytes) -> int:
        stream = self.open(TAR_EXTRACT, text(path))
        self.reply(stream).end()
        return self.send_bytes(stream, archive)

    def archive(self, path: str, *, own_name: bool = False) -> bytes:
        stream = self.open(TAR_CREATE, text(path) + bytes([own_name]))
        Stat.read(self.reply(stream))
        return self.receive_bytes(stream)
