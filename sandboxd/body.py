"""What a sandbox is made of on this node: made, talked to, written to disk, taken apart. Nothing here decides when; the actor does."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec
import structlog

from cove.types import MAIN_EXEC_ID, SandboxId
from sandboxd.assembly import Assembly
from sandboxd.channel.client import Guest
from sandboxd.channel.messages import Op, ProcessFlag, ProcessRequest
from sandboxd.contact import Contact
from sandboxd.environment import process_environment, sandbox_environment
from sandboxd.freeing import Freeing
from sandboxd.journal import Entry, SandboxDirectory, boot_id
from sandboxd.lifecycle import ContainerDied, Event
from sandboxd.memory import passing_on
from sandboxd.memory.census import take_census
from sandboxd.memory.manifest import SeenProcess
from sandboxd.memory.seen import Census
from sandboxd.processes import Process, ProcessTable, SpoolSizes
from sandboxd.runtime import ContainerStatus, Runtime
from sandboxd.warm import WarmPool
from snapshots.backends.threads import in_thread

log = structlog.get_logger()

GUEST_ANSWER_S: Final = 20.0
"""A guest answers in milliseconds; one that takes this long, on a machine however busy, is broken."""

QUIET_S: Final = 15.0
"""What the guest is doing for callers when a sandbox shall be paused is done by then, or it is not paused."""

FREE_RETRY_S: Final = (0.2, 1.0, 5.0, 30.0)
"""Pauses between attempts to free a sandbox; the last one repeats."""


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """What the node has for bodies."""

    assembly: Assembly
    warm: WarmPool
    """Makes containers that boot, or has them."""
    runtime: Runtime
    freeing: Freeing
    oom_kills: Callable[[SandboxId], int]
    spool_sizes: SpoolSizes


class Hears(msgspec.Struct, frozen=True, kw_only=True):
    """Who hears of what happens in a body."""

    post: Callable[[Event], None]
    main_ended: Callable[[Process], None]
    activity: Callable[[], None]


class Body:
    """One sandbox's container, guest and processes.

    Args:
        env: what the caller gave; the image's environment is added at boot.
    """

    def __init__(self, entry: Entry, directory: SandboxDirectory, env: Mapping[str, str], host: Host, hears: Hears) -> None:
        self._entry, self._directory, self._host = entry, directory, host
        self.env = dict(env)
        """What every process gets: the image's environment, the caller's, and the reserved variables; once it has booted."""
        self.processes = ProcessTable(directory, host.spool_sizes, main_ended=hears.main_ended, activity=hears.activity)
        self.contact = Contact(entry, post=hears.post, died=self._died)

    # --- coming up ---------------------------------------------------------------------------------------------------------------------

    async def boot(self) -> None:
        """Make the container and start the main process, or go on from a snapshot's memory.

        Raises: InvalidError, NotFoundError, PermissionDeniedError: the request's doing. Error, OSError, TimeoutError: ours.
        """
        entry = self._entry
        made = await self._host.warm.make(entry)
        entry.guest_layer, entry.runsc_build = str(made.guest_layer or ""), made.container.build
        self.contact.hold(made.fifos)
        private = await passing_on.take_over(made.state, self.processes, self._directory, entry) if made.state else None
        self.env = sandbox_environment(
            private.env if private else made.image_env,
            self.env,
            sandbox_id=entry.sandbox_id,
            task_id=entry.task_id,
            image_id=made.image_id,
            cpu_request_millis=entry.resources.cpu_request_millis,
        )
        self._directory.save_env(self.env)
        guest = self.contact.talk()
        async with asyncio.timeout(GUEST_ANSWER_S):
            if made.is_greeted:
                await guest.reset()
            elif private is None:
                await guest.start()
            else:
                await passing_on.greet(guest, self.processes, entry.sandbox_id)
        if entry.command and private is None:
            async with asyncio.timeout(GUEST_ANSWER_S):
                await self.processes.start(guest, self._main_request(), "main")

    def _main_request(self) -> ProcessRequest:
        entry = self._entry
        return ProcessRequest(
            exec_id=MAIN_EXEC_ID,
            argv=entry.command,
            env=process_environment(self.env, {}, terminal=entry.pty),
            cwd=entry.workdir,
            user=entry.image.user,
            flags=ProcessFlag.PTY if entry.pty else ProcessFlag(0),
            rows=24 if entry.pty else 0,
            columns=80 if entry.pty else 0,
            max_tasks=entry.resources.max_tasks,
        )

    async def status(self) -> ContainerStatus | None:
        """How the container is that another daemon made; None: there is none."""
        rebooted = self._entry.boot_id != boot_id()
        return None if rebooted else await self._host.runtime.status(self._entry.sandbox_id)

    async def unfreeze(self) -> None:
        """Let a container run on that a daemon which died had paused. Raises: RuntimeFailed."""
        await self._host.runtime.resume(self._entry.sandbox_id)

    async def adopt(self) -> None:
        """Go on with a container that another daemon made, and with its processes. Raises: Error, OSError, TimeoutError: it is broken."""
        self.contact.hold(self._host.assembly.reopen(self._entry.sandbox_id))
        await self._adopt_processes()

    async def _adopt_processes(self) -> None:
        guest = self.contact.talk()
        async with asyncio.timeout(GUEST_ANSWER_S):
            self.processes.adopt(guest, await guest.reset())

    # --- standing still ----------------------------------------------------------------------------------------------------------------

    async def census(self, guest: Guest) -> Census:
        """What is in the sandbox that was not started from outside. It runs."""
        return await take_census(guest, {process.pid for process in self.processes if process.live})

    async def save_state(self, guest: Guest, target: Path) -> tuple[SeenProcess, ...]:
        """Write what the daemon knows of the sandbox into ``target``, which is made; its processes stand still.

        Returns: what runs. Raises: OSError.
        """
        return await passing_on.leave_behind(target, guest, self.processes, self._directory, self._entry, self.env)

    async def write_out(self, guest: Guest) -> None:
        """Bring the sandbox to disk; once this returns, that is where it is, and it stands still.

        Raises: ConflictError: something in there cannot be kept. Error, OSError, TimeoutError. It goes on then.
        """
        entry = self._entry
        with self.processes.detached(guest):
            async with asyncio.timeout(QUIET_S):
                await guest.quiet()
                await guest.call(Op.SYNC)  # answered after all that was sent before, input of processes too, has arrived
            async with self._host.assembly.pausing(entry):
                paused = entry.paused(time.time())
                try:
                    await in_thread(self._directory.save_for_good, paused)
                except BaseException:  # cancelled, it may be written all the same
                    self._directory.save(entry)
                    raise
            entry.paused_at, entry.left_s, entry.expires_at = paused.paused_at, paused.left_s, paused.expires_at

    async def make_again(self) -> None:
        """Let a sandbox that is on disk go on; :meth:`greet_again` comes next.

        Raises: DataLossError: what is on disk is damaged. Error, OSError: ours. It has not run then, and :meth:`dismantle` cleans up.
        """
        made = await self._host.assembly.make(self._entry)
        self._entry.guest_layer, self._entry.boot_id = str(made.guest_layer or ""), boot_id()
        self._entry.runsc_build = made.container.build
        self.contact.hold(made.fifos)

    async def greet_again(self) -> None:
        """Go on with the processes of a sandbox that was on disk. Raises: Error, OSError, TimeoutError: it is broken."""
        await self._adopt_processes()

    async def forget_memory(self) -> None:
        """Remove from disk the memory of a sandbox that runs again."""
        await self._host.assembly.forget_memory(self._entry.sandbox_id)

    async def dismantle(self) -> None:
        """Remove all of a sandbox that is on disk from the kernel."""
        await self.contact.end()
        self.processes.let_go()
        self._directory.close()
        await self._insist(self._host.assembly.dismantle)

    # --- the end -----------------------------------------------------------------------------------------------------------------------

    async def _died(self) -> Event:
        await self._host.runtime.died(self._entry.sandbox_id)
        return self.death("The sandbox's container died unexpectedly.")

    def death(self, cause: str) -> ContainerDied:
        """What became of a container that is gone: out of memory if it was that, else ``cause``."""
        if not self._host.oom_kills(self._entry.sandbox_id):
            return ContainerDied(False, cause)
        limit = self._entry.resources.memory_limit_bytes
        bound = f" of {limit // 2**20} MiB" if limit else " of the node"
        return ContainerDied(True, f"The sandbox ran out of memory: it reached the limit{bound}.")

    async def kill(self) -> None:
        """Kill every process of the container, now."""
        await self._host.assembly.kill(self._entry.sandbox_id)
        self.processes.lose_rest()
        self.contact.hang_up()

    async def free(self) -> None:
        """Remove everything, in the kernel and on disk, but records and output."""
        await self.contact.end()
        await self._insist(self._host.assembly.free)

    async def _insist(self, removal: Callable[[SandboxId], Awaitable[None]]) -> None:
        """Repeat what removes things until nothing is left to be removed."""
        for pause_s in itertools.chain(FREE_RETRY_S, itertools.repeat(FREE_RETRY_S[-1])):
            try:
                async with self._host.freeing.turn():
                    await removal(self._entry.sandbox_id)
            except ExceptionGroup as group:
                errors = [str(error) for error in group.exceptions]
                log.warning("sandbox not freed yet", sandbox=self._entry.sandbox_id, errors=errors)
                await asyncio.sleep(pause_s)
            else:
                return
