"""The actor: one sandbox, one task that handles its events in order and carries out what ``lifecycle.step`` commands."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec
import structlog

from cove.exception import ConflictError, Error, InvalidError, NotFoundError, PermissionDeniedError
from cove.types import EXIT_TERMINATED, MAIN_EXEC_ID, EndReason, SandboxId
from policies.egress import EgressPolicy
from sandboxd.api_socket import serve_plain_sandbox
from sandboxd.assembly import Assembly
from sandboxd.channel.client import Guest
from sandboxd.channel.link import Fifos
from sandboxd.channel.messages import ProcessFlag, ProcessRequest
from sandboxd.environment import process_environment, sandbox_environment
from sandboxd.journal import Entry, SandboxDirectory, boot_id
from sandboxd.lifecycle import (
    Booted,
    BootFailed,
    Command,
    ContainerDied,
    Event,
    Freed,
    GuestBroke,
    IdleOver,
    LifetimeOver,
    MainEnded,
    Record,
    Result,
    State,
    TerminateAsked,
    step,
)
from sandboxd.memory import passing_on
from sandboxd.memory.census import take_census
from sandboxd.memory.manifest import SeenProcess
from sandboxd.memory.seen import Census
from sandboxd.network_log import NetworkLog
from sandboxd.processes import Process, ProcessTable, SpoolSizes
from sandboxd.runtime import ContainerStatus, Runtime
from sandboxd.spool import Spool
from sandboxd.warm import WarmPool

log = structlog.get_logger()

GUEST_ANSWER_S: Final = 20.0
"""A guest answers in milliseconds; one that takes this long, on a machine however busy, is broken."""

BOOT_S: Final = 120.0
"""From admission to a serving guest, image apart."""

NOTES_EXEC_ID: Final = "system"
"""Under this process id the sandbox's own log is read."""

NOTES_BYTES: Final = 1024 * 1024

FREE_RETRY_S: Final = (0.2, 1.0, 5.0, 30.0)
"""Pauses between attempts to free a sandbox; the last one repeats."""


class Outside(msgspec.Struct, frozen=True, kw_only=True):
    """What an actor needs of the node around it."""

    assembly: Assembly
    warm: WarmPool
    """Makes containers, or has them."""
    runtime: Runtime
    oom_kills: Callable[[SandboxId], int]
    spool_sizes: SpoolSizes
    changed: Callable[[Sandbox], None]
    """Called at every change that the router should hear of."""


class Sandbox:
    """One sandbox on this node.

    Args:
        env: what the caller gave; the image's environment is added at boot.
    """

    def __init__(self, entry: Entry, directory: SandboxDirectory, env: Mapping[str, str], outside: Outside) -> None:
        self.entry = entry
        self._directory = directory
        self._env = dict(env)
        self._outside = outside
        self._record = Record(state=entry.state, result=entry.result)
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._timers: list[asyncio.TimerHandle] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._guest: Guest | None = None
        self._fifos: Fifos | None = None
        self._holds = 0
        self._network_lock = asyncio.Lock()
        self._adopting = entry.state is State.RUNNING
        """Another daemon made it, and its guest has not answered yet."""
        self._idle_since = time.monotonic()
        self.processes = ProcessTable(directory, outside.spool_sizes, main_ended=self._on_main_ended, activity=self.touch)
        self.notes = Spool(directory.output / NOTES_EXEC_ID, head_bytes=NOTES_BYTES, tail_bytes=NOTES_BYTES)
        """The sandbox's log: what ``verbose`` asks for."""
        self.network_log = NetworkLog(directory.path / "network.log")
        """What it reached and was refused."""
        self._log = log.bind(sandbox=entry.sandbox_id)

    # --- what others see ---------------------------------------------------------------------------------------------------------------

    @property
    def sandbox_id(self) -> SandboxId:
        return self.entry.sandbox_id

    @property
    def state(self) -> State:
        return self._record.state

    @property
    def env(self) -> Mapping[str, str]:
        """What every process gets: the image's environment, the caller's, and the reserved variables."""
        return self._env

    @property
    def idle_since(self) -> float:
        """Unix seconds since when nothing counts as activity; 0 while something does."""
        return 0.0 if self._active else time.time() - (time.monotonic() - self._idle_since)

    @property
    def _active(self) -> bool:
        return self.processes.running > 0 or self._holds > 0

    def touch(self) -> None:
        """Something counted as activity just now, or has just stopped to."""
        self._idle_since = time.monotonic()

    @contextlib.contextmanager
    def activity(self) -> Iterator[None]:
        """The block counts as activity (an attached terminal, an open tunnel)."""
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1
            self.touch()

    async def guest(self) -> Guest:
        """The guest, once it serves. Raises: ConflictError(sandbox_ended)."""
        await self.wait_booted()
        if self.state is not State.RUNNING or self._guest is None:
            result = self._record.result
            raise ConflictError(
                f"The sandbox has ended. {result.message if result else ''}".strip(),
                code="sandbox_ended",
                remedy="Create another sandbox.",
                context={"reason": result.reason if result else "unknown"},
            )
        return self._guest

    async def wait_booted(self) -> None:
        """Return when the sandbox runs and is known to, or has ended."""
        while self.state is State.PENDING or self._adopting:
            await self.wait_change()

    async def wait_remembered(self) -> None:
        """Return when the processes are known that came with the memory that the sandbox goes on from."""
        if self.entry.restore:
            await self.wait_booted()

    async def wait_change(self) -> None:
        """Return at the next change of state."""
        await self._changed.wait()

    async def has_main(self) -> bool:
        """Whether there is a main process; without one, wait for the sandbox's end first (its output ends then)."""
        while self.state is State.PENDING or (self.state is State.RUNNING and not self.entry.command):
            await self.wait_change()
        return any(process.exec_id == MAIN_EXEC_ID for process in self.processes)

    async def set_network(self, policy: EgressPolicy) -> None:
        """Let ``policy`` hold from now on, also after a restart of the daemon: it is written down before it holds.

        Raises: ConflictError: the sandbox has ended, or was created without a network. Error, OSError: it may hold or not; ask again.
        """
        await self.guest()
        async with self._network_lock:
            before, self.entry.network = self.entry.network, policy
            self._directory.save(self.entry)
            try:
                await self._outside.assembly.set_network(self.sandbox_id, policy)
            except InvalidError:  # refused, so nothing changed
                self.entry.network = before
                self._directory.save(self.entry)
                raise

    def note(self, text: str) -> None:
        """Add a line to the sandbox's log, if it was created with ``verbose``."""
        if self.entry.verbose:
            line = text[:1024].encode("utf-8", "replace") + b"\n"
            self.notes.append(self.notes.total, line)

    def terminate(self) -> None:
        """Ask for the end. No-op when it is decided already."""
        self._post(TerminateAsked())

    # --- the actor ---------------------------------------------------------------------------------------------------------------------

    async def run(self, *, adopt: bool = False) -> None:
        """Live from where the record stands until everything is freed.

        Args: adopt: another daemon made this sandbox; take it over, or report it lost.
        """
        try:
            if adopt:
                self.processes.load()
                await self._take_over()
                self._adopted()
            elif self.state is State.PENDING:
                self._spawn(self._boot())
            while self.state is not State.STOPPED:
                await self._handle(await self._events.get())
        finally:
            await self._let_go()

    async def abandon(self) -> None:
        """The last resort after a bug in :meth:`run`: end and free the sandbox without the actor, and say so."""
        with contextlib.suppress(ExceptionGroup):  # what is left, the reconciler finds: this sandbox counts as stopped now
            await self._outside.assembly.free(self.sandbox_id)
        result = self._record.result or Result(
            EndReason.INTERNAL_FAILURE, EXIT_TERMINATED, "The node daemon has a bug; its log has the details."
        )
        self._record = Record(state=State.STOPPED, result=result, history=self._record.history)
        self._adopting = False
        self.processes.lose_rest()
        self._note_change()
        await self._carry_out(Command.REPORT)

    async def _handle(self, event: Event) -> None:
        before = self._record
        self._record, commands = step(self._record, event)
        if self._record is before:
            return
        self._log.info("sandbox changed", event_=type(event).__name__, state=self._record.state)
        self._note_change()
        for command in commands:
            await self._carry_out(command)

    def _note_change(self) -> None:
        entry, now = self.entry, time.time()
        entry.state, entry.result = self._record.state, self._record.result
        if self.state is State.RUNNING and not entry.started_at:
            entry.started_at, entry.expires_at = now, now + entry.timeout_s
        if entry.result is not None and not entry.ended_at:
            entry.ended_at = now
            self._directory.forget_env()
        try:
            self._directory.save(entry)
        except OSError as error:
            self._log.error("state not written down", error=str(error))

    async def _carry_out(self, command: Command) -> None:
        match command:
            case Command.ARM_TIMERS:
                self._arm_timers()
            case Command.KILL:
                await self._kill()
            case Command.FREE:
                self._spawn(self._free())
            case Command.REPORT:
                self._wake()
                self._outside.changed(self)

    def _adopted(self) -> None:
        self._adopting = False
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _post(self, event: Event) -> None:
        self._events.put_nowait(event)

    def _spawn(self, work: Awaitable[None]) -> None:
        async def guarded() -> None:
            try:
                await work
            except asyncio.CancelledError:
                raise
            except Exception as error:
                self._log.exception("sandbox task failed")
                self._post(GuestBroke(f"A task of the daemon failed: {type(error).__name__}."))

        task = asyncio.get_running_loop().create_task(guarded(), name=self.sandbox_id)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _let_go(self) -> None:
        """Stop everything that runs here; the container, if it lives, goes on by itself."""
        for timer in self._timers:
            timer.cancel()
        await cancel_all(self._tasks)
        if self._guest is not None:
            self._guest.close()
        if self._fifos is not None:
            self._fifos.close()
        self.notes.end()
        self.notes.close()
        self._end_network_log()
        for process in self.processes:
            process.stdout.close()
            process.stderr.close()
        self._directory.close()

    def _end_network_log(self) -> None:
        self.network_log.end()
        try:
            self.network_log.flush()
        except OSError as error:
            self._log.error("network log not written down", error=str(error))

    # --- boot and adoption -------------------------------------------------------------------------------------------------------------

    async def _boot(self) -> None:
        try:
            async with asyncio.timeout(BOOT_S):
                await self._make()
        except (InvalidError, NotFoundError, PermissionDeniedError) as error:
            self._post(BootFailed(EndReason.INIT_FAILURE, str(error)))
        except (Error, OSError, TimeoutError) as error:
            self._log.warning("sandbox did not boot", error=str(error))
            self._post(BootFailed(EndReason.INTERNAL_FAILURE, f"The sandbox could not be started: {error or type(error).__name__}"))
        else:
            self._post(Booted())

    async def _make(self) -> None:
        made = await self._outside.warm.make(self.entry)
        self._fifos = made.fifos
        self.entry.guest_layer = str(made.guest_layer or "")
        self._spawn(self._watch_death())
        private = await passing_on.take_over(made.state, self.processes, self._directory, self.entry) if made.state else None
        self._env = sandbox_environment(
            private.env if private else made.image_env,
            self._env,
            sandbox_id=self.sandbox_id,
            task_id=self.entry.task_id,
            image_id=made.image_id,
            cpu_request_millis=self.entry.resources.cpu_request_millis,
        )
        self._directory.save_env(self._env)
        guest = self._talk(made.fifos)
        async with asyncio.timeout(GUEST_ANSWER_S):
            if made.is_greeted:
                await guest.reset()
            elif private is None:
                await guest.start()
            else:
                await passing_on.greet(guest, self.processes, self.sandbox_id)
        if self.entry.command and private is None:
            await self.processes.start(guest, self._main_request(), "main")

    async def census(self) -> Census:
        """See ``assembly.Subject``. Raises: ConflictError: it has ended."""
        return await take_census(await self.guest(), {process.pid for process in self.processes if process.live})

    async def save_state(self, target: Path) -> tuple[SeenProcess, ...]:
        """See ``assembly.Subject``."""
        return await passing_on.leave_behind(target, await self.guest(), self.processes, self._directory, self.entry, self._env)

    def _main_request(self) -> ProcessRequest:
        entry = self.entry
        return ProcessRequest(
            exec_id=MAIN_EXEC_ID,
            argv=entry.command,
            env=process_environment(self._env, {}, terminal=entry.pty),
            cwd=entry.workdir,
            user=entry.image.user,
            flags=ProcessFlag.PTY if entry.pty else ProcessFlag(0),
            rows=24 if entry.pty else 0,
            columns=80 if entry.pty else 0,
            max_tasks=entry.resources.max_tasks,
        )

    def _talk(self, fifos: Fifos) -> Guest:
        self._guest = Guest(
            fifos,
            bytes.fromhex(self.entry.guest_marker),
            violated=lambda error: self._post(GuestBroke(f"The guest broke its protocol: {error}")),
            api_opened=lambda stream, peer: self._spawn(serve_plain_sandbox(stream)),
        )
        return self._guest

    async def _take_over(self) -> None:
        """Go on with a sandbox that another daemon made."""
        if self.state is State.STOPPED:
            return
        if self.state is State.STOPPING:
            await self._kill()
            self._spawn(self._free())
            return
        rebooted = self.entry.boot_id != boot_id()
        status = None if rebooted else await self._outside.runtime.status(self.sandbox_id)
        if status is ContainerStatus.PAUSED:  # the last daemon died in the middle of a snapshot
            await self._outside.runtime.resume(self.sandbox_id)
            status = ContainerStatus.RUNNING
        if self.state is State.PENDING or status is not ContainerStatus.RUNNING:
            what = "while the sandbox was being started" if self.state is State.PENDING else "and the sandbox did not survive it"
            oom = self._outside.oom_kills(self.sandbox_id) > 0
            self._post(self._death(oom) if oom else ContainerDied(False, f"The node daemon was restarted {what}."))
            return
        self._fifos = self._outside.assembly.reopen(self.sandbox_id)
        guest = self._talk(self._fifos)
        self._spawn(self._watch_death())
        try:
            async with asyncio.timeout(GUEST_ANSWER_S):
                self.processes.adopt(guest, await guest.reset())
        except (TimeoutError, Error, OSError) as error:
            self._post(GuestBroke(f"The guest did not answer after a restart of the daemon: {error or 'too slow'}"))
            return
        self._arm_timers()
        self._outside.changed(self)

    # --- the end -----------------------------------------------------------------------------------------------------------------------

    async def _watch_death(self) -> None:
        await self._outside.runtime.died(self.sandbox_id)
        self._post(self._death(self._outside.oom_kills(self.sandbox_id) > 0))

    def _death(self, out_of_memory: bool) -> ContainerDied:
        if out_of_memory:
            limit = self.entry.resources.memory_limit_bytes
            bound = f" of {limit // 2**20} MiB" if limit else " of the node"
            return ContainerDied(True, f"The sandbox ran out of memory: it reached the limit{bound}.")
        return ContainerDied(False, "The sandbox's container died unexpectedly.")

    def _on_main_ended(self, process: Process) -> None:
        self._post(MainEnded(process.exit_code))

    async def _kill(self) -> None:
        for timer in self._timers:
            timer.cancel()
        await self._outside.assembly.kill(self.sandbox_id)
        self.processes.lose_rest()
        if self._guest is not None:
            self._guest.close()

    async def _free(self) -> None:
        attempt = 0
        await cancel_all(self._tasks - {asyncio.current_task()})
        if self._fifos is not None:
            self._fifos.close()
        while True:
            try:
                await self._outside.assembly.free(self.sandbox_id)
            except ExceptionGroup as group:
                self._log.warning("sandbox not freed yet", errors=[str(error) for error in group.exceptions], attempt=attempt)
                await asyncio.sleep(FREE_RETRY_S[min(attempt, len(FREE_RETRY_S) - 1)])
                attempt += 1
            else:
                self._post(Freed())
                return

    # --- time --------------------------------------------------------------------------------------------------------------------------

    def _arm_timers(self) -> None:
        loop = asyncio.get_running_loop()
        lifetime = LifetimeOver(self.entry.timeout_s)
        self._timers = [loop.call_later(max(0.0, self.entry.expires_at - time.time()), self._post, lifetime)]
        self.touch()
        if self.entry.idle_timeout_s:
            self._check_idle()

    def _check_idle(self) -> None:
        idle_s = 0.0 if self._active else time.monotonic() - self._idle_since
        left_s = self.entry.idle_timeout_s - idle_s
        if left_s <= 0:
            self._post(IdleOver(self.entry.idle_timeout_s))
        else:
            self._timers[1:] = [asyncio.get_running_loop().call_later(left_s, self._check_idle)]


async def cancel_all(tasks: Collection[asyncio.Task[None] | None]) -> None:
    """Cancel tasks and wait until they are gone; what they raise was logged by themselves."""
    waiting = [task for task in tasks if task is not None]
    for task in waiting:
        task.cancel()
    if waiting:
        await asyncio.wait(waiting)
