"""The Runtime protocol over simulated containers."""

from __future__ import annotations

import asyncio
import os
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import msgspec

from cove.exception import UnimplementedError
from cove.types import SandboxId
from sandboxd.runtime import Checkpoint, Container, ContainerStatus, RuntimeFailed
from sandboxd.sim.guest import SimGuest


class SimContainer(msgspec.Struct):
    status: ContainerStatus
    stdin: int
    stdout: int
    dead: asyncio.Event
    guest: SimGuest | None = None


class SimMachine:
    """What a kernel would hold: containers that outlive the daemon (and its SimRuntime)."""

    def __init__(self) -> None:
        self.containers: dict[SandboxId, SimContainer] = {}
        self.paused: dict[SandboxId, SimGuest] = {}
        """What a disk would hold: guests without a container."""
        self.ports: dict[int, int] = {}
        """Port inside to port of this machine, where a test's server has another."""

    async def kill(self, sandbox_id: SandboxId) -> None:
        """SIGKILL to the sentry."""
        container = self.containers.get(sandbox_id)
        if container is None or container.status is ContainerStatus.STOPPED:
            return
        container.status = ContainerStatus.STOPPED
        if container.guest is not None and container.guest is not self.paused.get(sandbox_id):
            await container.guest.stop()
        for fd in (container.stdin, container.stdout):
            os.close(fd)
        container.dead.set()

    async def forget(self, sandbox_id: SandboxId) -> None:
        """Lose what the disk has of a sandbox. Idempotent."""
        if guest := self.paused.pop(sandbox_id, None):
            await guest.stop()


class SimRuntime:
    """A runtime over one machine; several may follow each other, as daemons do."""

    def __init__(self, machine: SimMachine) -> None:
        self._machine = machine

    async def create(self, container: Container, *, stdin: int, stdout: int) -> None:
        if container.sandbox_id in self._machine.containers:
            raise RuntimeFailed(f"container {container.sandbox_id} exists")
        made = SimContainer(ContainerStatus.CREATED, os.dup(stdin), os.dup(stdout), asyncio.Event())
        self._machine.containers[container.sandbox_id] = made

    async def start(self, container: Container) -> None:
        made = self._find(container.sandbox_id, ContainerStatus.CREATED)
        made.guest = SimGuest(made.stdin, made.stdout, self._machine.ports)
        made.status = ContainerStatus.RUNNING

    async def status(self, sandbox_id: SandboxId) -> ContainerStatus | None:
        container = self._machine.containers.get(sandbox_id)
        return container.status if container else None

    async def died(self, sandbox_id: SandboxId) -> None:
        if (container := self._machine.containers.get(sandbox_id)) is not None:
            await container.dead.wait()

    async def pause(self, sandbox_id: SandboxId) -> None:
        container = self._find(sandbox_id, ContainerStatus.RUNNING)
        container.status = ContainerStatus.PAUSED
        assert container.guest is not None
        container.guest.pause()

    async def resume(self, sandbox_id: SandboxId) -> None:
        container = self._find(sandbox_id, ContainerStatus.PAUSED)
        container.status = ContainerStatus.RUNNING
        assert container.guest is not None
        container.guest.resume()

    def ready_checkpoint(self, sandbox_id: SandboxId, directory: Path) -> AbstractAsyncContextManager[Checkpoint]:
        raise _no_memory()

    def set_aside(self, sandbox_id: SandboxId) -> None:
        """In the place of a checkpoint: the machine has the guest of a paused container when that is gone, too."""
        guest = self._find(sandbox_id, ContainerStatus.PAUSED).guest
        assert guest is not None
        self._machine.paused[sandbox_id] = guest

    def take_back(self, container: Container) -> None:
        """In the place of a restore: a created container goes on with the guest that was set aside."""
        made = self._find(container.sandbox_id, ContainerStatus.CREATED)
        made.guest = self._machine.paused.pop(container.sandbox_id)
        made.guest.move(made.stdin, made.stdout)
        made.status = ContainerStatus.RUNNING

    async def restore(self, container: Container, directory: Path) -> None:
        raise _no_memory()

    async def delete(self, sandbox_id: SandboxId) -> None:
        await self._machine.kill(sandbox_id)
        self._machine.containers.pop(sandbox_id, None)

    async def list_(self) -> frozenset[SandboxId]:
        return frozenset(self._machine.containers)

    def _find(self, sandbox_id: SandboxId, status: ContainerStatus) -> SimContainer:
        container = self._machine.containers.get(sandbox_id)
        if container is None or container.status is not status:
            raise RuntimeFailed(f"container {sandbox_id} is {container.status if container else 'unknown'}, not {status}")
        return container


def _no_memory() -> UnimplementedError:
    return UnimplementedError("Simulated sandboxes have no memory that could be kept.", remedy="Use a node with runsc.")
