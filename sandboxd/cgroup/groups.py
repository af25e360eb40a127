"""The node's control groups: ``/<instance>`` for all sandboxes together and ``/<instance>/<sandbox id>`` for each.

runsc makes the groups of sandboxes and writes their limits from the OCI spec; here they are read, killed and removed. All state is the
kernel's.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final, Self

from cove.exception import ConflictError, InternalFailure, NotFoundError, ResourceExhaustedError
from cove.types import SandboxId
from sandboxd import kernel
from sandboxd.cgroup import freezer, killer
from sandboxd.cgroup.hierarchy import Hierarchies, find_hierarchies
from sandboxd.cgroup.parent import default_max_tasks, make_parent
from sandboxd.cgroup.usage import Usage, UsageV1, UsageV2
from sandboxd.naming import check_instance, check_sandbox_id, sandbox_ids

KILL_TIMEOUT_S: Final = 5.0
"""A killed process is gone in milliseconds unless the kernel itself is stuck."""

LEAST_MEMORY_BYTES: Final = 64 * 2**20
"""With less for all sandboxes together none would start."""


class Cgroups:
    """Control groups by sandbox id. Readings are a few file reads, 0.1 ms; :meth:`kill` waits and belongs into a thread."""

    def __init__(self, hierarchies: Hierarchies, *, instance: str, node_memory_bytes: int) -> None:
        """``hierarchies``: where to look; :meth:`open` finds them."""
        self.cores = len(os.sched_getaffinity(0))
        """Cores that sandboxes can run on."""
        self.node_memory_bytes = node_memory_bytes
        """What all sandboxes together may use."""
        self._hierarchies = hierarchies
        self._instance = check_instance(instance)
        self._usage: Usage = UsageV2() if hierarchies.version == 2 else UsageV1()
        self._cpu = "cpu" if hierarchies.version == 2 else "cpuacct"
        self._freezer = "memory" if hierarchies.version == 2 else "freezer"  # every group of v2 can be frozen

    @classmethod
    def open(cls, *, instance: str, memory_reserve_bytes: int, max_tasks: int | None = None) -> Self:
        """Make the group of all sandboxes, or bring its limits up to date; a few milliseconds.

        Args:    memory_reserve_bytes: of the machine's memory, what sandboxes together must leave.
                 max_tasks: host processes and threads of all sandboxes together; 80 % of what the kernel allows when left out.
        Raises:  InternalFailure: this machine lacks a controller. ResourceExhaustedError: the reserve leaves nothing. OSError.
        """
        memory_bytes = _machine_memory_bytes() - memory_reserve_bytes
        if memory_bytes < LEAST_MEMORY_BYTES:
            raise ResourceExhaustedError("The memory reserve leaves nothing for sandboxes.", remedy="Lower memory_reserve_bytes.")
        groups = cls(find_hierarchies(kernel.mounts()), instance=instance, node_memory_bytes=memory_bytes)
        make_parent(groups._hierarchies, instance, memory_bytes=memory_bytes, max_tasks=max_tasks or default_max_tasks())
        return groups

    def path_for(self, sandbox_id: SandboxId) -> str:
        """``linux.cgroupsPath`` of the OCI spec."""
        return f"/{self._instance}/{check_sandbox_id(sandbox_id)}"

    def oom_kills(self, sandbox_id: SandboxId) -> int:
        """Processes that the kernel killed for want of memory; 0 as well if there is no such group."""
        try:
            return self._usage.oom_kills(self._group(sandbox_id, "memory"))
        except FileNotFoundError:
            return 0

    def set_memory_limit(self, sandbox_id: SandboxId, limit_bytes: int) -> None:
        """Change the memory limit of a group that runsc has made. Raises: OSError."""
        file = "memory.max" if self._hierarchies.version == 2 else "memory.limit_in_bytes"
        (self._group(sandbox_id, "memory") / file).write_text(str(limit_bytes))

    def set_cpus(self, sandbox_id: SandboxId, cpus: str) -> None:
        """Change the cores (a cpuset such as ``0,3``) of a group that runsc has made. Raises: OSError."""
        (self._group(sandbox_id, "cpuset") / "cpuset.cpus").write_text(cpus)

    def memory_bytes(self, sandbox_id: SandboxId) -> int:
        """Memory in use, less file cache that is free to go. Raises: NotFoundError."""
        try:
            return self._usage.memory_bytes(self._group(sandbox_id, "memory"))
        except FileNotFoundError:
            raise _not_found(sandbox_id) from None

    def memory_peak_bytes(self, sandbox_id: SandboxId) -> int:
        """The most memory that was ever charged, file cache included. Raises: NotFoundError."""
        try:
            return self._usage.memory_peak_bytes(self._group(sandbox_id, "memory"))
        except FileNotFoundError:
            raise _not_found(sandbox_id) from None

    def cpu_seconds(self, sandbox_id: SandboxId) -> float:
        """CPU time used since the group was made. Raises: NotFoundError."""
        try:
            return self._usage.cpu_seconds(self._group(sandbox_id, self._cpu))
        except FileNotFoundError:
            raise _not_found(sandbox_id) from None

    def pids(self, sandbox_id: SandboxId) -> frozenset[int]:
        """Host processes in the sandbox's group of any hierarchy; none if there is no group."""
        return killer.read_pids(self._groups(sandbox_id))

    def processes(self, sandbox_id: SandboxId) -> frozenset[int]:
        """Host processes of a sandbox that runs, 0.05 ms; none if there is no group. :meth:`pids` also finds them in half a group."""
        return killer.read_pids([self._group(sandbox_id, self._cpu)])

    def freeze(self, sandbox_id: SandboxId) -> None:
        """Stop every process of the sandbox, those of the container runtime included; milliseconds.

        Raises:  InternalFailure: they do not stop. NotFoundError: no such group.
        """
        try:
            freezer.freeze(self._group(sandbox_id, self._freezer))
        except FileNotFoundError as error:
            raise _not_found(sandbox_id) from error

    def thaw(self, sandbox_id: SandboxId) -> None:
        """Undo :meth:`freeze`. Idempotent."""
        freezer.thaw(self._group(sandbox_id, self._freezer))

    def kill(self, sandbox_id: SandboxId, timeout_s: float = KILL_TIMEOUT_S) -> None:
        """SIGKILL every process of the sandbox and wait until all are gone: blocks for milliseconds. Idempotent.

        Raises:  InternalFailure: some did not die within ``timeout_s``.
        """
        if not killer.kill_all(self._groups(sandbox_id), timeout_s):
            raise InternalFailure(f"Processes of {sandbox_id} did not die within {timeout_s:g} s.", remedy="Look for processes in state D.")

    def remove(self, sandbox_id: SandboxId) -> None:
        """Remove the sandbox's groups in every hierarchy. Idempotent; whole or half-made.

        Raises:  ConflictError: processes are left in one; the others are gone. OSError.
        """
        self._remove(self._groups(sandbox_id), f"sandbox {sandbox_id}")

    def list_(self) -> frozenset[SandboxId]:
        """Every sandbox that has a group in any hierarchy."""
        parents = [root / self._instance for root in self._hierarchies.roots]
        return sandbox_ids(entry.name for parent in parents if parent.is_dir() for entry in parent.iterdir())

    def close(self) -> None:
        """Remove the group of all sandboxes. Idempotent. Raises: ConflictError: there still is a sandbox's."""
        held = self.list_()
        if held:
            raise ConflictError(f"{len(held)} sandboxes still have control groups.", remedy="Remove the sandboxes first.")
        self._remove([root / self._instance for root in self._hierarchies.roots], "all sandboxes")

    def _remove(self, groups: list[Path], owner: str) -> None:
        busy = [str(group) for top in groups for group in killer.tree(top) if not _removed(group)]
        if busy:
            remedy = "Kill its processes, then remove it again."
            raise ConflictError(f"The control groups of {owner} are in use: {', '.join(busy)}.", remedy=remedy, retryable=True)

    def _group(self, sandbox_id: SandboxId, controller: str) -> Path:
        return self._hierarchies.controllers[controller] / self._instance / check_sandbox_id(sandbox_id)

    def _groups(self, sandbox_id: SandboxId) -> list[Path]:
        name = check_sandbox_id(sandbox_id)
        return [root / self._instance / name for root in self._hierarchies.roots]


def _removed(group: Path) -> bool:
    try:
        group.rmdir()
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
            raise
        return False
    return True


def _not_found(sandbox_id: SandboxId) -> NotFoundError:
    return NotFoundError(f"Sandbox {sandbox_id} has no control group on this node.")


def _machine_memory_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
