"""What the daemon needs of a container runtime. ``runsc.run`` and ``sim`` implement it; tests/conformance holds both to this page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

import msgspec

from cove.exception import InternalFailure
from cove.types import SandboxId


class ContainerStatus(StrEnum):
    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"


class Container(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a runtime needs to make one container.

    ``directory`` is the container's own, empty but for the FIFOs; the runtime may keep files there and must not need them after ``delete``.
    """

    sandbox_id: SandboxId
    directory: Path
    rootfs: Path
    init: str
    """Absolute path of PID 1 inside."""
    hostname: str
    env: Mapping[str, str]
    """Environment of PID 1 alone."""
    resources: Mapping[str, Any]
    """``linux.resources`` of the OCI spec."""
    cgroups_path: str
    netns: Path | None
    """Network namespace with ``eth0``; None = loopback only."""
    build: str = ""
    """Which build of the runtime makes it, where there are several; empty: the current one."""
    start_prefix: Sequence[str] = ()
    """argv prefix for the command that brings the network up."""


class RuntimeFailed(InternalFailure):
    """A runtime command failed; the cause has the end of what it said."""

    code = "internal_failure"


class Checkpoint(Protocol):
    """One writing of memory. Each method once, in this order; :meth:`resume` unless it shall never go on."""

    async def pause(self) -> None:
        """Stop every process inside. Raises: RuntimeFailed: it does not run."""
        ...

    async def write(self) -> None:
        """Write the memory; it stays paused.

        Raises: ConflictError: something in there cannot be kept. ResourceExhaustedError: the disk is full. RuntimeFailed.
        """
        ...

    async def resume(self) -> None:
        """Let it go on. Raises: RuntimeFailed."""
        ...


class Runtime(Protocol):
    """Containers by sandbox id. All methods may take tens to hundreds of milliseconds."""

    async def create(self, container: Container, *, stdin: int, stdout: int) -> None:
        """Make the container; its PID 1 does not run yet. The descriptors stay the caller's.

        Raises: RuntimeFailed: it does not exist then, or ``delete`` removes what is left.
        """
        ...

    async def start(self, container: Container) -> None:
        """Let PID 1 run. Raises: RuntimeFailed."""
        ...

    async def status(self, sandbox_id: SandboxId) -> ContainerStatus | None:
        """What there is now; None if there is no such container."""
        ...

    async def died(self, sandbox_id: SandboxId) -> None:
        """Return once the container's sentry is gone; at once if there is none."""
        ...

    async def pause(self, sandbox_id: SandboxId) -> None:
        """Stop every process inside. Raises: RuntimeFailed: it does not run."""
        ...

    async def resume(self, sandbox_id: SandboxId) -> None:
        """Undo :meth:`pause`. Raises: RuntimeFailed: it is not paused."""
        ...

    def ready_checkpoint(self, sandbox_id: SandboxId, directory: Path) -> AbstractAsyncContextManager[Checkpoint]:
        """Make everything ready, while it runs, for writing the memory of a container into ``directory``, which is made.

        Raises: RuntimeFailed, OSError. UnimplementedError: this runtime cannot.
        """
        ...

    async def restore(self, container: Container, directory: Path) -> None:
        """In the place of :meth:`start`: let a created container go on from memory. Raises: RuntimeFailed. UnimplementedError."""
        ...

    async def delete(self, sandbox_id: SandboxId) -> None:
        """Kill what runs and free everything of the container. Idempotent; also for half-made containers."""
        ...

    async def list_(self) -> frozenset[SandboxId]:
        """Every container of this runtime's root directory, half-made ones included."""
        ...
