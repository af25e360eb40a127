"""The Assembly protocol without a kernel: a directory for the FIFOs, a simulated container, nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Collection, Sequence
from pathlib import Path

from cove.exception import NotFoundError, UnimplementedError
from cove.types import SandboxId
from policies.egress import EgressPolicy
from sandboxd.assembly import INIT_PATH, Made, MemoryOrder, Subject
from sandboxd.channel.link import Fifos
from sandboxd.journal import Entry
from sandboxd.memory.manifest import Manifest
from sandboxd.runtime import Container, ContainerStatus
from sandboxd.sim.runtime import SimMachine, SimRuntime


class SimAssembly:
    """Makes simulated sandboxes.

    Args:
        boot_s: how long a container takes to start.
    """

    def __init__(self, machine: SimMachine, run_dir: Path, *, boot_s: float = 0.0) -> None:
        self.runtime = SimRuntime(machine)
        self._machine = machine
        self._sandboxes = run_dir / "sandboxes"
        self._sandboxes.mkdir(parents=True, exist_ok=True)
        self._boot_s = boot_s

    async def make(self, entry: Entry) -> Made:
        if not entry.image.base.startswith("debian:"):
            raise NotFoundError(f"There is no image {entry.image.base!r}.", remedy="Simulated sandboxes have Debian only.")
        directory = self._sandboxes / entry.sandbox_id
        directory.mkdir()
        fifos = Fifos(directory)
        fifos.make()
        fifos.open()
        container = Container(
            sandbox_id=entry.sandbox_id,
            directory=directory,
            rootfs=directory,
            init=INIT_PATH,
            hostname="sim",
            env={},
            resources={},
            cgroups_path="/sim",
            netns=None,
        )
        await asyncio.sleep(self._boot_s)
        await self.runtime.create(container, stdin=fifos.to_guest, stdout=fifos.from_guest)
        if entry.paused_at:
            self.runtime.take_back(container)
        else:
            await self.runtime.start(container)
        return Made(container, fifos, {"PATH": "/usr/bin:/bin"}, "im-simulated")

    def reopen(self, sandbox_id: SandboxId) -> Fifos:
        fifos = Fifos(self._sandboxes / sandbox_id)
        fifos.open()
        return fifos

    async def kill(self, sandbox_id: SandboxId) -> None:
        await self._machine.kill(sandbox_id)

    @contextlib.asynccontextmanager
    async def pausing(self, entry: Entry) -> AsyncIterator[None]:
        await self.runtime.pause(entry.sandbox_id)
        try:
            self.runtime.set_aside(entry.sandbox_id)
            yield
        except BaseException:
            self._machine.paused.pop(entry.sandbox_id, None)
            await self.runtime.resume(entry.sandbox_id)
            raise

    async def dismantle(self, sandbox_id: SandboxId) -> None:
        await self.runtime.delete(sandbox_id)
        shutil.rmtree(self._sandboxes / sandbox_id, ignore_errors=True)

    async def freeze(self, sandbox_id: SandboxId) -> None:
        await self.runtime.pause(sandbox_id)

    async def thaw(self, sandbox_id: SandboxId) -> None:
        if await self.runtime.status(sandbox_id) is ContainerStatus.PAUSED:
            await self.runtime.resume(sandbox_id)

    async def forget_memory(self, sandbox_id: SandboxId) -> None:
        await self._machine.forget(sandbox_id)

    async def free(self, sandbox_id: SandboxId) -> None:
        await self.dismantle(sandbox_id)
        await self.forget_memory(sandbox_id)

    async def quieten(self, running: Collection[SandboxId]) -> None:
        """Simulated sandboxes cost nothing."""

    def stir(self, sandbox_id: SandboxId) -> None:
        """They are always awake."""

    def rest(self, sandbox_id: SandboxId) -> None:
        """They are always awake."""

    async def repair(self) -> None:
        """Simulated sandboxes stand on nothing."""

    async def set_network(self, sandbox_id: SandboxId, policy: EgressPolicy) -> None:
        """There is no network."""

    def own_layers(self, entry: Entry) -> list[Path]:
        return []

    async def take_layer(self, entry: Entry, layer_id: str, merge: Sequence[str]) -> float:
        """There are no files to keep."""
        return 0.0

    async def take_memory(self, entry: Entry, order: MemoryOrder, subject: Subject) -> Manifest:
        raise UnimplementedError("Simulated sandboxes have no memory that could be kept.", remedy="Use a node with runsc.")

    async def forget_builds(self, used: Collection[str]) -> None:
        """There is one."""

    async def owners(self) -> frozenset[SandboxId]:
        return await self.runtime.list_() | self._machine.paused.keys() | {SandboxId(path.name) for path in self._sandboxes.iterdir()}
