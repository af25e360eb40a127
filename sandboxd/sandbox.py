"""The actor: one sandbox, one task that handles its events in order and carries out what ``lifecycle.step`` commands."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec
import structlog

from cove.exception import ConflictError, Error, InternalFailure, InvalidError, NotFoundError, PermissionDeniedError
from cove.types import EXIT_TERMINATED, MAIN_EXEC_ID, EndReason, SandboxId
from policies.egress import EgressPolicy
from sandboxd.body import Body, Hears, Host
from sandboxd.channel.client import Guest
from sandboxd.journal import Entry, SandboxDirectory
from sandboxd.lifecycle import (
    BETWEEN,
    ENDED,
    Booted,
    BootFailed,
    Command,
    Event,
    Freed,
    GuestBroke,
    LifetimeOver,
    MainEnded,
    PauseAsked,
    Paused,
    PauseFailed,
    Record,
    Result,
    State,
    TerminateAsked,
    WakeAsked,
    WakeFailed,
    step,
)
from sandboxd.memory.manifest import SeenProcess
from sandboxd.memory.seen import Census
from sandboxd.network_log import NetworkLog
from sandboxd.processes import Process, ProcessTable
from sandboxd.runtime import ContainerStatus
from sandboxd.spool import Spool
from sandboxd.timers import Timers

log = structlog.get_logger()

NOTES_EXEC_ID: Final = "system"
"""Under this process id the sandbox's own log is read."""

NOTES_BYTES: Final = 1024 * 1024


class Outside(msgspec.Struct, frozen=True, kw_only=True):
    """What an actor needs of the node around it."""

    host: Host
    admit: Callable[[Sandbox], None]
    """Passes if there is room for a paused sandbox to run again. Raises: ResourceExhaustedError."""
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
        self._outside = outside
        self._record = Record(state=entry.state, result=entry.result)
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._changed = asyncio.Event()
        self.still = asyncio.Lock()
        """Held by what makes the sandbox stand still, or must not happen while it does."""
        self._trouble: Error | None = None
        """Why it could not be paused, or woken, the last time."""
        self._troubles = 0
        self._adopting = entry.state not in (State.PENDING, State.STOPPED)
        """Another daemon made it, and it is not known yet what became of it."""
        hears = Hears(post=self._post, main_ended=self._on_main_ended, activity=lambda: self.timers.touch())
        self._body = Body(entry, directory, env, outside.host, hears)
        self.timers = Timers(entry, post=self._post, running=lambda: self.processes.running)
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
        return self._body.env

    @property
    def processes(self) -> ProcessTable:
        return self._body.processes

    async def guest(self) -> Guest:
        """The guest, once it serves: a paused sandbox is woken.

        Raises: ConflictError(sandbox_ended). Error: it could not be woken; another time it may work.
        """
        troubles = self._troubles
        while True:
            await self.wait_settled()
            if self.state is not State.PAUSED:
                break
            if self._troubles > troubles and self._trouble is not None:
                raise self._trouble
            self._post(WakeAsked())
            await self.wait_change()
        guest = self._guest_now()
        self._outside.host.assembly.stir(self.sandbox_id)
        return guest

    def _guest_now(self) -> Guest:
        """Raises: ConflictError(sandbox_ended, sandbox_paused)."""
        if self.state is State.RUNNING and self._body.contact.guest is not None:
            return self._body.contact.guest
        if self.state not in ENDED:
            raise ConflictError("The sandbox was paused meanwhile.", code="sandbox_paused", remedy="Do it again: that wakes it.")
        result = self._record.result
        raise ConflictError(
            f"The sandbox has ended. {result.message if result else ''}".strip(),
            code="sandbox_ended",
            remedy="Create another sandbox.",
            context={"reason": result.reason if result else "unknown"},
        )

    @contextlib.asynccontextmanager
    async def standing(self) -> AsyncIterator[Guest]:
        """The block may let the sandbox, which runs, stand still; nothing else does so meanwhile. It counts as activity.

        Raises: as :meth:`guest`.
        """
        while True:
            await self.guest()
            async with self.still:
                if self.state is not State.RUNNING and self.state not in ENDED:
                    continue  # it is being paused
                with self.timers.activity():
                    yield self._guest_now()
                    return

    def _guest_at_all(self) -> Guest:
        """Also while it is being paused. Raises: ConflictError(sandbox_ended)."""
        return self._body.contact.guest or self._guest_now()

    async def census(self) -> Census:
        """See ``assembly.Subject``. Raises: ConflictError: it has ended."""
        return await self._body.census(self._guest_at_all())

    async def save_state(self, target: Path) -> tuple[SeenProcess, ...]:
        """See ``assembly.Subject``."""
        return await self._body.save_state(self._guest_at_all(), target)

    def check_running(self) -> None:
        """Pass if there is a guest now. Raises: ConflictError: what became of the sandbox."""
        self._guest_now()

    async def wait_settled(self) -> None:
        """Return when the sandbox runs, is paused or has ended, and it is known which."""
        while self.state in BETWEEN or self._adopting:
            await self.wait_change()

    async def wait_booted(self) -> None:
        """Return when the sandbox has run and is known to, or has ended."""
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
        while self.state is State.PENDING or (self.state not in ENDED and not self.entry.command):
            await self.wait_change()
        return any(process.exec_id == MAIN_EXEC_ID for process in self.processes)

    async def set_network(self, policy: EgressPolicy) -> None:
        """Let ``policy`` hold from now on, also after a restart of the daemon: it is written down before it holds.

        Raises: ConflictError: the sandbox has ended, or was created without a network. Error, OSError: it may hold or not; ask again.
        """
        async with self.standing():
            before = self.entry.network
            self._write_down_policy(policy)
            try:
                await self._outside.host.assembly.set_network(self.sandbox_id, policy)
            except InvalidError:  # refused, so nothing changed
                self._write_down_policy(before)
                raise

    def _write_down_policy(self, policy: EgressPolicy) -> None:
        self.entry.network = policy
        self._directory.save(self.entry)

    def note(self, text: str) -> None:
        """Add a line to the sandbox's log, if it was created with ``verbose``."""
        if self.entry.verbose:
            line = text[:1024].encode("utf-8", "replace") + b"\n"
            self.notes.append(self.notes.total, line)

    def terminate(self) -> None:
        """Ask for the end. No-op when it is decided already."""
        self._post(TerminateAsked())

    async def pause(self) -> None:
        """Write its memory to disk and free it; files, processes and what they are doing wait there. No-op when it is paused.

        Raises: ConflictError: it has ended, or something in there cannot be kept. Error: as the node has it; the sandbox goes on.
        """
        troubles = self._troubles
        while True:
            await self.wait_settled()
            if self.state is State.PAUSED:
                return
            self._guest_now()
            if self._troubles > troubles and self._trouble is not None:
                raise self._trouble
            self._post(PauseAsked())
            await self.wait_change()

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
                self._body.contact.spawn(self._boot())
            while self.state is not State.STOPPED:
                await self._handle(await self._events.get())
        finally:
            await self._let_go()

    async def abandon(self) -> None:
        """The last resort after a bug in :meth:`run`: end and free the sandbox without the actor, and say so."""
        with contextlib.suppress(ExceptionGroup):  # what is left, the reconciler finds: this sandbox counts as stopped now
            await self._outside.host.assembly.free(self.sandbox_id)
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
        elif self.state is State.RUNNING and entry.paused_at:
            entry.expires_at, entry.paused_at = now + (entry.left_s or entry.timeout_s), 0
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
                self.timers.arm()
            case Command.PAUSE:
                self.timers.cancel()
                self._body.contact.spawn(self._pause())
            case Command.WAKE:
                self._body.contact.spawn(self._wake_up())
            case Command.KILL:
                await self._kill()
            case Command.FREE:
                self._body.contact.spawn(self._free())
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

    async def _let_go(self) -> None:
        """Stop everything that runs here; the container, if it lives, goes on by itself."""
        self.timers.cancel()
        await self._body.contact.end()
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
        """Not bounded in time as a whole: it waits for its image and for its turn. Each step is."""
        try:
            await self._body.boot()
        except (InvalidError, NotFoundError, PermissionDeniedError) as error:
            self._post(BootFailed(EndReason.INIT_FAILURE, str(error)))
        except (Error, OSError, TimeoutError) as error:
            cause = str(error) or type(error).__name__
            self._log.warning("sandbox did not boot", error=cause)
            self._post(BootFailed(EndReason.INTERNAL_FAILURE, f"The sandbox could not be started: {cause}"))
        else:
            self._post(Booted())

    async def _take_over(self) -> None:
        """Go on with a sandbox that another daemon made."""
        if self.state is State.STOPPED:
            return
        if self.state is State.STOPPING:
            await self._kill()
            self._body.contact.spawn(self._free())
            return
        status = await self._body.status()
        if self.entry.paused_at and not (self.state is State.WAKING and status is ContainerStatus.RUNNING):
            await self._body.dismantle()
            if self.state is not State.PAUSED:
                self._post(Paused() if self.state is State.PAUSING else WakeFailed())
            return
        if status is ContainerStatus.PAUSED:  # the last daemon died in the middle of a snapshot, or of pausing it
            await self._body.unfreeze()
            status = ContainerStatus.RUNNING
        if self.state is State.PENDING or status is not ContainerStatus.RUNNING:
            what = "while the sandbox was being started" if self.state is State.PENDING else "and the sandbox did not survive it"
            self._post(self._body.death(f"The node daemon was restarted {what}."))
            return
        try:
            await self._body.adopt()
        except (TimeoutError, Error, OSError) as error:
            self._post(GuestBroke(f"The guest did not answer after a restart of the daemon: {str(error) or 'too slow'}"))
            return
        await self._go_on()

    async def _go_on(self) -> None:
        """After another daemon's death: as it would have gone on."""
        match self.state:
            case State.WAKING:
                self._post(Booted())
            case State.PAUSING:
                self._post(PauseFailed())
            case _:
                self.timers.arm()
                await self._body.forget_memory()
        self._outside.changed(self)

    # --- pausing -----------------------------------------------------------------------------------------------------------------------

    async def _pause(self) -> None:
        try:
            async with self.still:
                await self._body.write_out(self._guest_at_all())
        except (Error, OSError, TimeoutError) as error:
            self._note_trouble("paused", error)
            self._post(PauseFailed())
            if self.entry.expires_at <= time.time():
                self._post(LifetimeOver(self.entry.timeout_s, f"It could not be paused: {self._trouble}"))
            return
        await self._body.dismantle()
        self._post(Paused())

    async def _wake_up(self) -> None:
        try:
            self._outside.admit(self)
            await self._body.make_again()
        except (Error, OSError, TimeoutError) as error:
            await self._body.dismantle()
            self._note_trouble("woken", error)
            self._post(WakeFailed())
            return
        try:
            await self._body.greet_again()
        except (TimeoutError, Error, OSError) as error:
            self._post(GuestBroke(f"The guest did not answer after it was woken: {str(error) or 'too slow'}"))
            return
        self._post(Booted())
        await self.wait_settled()
        async with self.still:
            if not self.entry.paused_at:
                await self._body.forget_memory()

    def _note_trouble(self, verb: str, error: BaseException) -> None:
        self._log.warning(f"sandbox not {verb}", error=str(error) or type(error).__name__)
        self.note(f"Sandbox could not be {verb}: {error}")
        cause = f"The sandbox could not be {verb}: {str(error) or 'it took too long'}"
        self._trouble = error if isinstance(error, Error) else InternalFailure(cause, remedy="Try again.", retryable=True)
        self._troubles += 1

    # --- the end -----------------------------------------------------------------------------------------------------------------------

    def _on_main_ended(self, process: Process) -> None:
        self._post(MainEnded(process.exit_code))

    async def _kill(self) -> None:
        self.timers.cancel()
        await self._body.kill()

    async def _free(self) -> None:
        await self._body.free()
        self._post(Freed())
