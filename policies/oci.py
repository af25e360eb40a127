"""``linux.resources`` of the OCI runtime spec from a sandbox's limits. Pure.

Source: OCI runtime-spec 1.0.2, config-linux, "Control groups".
"""

from __future__ import annotations

from typing import Any, Final, Protocol

DEFAULT_CPU_PERIOD_US: Final = 100_000
"""Length of the period that a CPU quota is counted in; the kernel's own default."""

SENTRY_MEMORY_BYTES: Final = 32 * 2**20
"""Added to the memory limit for sentry and gofer, which the same cgroup pays for: 13 MiB measured for an idle sandbox, and some 0.1 MiB a
process after that."""

HOST_TASKS_PER_TASK: Final = 2
"""systrap traces each process of a sandbox with a process of its own; threads cost the host nothing."""

SENTRY_TASKS: Final = 512
"""Threads of sentry and gofer: some 20 idle, and one more for each system call of theirs that blocks."""

_SHARES_PER_CORE: Final = 1024
_LEAST_SHARES: Final = 2
_LEAST_QUOTA_US: Final = 1000
"""The kernel refuses less: a limit under 10 thousandths of a core becomes 10."""


class Limited(Protocol):
    """What this module reads of a sandbox's resources; ``cove.v1.Resources`` fits. A limit of 0 is no limit but the node's."""

    @property
    def cpu_request_millis(self) -> int: ...
    @property
    def cpu_limit_millis(self) -> int: ...
    @property
    def memory_limit_bytes(self) -> int: ...
    @property
    def max_tasks(self) -> int: ...


def visible_cores(cpu_limit_millis: int, cores: int) -> int:
    """Whole cores that a program inside should count on: what its limit lets it use, at most the machine's."""
    return min(cores, max(1, -(-cpu_limit_millis // 1000)) if cpu_limit_millis else cores)


def oci_resources(resources: Limited, *, cpus: str, cores: int, node_memory_bytes: int) -> dict[str, Any]:
    """The cgroup values that a sandbox starts with.

    ``cpus``: a cpuset, "0,3": the sentry counts its cores once, at its start, and shows that number inside. Once it runs the set is widened
    to all cores, as the quota is the limit and the set would only crowd sandboxes onto the same ones.

    CPU: the request is its share under contention; the limit becomes a quota only where it is below the machine's ``cores``, as any other
    throttles nobody. Memory: never more than all sandboxes together may have, ``node_memory_bytes``; see :func:`running_memory_limit` for
    what it becomes. Tasks: counted on the host, so this only backs up the limit inside.
    """
    return {
        "cpu": {**_cpu(resources.cpu_request_millis, resources.cpu_limit_millis, cores), "cpus": cpus},
        "memory": {"limit": _memory(resources.memory_limit_bytes, node_memory_bytes)},
        "pids": {"limit": resources.max_tasks * HOST_TASKS_PER_TASK + SENTRY_TASKS},
    }


def _cpu(request_millis: int, limit_millis: int, cores: int) -> dict[str, int]:
    shares = {"shares": max(_LEAST_SHARES, request_millis * _SHARES_PER_CORE // 1000)}
    if not 0 < limit_millis < cores * 1000:
        return shares
    quota_us = max(_LEAST_QUOTA_US, limit_millis * DEFAULT_CPU_PERIOD_US // 1000)
    return {**shares, "quota": quota_us, "period": DEFAULT_CPU_PERIOD_US}


def _memory(limit_bytes: int, node_memory_bytes: int) -> int:
    return min(limit_bytes, node_memory_bytes) if limit_bytes else node_memory_bytes


def running_memory_limit(limit_bytes: int, node_memory_bytes: int) -> int:
    """What the memory group's limit becomes once the sentry runs.

    The sentry takes the limit that it finds at its start for the machine's memory and shows it inside; what sentry and gofer need
    themselves comes on top afterwards, so that programs can have all that they see.
    """
    return min(limit_bytes + SENTRY_MEMORY_BYTES, node_memory_bytes) if limit_bytes else node_memory_bytes
