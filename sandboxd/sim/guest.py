"""A simulated guest: the other end of the guest protocol, over the same FIFOs as the real one. Processes, files in memory, and ports."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Mapping

from sandboxd.channel.fields import Reader, Writer
from sandboxd.channel.frames import MARKER_BYTES, MAX_PAYLOAD, PREAMBLE, Frame, FrameType, Kind, encode, split
from sandboxd.channel.link import Fifos, Link
from sandboxd.channel.messages import PROTOCOL_VERSION, Op
from sandboxd.sim.dial import SimDial
from sandboxd.sim.files import SimFiles
from sandboxd.sim.process import SimProcess
from sandboxd.sim.programs import PROGRAMS


class SimGuest:
    """Serves one simulated sandbox.

    Args:
        stdin, stdout: the container's, as runsc would get them.
        ports: as the machine has them.
    """

    def __init__(self, stdin: int, stdout: int, ports: Mapping[int, int]) -> None:
        self._ports = ports
        # The guest reads what the host writes: the ends are swapped.
        self._fifos = Fifos.of(to_guest=os.dup(stdout), from_guest=os.dup(stdin))
        self._marker: bytes | None = None
        self._buffer = b""
        self._processes: dict[int, SimProcess] = {}
        self._dials: dict[int, SimDial] = {}
        self._files = SimFiles()
        self._next_pid = 2
        self._link = Link(self._fifos, self._receive, self._failed)

    async def stop(self) -> None:
        """Die at once, as a killed sentry does."""
        self._link.close()
        self._fifos.close()
        for dial in list(self._dials.values()):
            await dial.stop()
        for process in self._processes.values():
            await process.stop()

    def pause(self) -> None:
        """Freeze: nothing is read any more."""
        self._link.close()

    def resume(self) -> None:
        """Thaw: what waits in the FIFO is read now."""
        self._link = Link(self._fifos, self._receive, self._failed)

    def move(self, stdin: int, stdout: int) -> None:
        """Go on in another container, which has these pipes; what waited in the old ones is lost."""
        self._fifos.close()
        self._fifos = Fifos.of(to_guest=os.dup(stdout), from_guest=os.dup(stdin))
        self._buffer = b""
        self.resume()

    def _failed(self, error: Exception) -> None:
        raise error

    def _receive(self, data: bytes) -> None:
        self._buffer += data
        if self._marker is None and not self._greet():
            return
        assert self._marker is not None
        while (at := self._buffer.find(self._marker)) >= 0:
            self._take_frames(self._buffer[:at])
            self._buffer = self._buffer[at + MARKER_BYTES :]
        taken = self._take_frames(self._buffer)
        self._buffer = self._buffer[taken:]

    def _greet(self) -> bool:
        head = len(PREAMBLE) + MARKER_BYTES
        if len(self._buffer) < head:
            return False
        self._marker = self._buffer[len(PREAMBLE) : head]
        self._buffer = self._buffer[head:]
        return True

    def _take_frames(self, data: bytes) -> int:
        frames, taken = split(data)
        for frame in frames:
            self._on_frame(frame)
        return taken

    def _on_frame(self, frame: Frame) -> None:
        process = self._processes.get(frame.stream)
        if dial := self._dials.get(frame.stream):
            dial.on_frame(frame)
            return
        match frame.type:
            case FrameType.RESET:
                self._reset(bytes(frame.payload))
            case FrameType.PING:
                clocks = Writer().u64(time.monotonic_ns()).u64(time.time_ns()).done()
                self._link.write(encode(FrameType.PONG, 0, offset=frame.offset, payload=clocks))
            case FrameType.OPEN if frame.channel == Kind.PROCESS:
                self._spawn(frame.stream, Reader(frame.payload))
            case FrameType.OPEN if frame.channel == Kind.CALL:
                self._call(frame.stream, Reader(frame.payload))
            case FrameType.OPEN if frame.channel == Kind.DIAL:
                self._dial(frame.stream, Reader(frame.payload).u16())
            case FrameType.OPEN:
                self._refuse(frame.stream, errno.ENOSYS, "not simulated")
            case FrameType.DATA if process:
                process.on_input(frame.offset, bytes(frame.payload))
            case FrameType.EOF if process:
                process.on_input_end()
            case FrameType.ACK if process:
                process.on_ack(frame.channel, frame.offset, Reader(frame.payload).u64())
            case FrameType.CONTROL if process and frame.channel == 1:
                process.signal(frame.payload[0])
            case FrameType.CLOSE if process and process.exit:
                del self._processes[frame.stream]

    def _reset(self, host_marker: bytes) -> None:
        for dial in list(self._dials.values()):
            dial.cut()
        hello = Writer().u32(PROTOCOL_VERSION).u32(MAX_PAYLOAD).u32(len(self._processes)).done()
        states = [encode(FrameType.STATE, 0, payload=process.state()) for process in self._processes.values()]
        self._link.replace_unwritten(host_marker + encode(FrameType.HELLO, 0, payload=hello) + b"".join(states))

    def _spawn(self, stream: int, reader: Reader) -> None:
        exec_id, argv = reader.text(), reader.list_(Reader.text)
        env = dict(reader.list_(lambda item: (item.text(), item.text())))
        reader.text(), reader.text(), reader.u8(), reader.u16(), reader.u16()
        timeout_ms = reader.u64()
        program = PROGRAMS.get(argv[0].rpartition("/")[2])
        if program is None:
            self._refuse(stream, errno.ENOENT, f"exec: {argv[0]}: No such file or directory")
            return
        process = SimProcess(stream, exec_id, self._next_pid, self._write)
        self._next_pid += 1
        self._processes[stream] = process
        self._link.write(encode(FrameType.REPLY, stream, payload=Writer().u32(0).u32(process.pid).done()))
        process.start(program, argv[1:], env, timeout_ms)

    def _call(self, stream: int, reader: Reader) -> None:
        try:
            op = Op(reader.u8())
            events, fields = self._files.call(op, reader)
            for payload in events:
                self._link.write(encode(FrameType.EVENT, stream, 1, payload=payload))
        except OSError as error:
            self._refuse(stream, error.errno or errno.EIO, os.strerror(error.errno or errno.EIO))
        else:
            self._link.write(encode(FrameType.REPLY, stream, payload=Writer().u32(0).done() + fields))

    def _dial(self, stream: int, port: int) -> None:
        self._dials[stream] = SimDial(stream, self._write, lambda over: self._dials.pop(over, None))
        self._dials[stream].start(self._ports.get(port, port))

    def _write(self, data: bytes) -> None:
        self._link.write(data)

    def _refuse(self, stream: int, number: int, message: str) -> None:
        self._link.write(encode(FrameType.REPLY, stream, payload=Writer().u32(number).text(message).done()))
