"""One simulated process: a program, its input, and output kept until the host has acknowledged it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

from sandboxd.channel.fields import Writer
from sandboxd.channel.frames import INITIAL_WINDOW, MAX_PAYLOAD, FrameType, encode
from sandboxd.channel.messages import ProcessExit
from sandboxd.sim.programs import Program


class Output:
    """One output channel: what the host has not acknowledged stays here."""

    def __init__(self) -> None:
        self.kept = bytearray()
        self.start = 0
        self.sent = 0
        self.limit = INITIAL_WINDOW
        self.held = False
        """After a reset nothing is sent before the host's ACK."""

    @property
    def total(self) -> int:
        return self.start + len(self.kept)

    def acknowledge(self, offset: int, limit: int) -> None:
        if self.held:
            self.sent, self.held = max(offset, self.start), False
        drop = min(max(0, offset - self.start), len(self.kept))
        del self.kept[:drop]
        self.start += drop
        self.limit = limit

    def next_piece(self) -> tuple[int, bytes] | None:
        end = min(self.total, self.limit, self.sent + MAX_PAYLOAD)
        if self.held or end <= self.sent:
            return None
        offset, data = self.sent, bytes(self.kept[self.sent - self.start : end - self.start])
        self.sent = end
        return offset, data


class SimProcess:
    """Runs one program and talks about it on one stream."""

    def __init__(self, stream: int, exec_id: str, pid: int, send: Callable[[bytes], None]) -> None:
        self.stream, self.exec_id, self.pid = stream, exec_id, pid
        self.outputs = {1: Output(), 2: Output()}
        self.stdin = bytearray()
        self.stdin_taken = 0
        self.stdin_closed = False
        self.exit: ProcessExit | None = None
        self._send = send
        self._changed = asyncio.Event()
        self._told_end = False
        self._task: asyncio.Task[None] | None = None

    def start(self, program: Program, arguments: list[str], env: Mapping[str, str], timeout_ms: int) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(program, arguments, env, timeout_ms))

    async def _run(self, program: Program, arguments: list[str], env: Mapping[str, str], timeout_ms: int) -> None:
        began = time.monotonic()

        def ran_ms() -> int:
            return round((time.monotonic() - began) * 1000)

        try:
            async with asyncio.timeout(timeout_ms / 1000 if timeout_ms else None):
                code = await program(arguments, env, self)
            self.exit = ProcessExit(signalled=False, code=code, timed_out=False, ran_ms=ran_ms())
        except TimeoutError:
            self.exit = ProcessExit(signalled=True, code=9, timed_out=True, ran_ms=ran_ms())
        except asyncio.CancelledError as cancelled:
            signo = cancelled.args[0] if cancelled.args else 9
            self.exit = ProcessExit(signalled=True, code=int(signo), timed_out=False, ran_ms=ran_ms())
        self.flush()

    def signal(self, signo: int) -> None:
        if self._task is not None and signo:
            self._task.cancel(str(signo))

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel("9")
            await asyncio.wait([self._task])

    # --- Streams for the program -------------------------------------------------------------------------------------------------------

    async def read(self) -> bytes:
        while not self.stdin and not self.stdin_closed:
            await self._wait()
        data = bytes(self.stdin)
        self.stdin.clear()
        if data:
            self.stdin_taken += len(data)
            limit = Writer().u64(self.stdin_taken + INITIAL_WINDOW).done()
            self._send(encode(FrameType.ACK, self.stream, 0, self.stdin_taken, limit))
        return data

    async def write(self, data: bytes, channel: int = 1) -> None:
        output = self.outputs[channel]
        while data:
            room = output.limit - output.total
            if room <= 0:
                await self._wait()
                continue
            output.kept += data[:room]
            data = data[room:]
            self.flush()

    # --- the host's side ---------------------------------------------------------------------------------------------------------------

    def on_input(self, offset: int, data: bytes) -> None:
        known = self.stdin_taken + len(self.stdin)
        self.stdin += data[known - offset :]
        self._wake()

    def on_input_end(self) -> None:
        self.stdin_closed = True
        self._wake()

    def on_ack(self, channel: int, offset: int, limit: int) -> None:
        self.outputs[channel].acknowledge(offset, limit)
        self.flush()
        self._wake()

    def flush(self) -> None:
        """Send what may be sent; after the end EOFs and EXIT, once per session."""
        for channel, output in self.outputs.items():
            while (piece := output.next_piece()) is not None:
                self._send(encode(FrameType.DATA, self.stream, channel, piece[0], piece[1]))
        done = all(not output.held and output.sent == output.total for output in self.outputs.values())
        if self.exit is not None and done and not self._told_end:
            self._told_end = True
            for channel, output in self.outputs.items():
                self._send(encode(FrameType.EOF, self.stream, channel, output.total))
            self._send(encode(FrameType.EVENT, self.stream, 1, payload=self._exit_fields(Writer()).done()))

    def state(self) -> bytes:
        """The STATE payload after a reset; from here on nothing is sent before ACKs."""
        self._told_end = False
        for output in self.outputs.values():
            output.held = True
        flags = (2 if self.exit else 0) | (4 if self.stdin_closed else 0)
        writer = Writer().u32(self.stream).text(self.exec_id).u32(self.pid).u8(flags).u64(self.stdin_taken + len(self.stdin))
        writer.u64(self.outputs[1].start).u64(self.outputs[2].start)
        return (self._exit_fields(writer) if self.exit else writer).done()

    def _exit_fields(self, writer: Writer) -> Writer:
        assert self.exit is not None
        return writer.u8(self.exit.signalled).i32(self.exit.code).u8(self.exit.timed_out).u64(self.exit.ran_ms)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _wait(self) -> None:
        await self._changed.wait()
