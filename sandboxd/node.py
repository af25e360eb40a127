"""The sandboxes of this node: admission, look-up, adoption after a restart, and forgetting."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
import structlog

from cove.exception import AlreadyExistsError, Error, NotFoundError, ResourceExhaustedError
from cove.types import SandboxId, TaskId
from policies.egress import EgressPolicy
from sandboxd.assembly import Assembly, MemoryOrder
from sandboxd.body import Host
from sandboxd.channel.messages import Op
from sandboxd.freeing import Freeing
from sandboxd.journal import Entry, Image, Journal, MemoryRef, Resources, SandboxDirectory, boot_id, new_guest_marker
from sandboxd.lifecycle import ENDED, State
from sandboxd.memory.manifest import Manifest
from sandboxd.network_log import NetworkLog
from sandboxd.processes import SpoolSizes
from sandboxd.runtime import Runtime
from sandboxd.sandbox import Outside, Sandbox
from sandboxd.warm import Room, WarmPool
from snapshots.backends.threads import to_its_end

log = structlog.get_logger()

RECONCILE_INTERVAL_S: Final = 30.0
FLUSH_INTERVAL_S: Final = 1.0
"""What a daemon that is killed may forget of what sandboxes tried to reach."""

QUIET_INTERVAL_S: Final = 2.0
"""A sandbox in which nothing has run for so long counts as quiet."""

REPAIR_INTERVAL_S: Final = 5.0
"""How long sandboxes may be without a packet filter after somebody flushed it; looking costs a millisecond."""


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """What the node's sandboxes may reserve together."""

    cpu_millis: int
    memory_bytes: int
    sandboxes: int


class CreateRequest(msgspec.Struct, frozen=True, kw_only=True):
    """An admitted spec: validated, defaults filled in."""

    sandbox_id: SandboxId
    task_id: TaskId
    command: Sequence[bytes]
    env: Mapping[str, str]
    workdir: str
    timeout_s: int
    idle_timeout_s: int
    resources: Resources
    image: Image
    restore: MemoryRef | None = None
    build: bool = False
    network: EgressPolicy
    pty: bool
    verbose: bool
    pause_on_idle: bool = False
    pause_on_timeout: bool = False


class Node:
    """Owner of every sandbox actor.

    Args:
        changed: called when a sandbox changed in a way the router should hear of.
    """

    def __init__(
        self,
        *,
        journal: Journal,
        assembly: Assembly,
        warm: WarmPool,
        runtime: Runtime,
        oom_kills: Callable[[SandboxId], int],
        spool_sizes: SpoolSizes,
        capacity: Capacity,
        record_retention_s: float,
        free_disk_bytes: Callable[[], int],
        changed: Callable[[Sandbox], None],
    ) -> None:
        self.capacity = capacity
        self.draining = False
        self.warm = warm
        self._journal = journal
        self._assembly = assembly
        self.freeing = Freeing()
        host = Host(assembly=assembly, warm=warm, runtime=runtime, freeing=self.freeing, oom_kills=oom_kills, spool_sizes=spool_sizes)
        self._outside = Outside(host=host, admit=self._admit_again, changed=changed)
        self._record_retention_s = record_retention_s
        self._free_disk_bytes = free_disk_bytes
        self._sandboxes: dict[SandboxId, Sandbox] = {}
        self._group: asyncio.TaskGroup | None = None
        self._boot_id = boot_id()

    def __iter__(self) -> Iterator[Sandbox]:
        return iter(list(self._sandboxes.values()))

    def get(self, sandbox_id: str) -> Sandbox:
        """Raises: NotFoundError: never here, or forgotten."""
        try:
            return self._sandboxes[SandboxId(sandbox_id)]
        except KeyError:
            raise NotFoundError(f"This node has no sandbox {sandbox_id[:32]!r}.", remedy="It may have ended a while ago.") from None

    def reserved(self) -> Capacity:
        """The sum of what sandboxes have reserved that are neither stopped nor paused."""
        live = [sandbox for sandbox in self._sandboxes.values() if sandbox.state not in (State.PAUSED, State.STOPPED)]
        return Capacity(
            cpu_millis=sum(sandbox.entry.resources.cpu_request_millis for sandbox in live),
            memory_bytes=sum(sandbox.entry.resources.memory_request_bytes for sandbox in live),
            sandboxes=len(live),
        )

    def room(self) -> Room:
        """What spares may take: nothing where no sandbox would be admitted."""
        if self.draining or self._free_disk_bytes() <= 0:
            return Room(memory_bytes=0, sandboxes=0)
        reserved, capacity = self.reserved(), self.capacity
        return Room(memory_bytes=capacity.memory_bytes - reserved.memory_bytes, sandboxes=capacity.sandboxes - reserved.sandboxes)

    # --- life --------------------------------------------------------------------------------------------------------------------------

    async def run(self, started: asyncio.Event) -> None:
        """Adopt what the journal knows, then own the actors until cancelled. Sandboxes outlive this."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            self.warm.begin(group, self.room)
            for directory in self._journal.list_():
                self._adopt(directory)
            self.warm.clear_away(await self._orphans())  # a large pool of a daemon that was killed: nobody has to wait for that
            started.set()
            group.create_task(_repeat(self._assembly.repair, REPAIR_INTERVAL_S), name="repair")
            group.create_task(_repeat(self.quieten, QUIET_INTERVAL_S), name="quiet sandboxes")
            group.create_task(_repeat(self.flush_network_logs, FLUSH_INTERVAL_S), name="network logs")
            await _repeat(self.reconcile, RECONCILE_INTERVAL_S)

    def create(self, request: CreateRequest) -> Sandbox:
        """Admit a sandbox; its container is made afterwards. The same request again gives the same sandbox.

        Raises: AlreadyExistsError: the id with another request. ResourceExhaustedError: no room, or draining.
        """
        if (known := self._sandboxes.get(request.sandbox_id)) is not None:
            if known.entry.task_id != request.task_id:
                raise AlreadyExistsError(f"Sandbox {request.sandbox_id} exists.", remedy="Choose a fresh id.")
            return known
        if self.draining:
            raise ResourceExhaustedError("The node is draining.", remedy="Another node must take the sandbox.")
        self._check_room(self.reserved(), request.resources)
        entry = Entry(
            sandbox_id=request.sandbox_id,
            task_id=request.task_id,
            command=list(request.command),
            workdir=request.workdir or "/",
            timeout_s=request.timeout_s,
            idle_timeout_s=request.idle_timeout_s,
            resources=request.resources,
            image=request.image,
            build=request.build,
            restore=request.restore,
            network=request.network,
            pty=request.pty,
            verbose=request.verbose,
            pause_on_idle=request.pause_on_idle,
            pause_on_timeout=request.pause_on_timeout,
            guest_marker=new_guest_marker(),
            created_at=time.time(),
            boot_id=self._boot_id,
        )
        directory = self._journal.directory(request.sandbox_id)
        try:
            with _writing():
                directory.create(entry, request.env)
        except ResourceExhaustedError:
            directory.remove()
            raise
        sandbox = Sandbox(entry, directory, request.env, self._outside)
        self._start(sandbox)
        return sandbox

    def _admit_again(self, sandbox: Sandbox) -> None:
        """Pass if there is room for a paused sandbox, which counts already since it is waking; also on a node that drains: it is here."""
        own = sandbox.entry.resources
        reserved = self.reserved()
        others = Capacity(
            cpu_millis=reserved.cpu_millis - own.cpu_request_millis,
            memory_bytes=reserved.memory_bytes - own.memory_request_bytes,
            sandboxes=reserved.sandboxes - 1,
        )
        self._check_room(others, own)

    def _check_room(self, reserved: Capacity, wanted: Resources) -> None:
        checks = (
            ("sandboxes", reserved.sandboxes + 1, self.capacity.sandboxes),
            ("CPU thousandths", reserved.cpu_millis + wanted.cpu_request_millis, self.capacity.cpu_millis),
            ("memory bytes", reserved.memory_bytes + wanted.memory_request_bytes, self.capacity.memory_bytes),
        )
        for what, needed, have in checks:
            if needed > have:
                raise ResourceExhaustedError(
                    f"The node has {have} {what}; with this sandbox {needed} would be reserved.",
                    remedy="Ask for less, wait until others end, or add a node.",
                )
        if self._free_disk_bytes() <= 0:
            raise ResourceExhaustedError("The node's disk is full.", remedy="Free space on it, or add a node.")

    def _start(self, sandbox: Sandbox, *, adopt: bool = False) -> None:
        assert self._group is not None, "run() owns the actors"
        self._sandboxes[sandbox.sandbox_id] = sandbox
        self._group.create_task(self._live(sandbox, adopt=adopt), name=f"actor {sandbox.sandbox_id}")

    async def _live(self, sandbox: Sandbox, *, adopt: bool) -> None:
        try:
            await sandbox.run(adopt=adopt)
        except Exception:
            log.exception("sandbox actor failed", sandbox=sandbox.sandbox_id)
            await sandbox.abandon()

    def _adopt(self, directory: SandboxDirectory) -> None:
        entry = directory.load()
        if entry is None:
            log.warning("journal entry incomplete, dropped", sandbox=directory.sandbox_id)
            directory.remove()
            return
        try:
            env = directory.load_env() if entry.state not in ENDED else {}
        except Exception:
            log.exception("environment of a sandbox unreadable", sandbox=entry.sandbox_id)
            env = {}
        self._start(Sandbox(entry, directory, env, self._outside), adopt=True)

    async def take_layer(self, sandbox_id: str, layer_id: str, merge: Sequence[str]) -> float:
        """Make a running sandbox's changes a layer of this node. Idempotent by ``layer_id``.

        Returns: seconds that it stood still. Raises: NotFoundError, ConflictError: it has ended. InvalidError: the id.
        """
        sandbox = self.get(sandbox_id)
        async with sandbox.standing() as guest:
            await guest.call(Op.SYNC)
            with _writing():
                return await self._assembly.take_layer(sandbox.entry, layer_id, merge)

    async def take_memory(self, sandbox_id: str, order: MemoryOrder) -> Manifest:
        """Make a running sandbox's memory a snapshot, and its changes a layer, of this node. Idempotent by ``order.snapshot_id``.

        Once begun it goes to its end: a sandbox must not be left standing.

        Raises: NotFoundError, ConflictError: it has ended. InvalidError: an id. ResourceExhaustedError: no room.
        """
        sandbox = self.get(sandbox_id)
        async with sandbox.standing() as guest:
            await guest.call(Op.SYNC)
            with _writing():
                return await to_its_end(self._assembly.take_memory(sandbox.entry, order, sandbox))

    async def pause(self, sandbox_id: str) -> Sandbox:
        """Pause a sandbox; see ``Sandbox.pause``. Raises: NotFoundError, and what that does."""
        sandbox = self.get(sandbox_id)
        await sandbox.pause()
        return sandbox

    async def resume(self, sandbox_id: str) -> Sandbox:
        """Return a sandbox once it runs; a paused one is woken. Raises: NotFoundError, and what ``Sandbox.guest`` does."""
        sandbox = self.get(sandbox_id)
        await sandbox.guest()
        return sandbox

    async def set_network(self, sandbox_id: str, policy: EgressPolicy) -> None:
        """Let another egress policy hold for a sandbox. Raises: NotFoundError, and what ``Sandbox.set_network`` does."""
        await self.get(sandbox_id).set_network(policy)

    def network_log(self, sandbox_id: SandboxId) -> NetworkLog | None:
        """A sandbox's egress log; None if there is no such sandbox."""
        sandbox = self._sandboxes.get(sandbox_id)
        return sandbox.network_log if sandbox else None

    async def flush_network_logs(self) -> None:
        """Write down what egress logs have not yet. Raises: OSError: the disk is full; what is in memory stays."""
        for sandbox in self:
            sandbox.network_log.flush()

    async def quieten(self) -> None:
        """Let sandboxes cost less in which nothing runs. Raises: Error, OSError."""
        await self._assembly.quieten([sandbox.sandbox_id for sandbox in self if sandbox.state is State.RUNNING])

    def own_layers(self, sandbox: Sandbox) -> list[Path]:
        """Directories between the sandbox's image and its changes, the lowest first."""
        return self._assembly.own_layers(sandbox.entry)

    async def terminate_all(self) -> None:
        """End every sandbox, make nothing more ahead, and return when all is freed."""
        for sandbox in self:
            sandbox.terminate()
        for sandbox in self:
            while sandbox.state is not State.STOPPED:
                await sandbox.wait_change()
        await self.warm.close()

    # --- forgetting --------------------------------------------------------------------------------------------------------------------

    async def reconcile(self) -> None:
        """Remove what nobody owns, and records past their time. Takes no input: the journal and the kernel say what there is."""
        for sandbox in self:
            ended_at = sandbox.entry.ended_at
            if sandbox.state is State.STOPPED and time.time() - ended_at > self._record_retention_s:
                del self._sandboxes[sandbox.sandbox_id]
                await asyncio.to_thread(self._journal.directory(sandbox.sandbox_id).remove)
        self.warm.clear_away(await self._orphans())
        await self.warm.cleared()
        await self._assembly.forget_builds({sandbox.entry.runsc_build for sandbox in self if sandbox.state is not State.STOPPED})

    async def _orphans(self) -> list[SandboxId]:
        """Sandboxes of which something exists though they have ended, or never began."""
        spares = self.warm.held()
        exist = await self._assembly.owners() - spares - self.warm.held()
        return [one for one in exist if one not in self._sandboxes or self._sandboxes[one].state is State.STOPPED]


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    """Raises: ResourceExhaustedError: where the disk refused what the block wrote."""
    try:
        yield
    except OSError as error:
        raise ResourceExhaustedError(f"The node cannot write: {error.strerror}.", remedy="Free space on it, or add a node.") from error


async def _repeat(work: Callable[[], Awaitable[None]], interval_s: float) -> None:
    """Do it for ever; a failure is told, and the next time may succeed."""
    while True:
        await asyncio.sleep(interval_s)
        try:
            await work()
        except (Error, OSError) as error:
            log.error("not reconciled", what=work.__name__, error=str(error))
