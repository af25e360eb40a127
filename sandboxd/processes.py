"""The processes of one sandbox as the daemon knows them: started, followed, spooled, remembered."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Final

import msgspec
import structlog

from cove.exception import AlreadyExistsError, ConflictError, InternalFailure, InvalidError, NotFoundError, ResourceExhaustedError
from cove.types import EXIT_TERMINATED, EXIT_TIMEOUT, MAIN_EXEC_ID
from sandboxd.channel.client import CHUNK_BYTES, Guest
from sandboxd.channel.messages import ProcessExit, ProcessRequest, ProcessSeen, Scope
from sandboxd.channel.streams import GuestError, StreamCut
from sandboxd.journal import ExecEnded, ExecStarted, SandboxDirectory
from sandboxd.spool import Spool

log = structlog.get_logger()

MAX_RUNNING: Final = 4096
MAX_ENDED: Final = 1000
"""Ended processes whose output is kept per sandbox; the oldest are forgotten first."""


class ProcessState(StrEnum):
    STARTING = "starting"
    RUNNING = "running"
    EXITED = "exited"
    SIGNALED = "signaled"
    TIMED_OUT = "timed_out"
    LOST = "lost"
    """The sandbox ended under it."""


LIVE: Final = frozenset({ProcessState.STARTING, ProcessState.RUNNING})


class SpoolSizes(msgspec.Struct, frozen=True):
    head_bytes: int
    tail_bytes: int


class Process:
    """One process. Also the guest's sink for it: output goes to the spools as it comes."""

    def __init__(self, started: ExecStarted, directory: SandboxDirectory, sizes: SpoolSizes, ended: Callable[[Process], None]) -> None:
        self.started = started
        self.state = ProcessState.STARTING
        self.exit_code = 0
        self.signal = 0
        self.pid = 0
        self.ended_at = 0.0
        self.stdin_offset = 0
        self.stdin_closed = False
        self.stream = 0
        self._guest: Guest | None = None
        self._ended_callback = ended
        self._changed = asyncio.Event()
        self._input_lock = asyncio.Lock()
        path = directory.output / started.exec_id
        self.stdout, self.stderr = (
            Spool(path.with_name(f"{path.name}.{name}"), head_bytes=sizes.head_bytes, tail_bytes=sizes.tail_bytes)
            for name in ("stdout", "stderr")
        )

    @property
    def exec_id(self) -> str:
        return self.started.exec_id

    @property
    def live(self) -> bool:
        return self.state in LIVE

    def spool(self, fd: int) -> Spool:
        """Raises: InvalidError: neither 1 nor 2."""
        if fd not in (1, 2):
            raise InvalidError(f"A process has no output {fd}.", remedy="Use 1 for stdout, 2 for stderr.")
        return self.stdout if fd == 1 else self.stderr

    async def wait_started(self) -> None:
        while self.state is ProcessState.STARTING:
            await self._wait()

    async def wait_ended(self) -> None:
        while self.live:
            await self._wait()

    async def write(self, offset: int, data: bytes, *, eof: bool) -> int:
        """Take input at ``offset``; bytes taken before are skipped. While the sandbox is paused it waits.

        Returns: the next offset, once the bytes outlive this daemon.
        Raises:  ConflictError(stdin_closed): after EOF or exit. InvalidError(out_of_range): a gap.
        """
        async with self._input_lock:
            if offset > self.stdin_offset:
                raise InvalidError(
                    f"Input at {offset} leaves a gap.",
                    code="out_of_range",
                    remedy=f"Write at {self.stdin_offset}.",
                    context={"expected_offset": str(self.stdin_offset)},
                )
            view = memoryview(data)[self.stdin_offset - offset :]
            if not len(view) and (self.stdin_closed or not self.live):
                return self.stdin_offset
            self._check_input()
            guest = await self._send(view)
            if eof and not self.stdin_closed:
                self.stdin_closed = True
                guest.end_input(self.stream)
            await guest.flushed()
            return self.stdin_offset

    async def _send(self, view: memoryview) -> Guest:
        """Returns: the guest that took the last of it; there may be another one after each wait."""
        while (guest := self._guest) is None or len(view):
            room = min(guest.input_room(self.stream), CHUNK_BYTES, len(view)) if guest else 0
            if guest and room:
                guest.send_input(self.stream, view[:room])
                self.stdin_offset += room
                view = view[room:]
            else:
                await self._wait()
                self._check_input()
        return guest

    def _check_input(self) -> None:
        if not self.live:
            raise ConflictError("The process has ended.", code="stdin_closed", remedy="Start another one.")
        if self.stdin_closed:
            raise ConflictError("The process's input was closed by EOF.", code="stdin_closed", remedy="Write before write_eof().")

    # --- what the guest tells ----------------------------------------------------------------------------------------------------------

    def on_started(self, guest: Guest, stream: int, pid: int) -> None:
        self._guest, self.stream, self.pid = guest, stream, pid
        if self.state is ProcessState.STARTING:
            self.state = ProcessState.RUNNING
        self._wake()

    def attach(self, guest: Guest | None) -> None:
        """Take input by ``guest`` from now on; None: by nobody."""
        self._guest = guest
        self._wake()

    def on_output(self, channel: int, offset: int, data: bytes | memoryview) -> None:
        self.spool(channel).append(offset, data)

    def on_output_end(self, channel: int, offset: int) -> None:
        self.spool(channel).end()

    def on_input_taken(self, offset: int) -> None:
        self._wake()

    def on_exit(self, exit_: ProcessExit) -> None:
        if exit_.timed_out:
            self._end(ProcessState.TIMED_OUT, EXIT_TIMEOUT)
        elif exit_.signalled:
            self._end(ProcessState.SIGNALED, 128 + exit_.code, exit_.code)
        else:
            self._end(ProcessState.EXITED, exit_.code)

    def lose(self) -> None:
        """The sandbox ended under it."""
        if self.live:
            self._end(ProcessState.LOST, EXIT_TERMINATED)

    def restore(self, ended: ExecEnded) -> None:
        """Take the end from the journal, as another daemon saw it."""
        self.state = ProcessState(ended.state)
        self.exit_code, self.signal, self.ended_at = ended.exit_code, ended.signal, ended.ended_at
        self.close()

    def close(self) -> None:
        for spool in (self.stdout, self.stderr):
            spool.end()
            spool.close()

    def _end(self, state: ProcessState, exit_code: int, signal: int = 0) -> None:
        self.state, self.exit_code, self.signal, self.ended_at = state, exit_code, signal, time.time()
        self.close()
        self._wake()
        self._ended_callback(self)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _wait(self) -> None:
        await self._changed.wait()


class ProcessTable:
    """All processes of one sandbox.

    Args:
        main_ended: called when the main process ends by itself.
        activity: called when the number of running processes changes.
    """

    def __init__(
        self, directory: SandboxDirectory, sizes: SpoolSizes, *, main_ended: Callable[[Process], None], activity: Callable[[], None]
    ) -> None:
        self._directory = directory
        self._sizes = sizes
        self._main_ended = main_ended
        self._activity = activity
        self._processes: dict[str, Process] = {}
        self._guest: Guest | None = None
        self.running = 0
        """Running processes other than the main one: what counts as activity."""

    def __iter__(self) -> Iterator[Process]:
        return iter(list(self._processes.values()))

    def get(self, exec_id: str) -> Process:
        """Raises: NotFoundError."""
        try:
            return self._processes[exec_id]
        except KeyError:
            raise NotFoundError(
                f"The sandbox has no process {exec_id[:64]!r}.", remedy="`sb.processes()` lists them; records of old ones are dropped."
            ) from None

    async def start(self, guest: Guest, request: ProcessRequest, request_hash: str) -> Process:
        """Start a process, or give the one that the same request started before.

        Raises: InvalidError(exec_failed): missing binary, directory or user. AlreadyExistsError: the id with another request.
        """
        if (known := self._processes.get(request.exec_id)) is not None:
            if known.started.request_hash != request_hash:
                raise AlreadyExistsError(f"Process id {request.exec_id!r} is taken by another command.", remedy="Choose a fresh id.")
            await known.wait_started()
            return known if request.exec_id in self._processes else await self.start(guest, request, request_hash)
        if self.running >= MAX_RUNNING:
            raise ResourceExhaustedError(f"{MAX_RUNNING} processes run in this sandbox.", remedy="Wait for some of them to end.")
        process = self._new(request, request_hash)
        self._processes[request.exec_id] = process
        self._count(process, +1)
        try:
            stream, pid = await guest.spawn(request, process)
        except BaseException as error:
            self._discard(process)
            raise _start_error(error) from error
        self._guest = guest
        process.on_started(guest, stream, pid)
        self._write_down(process.started)
        if not process.live:
            self._record_end(process)
        return process

    def _new(self, request: ProcessRequest, request_hash: str) -> Process:
        started = ExecStarted(
            exec_id=request.exec_id,
            request_hash=request_hash,
            argv=list(request.argv),
            pty=bool(request.flags & 1),
            timeout_s=request.timeout_ms / 1000,
            started_at=time.time(),
        )
        return Process(started, self._directory, self._sizes, self._on_ended)

    def load(self) -> None:
        """Take records and output over from the journal; what is not known to have ended waits for :meth:`adopt` or :meth:`lose_rest`."""
        for line in self._directory.execs():
            if isinstance(line, ExecStarted):
                self._processes[line.exec_id] = Process(line, self._directory, self._sizes, self._on_ended)
            elif (process := self._processes.get(line.exec_id)) is not None:
                process.restore(line)

    def adopt(self, guest: Guest, seen: tuple[ProcessSeen, ...]) -> None:
        """Go on with the processes that a guest still knows after a reset."""
        self._guest = guest
        for one in seen:
            process = self._processes.get(one.exec_id)
            if process is None:
                process = self._remember(one)
            if not process.live:
                guest.forget(one.stream)
                continue
            self._count(process, +1)
            process.stdin_offset, process.stdin_closed = one.stdin_offset, one.stdin_closed
            process.on_started(guest, one.stream, one.pid)
            guest.adopt(one, process, stdout_offset=process.stdout.total, stderr_offset=process.stderr.total)
        known = {one.exec_id for one in seen}
        for process in [process for process in self._processes.values() if process.exec_id not in known]:
            process.lose()

    def _remember(self, seen: ProcessSeen) -> Process:
        """A process whose start was never written down: the daemon died in between."""
        started = ExecStarted(exec_id=seen.exec_id, request_hash="", argv=[], pty=seen.pty, timeout_s=0, started_at=time.time())
        process = Process(started, self._directory, self._sizes, self._on_ended)
        self._processes[seen.exec_id] = process
        self._write_down(started)
        return process

    @contextlib.contextmanager
    def detached(self, guest: Guest) -> Iterator[None]:
        """Nobody gives processes input in the block, nor after it: they wait for :meth:`adopt`, unless the block fails."""
        self._attach(None)
        try:
            yield
        except BaseException:
            self._attach(guest)
            raise

    def _attach(self, guest: Guest | None) -> None:
        for process in self._processes.values():
            if process.live:
                process.attach(guest)

    def let_go(self) -> None:
        """The processes are where their sandbox's memory is, on disk."""
        self._guest, self.running = None, 0
        for process in self._processes.values():
            process.stdout.close()
            process.stderr.close()

    def lose_rest(self) -> None:
        """The container is gone: whatever still ran is lost."""
        self._guest = None
        for process in list(self._processes.values()):
            process.lose()

    def signal(self, guest: Guest, exec_id: str, signo: int, *, tree: bool) -> None:
        """Raises: NotFoundError; ConflictError: it has ended."""
        process = self._live(exec_id)
        guest.signal(process.stream, signo, Scope.TREE if tree else Scope.PROCESS)

    def resize(self, guest: Guest, exec_id: str, rows: int, columns: int) -> None:
        """Raises: NotFoundError; ConflictError: it has ended; InvalidError: it has no terminal."""
        process = self._live(exec_id)
        if not process.started.pty:
            raise InvalidError("The process has no terminal.", remedy="Start it with pty=True.")
        guest.resize(process.stream, rows, columns)

    def _live(self, exec_id: str) -> Process:
        process = self.get(exec_id)
        if not process.live:
            raise ConflictError("The process has ended.", remedy="Start another one.")
        return process

    def _on_ended(self, process: Process) -> None:
        self._count(process, -1)
        if process.stream:
            self._record_end(process)

    def _record_end(self, process: Process) -> None:
        self._write_down(
            ExecEnded(
                exec_id=process.exec_id,
                state=process.state,
                exit_code=process.exit_code,
                signal=process.signal,
                ended_at=process.ended_at,
            )
        )
        if self._guest is not None and process.state is not ProcessState.LOST:
            self._guest.forget(process.stream)
        if process.exec_id == MAIN_EXEC_ID and process.state is not ProcessState.LOST:
            self._main_ended(process)
        self._prune()

    def _write_down(self, line: ExecStarted | ExecEnded) -> None:
        """A full disk costs what another daemon would know of the process, not the process."""
        try:
            self._directory.append(line)
        except OSError as error:
            log.error("process not written down", sandbox=self._directory.sandbox_id, exec=line.exec_id, error=str(error))

    def _count(self, process: Process, change: int) -> None:
        if process.exec_id != MAIN_EXEC_ID:
            self.running += change
            self._activity()

    def _discard(self, process: Process) -> None:
        """It never started."""
        del self._processes[process.exec_id]
        self._count(process, -1)
        process.state = ProcessState.LOST
        process.close()
        process._wake()

    def _prune(self) -> None:
        ended = [process for process in self._processes.values() if not process.live and process.exec_id != MAIN_EXEC_ID]
        for process in ended[: max(0, len(ended) - MAX_ENDED)]:
            del self._processes[process.exec_id]
            process.stdout.remove()
            process.stderr.remove()


def _start_error(error: BaseException) -> BaseException:
    """What the caller of a failed start sees."""
    if isinstance(error, GuestError):
        step = error.message.partition(":")[0]
        if step in ("exec", "chdir", "user", "pty", "limit"):
            return InvalidError(
                f"The command could not be started: {error.message}.",
                code="exec_failed",
                remedy="Check the command, workdir and user; no shell is involved.",
                context={"step": step, "errno": str(error.errno)},
            )
        return InternalFailure(f"The command could not be started: {error.message}.")
    if isinstance(error, StreamCut):
        return ConflictError("The sandbox ended before the command started.", code="sandbox_ended", remedy="Create another sandbox.")
    return error
