"""What a sandbox may ask for: the range and default of every quantity in a ``SandboxSpec``.

Bounds and the arithmetic on them belong here; the form of strings (names, paths, variables) is in ``policies.specs``.
"""

from __future__ import annotations

from typing import Final

import msgspec

from cove.exception import InvalidError
from cove.wire.common_pb2 import Resources

MIB: Final = 1 << 20
GIB: Final = 1 << 30
TIB: Final = 1 << 40

DEFAULT_BURST_MILLIS: Final = 16_000
"""A CPU limit that nobody gave lies this far above the request: 16 cores."""


class Bound(msgspec.Struct, frozen=True):
    """The allowed values of one quantity, both ends included, and the value that 0 on the wire stands for."""

    minimum: int
    maximum: int
    default: int

    def check(self, field: str, value: int) -> int:
        """Return ``value``, or the default for 0.

        Raises:
            InvalidError: out of range; the text names field, value and range.
        """
        return self.check_given(field, value) if value else self.default

    def check_given(self, field: str, value: int) -> int:
        """Return ``value`` if it is in range; 0 is a value like any other here.

        Raises:
            InvalidError: out of range.
        """
        if not self.minimum <= value <= self.maximum:
            raise out_of_range(field, value, self.minimum, self.maximum)
        return value


class Limits(msgspec.Struct, frozen=True):
    """Bounds of one workspace."""

    cpu_request_millis: Bound = Bound(minimum=1, maximum=1_024_000, default=125)
    """Guaranteed share, thousandths of a core."""

    cpu_limit_millis: Bound = Bound(minimum=1, maximum=1_040_000, default=0)
    """Throttled above this; the default depends on the request: :data:`DEFAULT_BURST_MILLIS`."""

    memory_request_bytes: Bound = Bound(minimum=MIB, maximum=64 * TIB, default=128 * MIB)
    """Guaranteed memory."""

    memory_limit_bytes: Bound = Bound(minimum=16 * MIB, maximum=64 * TIB, default=0)
    """Killed above this. By default there is none of the sandbox's own: the node decides."""

    disk_limit_bytes: Bound = Bound(minimum=MIB, maximum=3 * TIB, default=16 * GIB)
    """Bytes that the sandbox may write."""

    max_tasks: Bound = Bound(minimum=16, maximum=131_072, default=4_096)
    """Processes and threads. The guest supervisor needs a few for itself."""

    timeout_s: Bound = Bound(minimum=1, maximum=86_400, default=300)
    """Lifetime. Operators may raise the maximum; :meth:`with_max_timeout`."""

    idle_timeout_s: Bound = Bound(minimum=1, maximum=86_400, default=0)
    """0: a sandbox is not ended for idleness."""

    def with_max_timeout(self, timeout_s: int) -> Limits:
        """The same bounds with another maximum lifetime; the default never lies above it."""
        lifetime = Bound(minimum=1, maximum=timeout_s, default=min(self.timeout_s.default, timeout_s))
        idle = Bound(minimum=1, maximum=timeout_s, default=0)
        return msgspec.structs.replace(self, timeout_s=lifetime, idle_timeout_s=idle)


DEFAULT_LIMITS: Final = Limits()


def fill_resources(asked: Resources, limits: Limits = DEFAULT_LIMITS) -> Resources:
    """``asked`` with every quantity checked and every 0 replaced by its default.

    A limit that is given alone lowers the default request to itself. ``memory_limit_bytes`` stays 0 when not given.

    Raises:
        InvalidError: a quantity is out of range, or a request lies above its limit.
    """
    cpu_limit = limits.cpu_limit_millis.check("cpu limit", asked.cpu_limit_millis)
    cpu_request = _request(limits.cpu_request_millis, "cpu request", asked.cpu_request_millis, cpu_limit)
    memory_limit = limits.memory_limit_bytes.check("memory limit", asked.memory_limit_bytes)
    memory_request = _request(limits.memory_request_bytes, "memory request", asked.memory_request_bytes, memory_limit)
    return Resources(
        cpu_request_millis=cpu_request,
        cpu_limit_millis=cpu_limit or cpu_request + DEFAULT_BURST_MILLIS,
        memory_request_bytes=memory_request,
        memory_limit_bytes=memory_limit,
        disk_limit_bytes=limits.disk_limit_bytes.check("disk limit", asked.disk_limit_bytes),
        max_tasks=limits.max_tasks.check("max_tasks", asked.max_tasks),
    )


def _request(bound: Bound, field: str, asked: int, limit: int) -> int:
    if not asked:
        return min(bound.default, limit) if limit else bound.default
    if limit and asked > limit:
        raise InvalidError(
            f"The {field} of {asked} is above its limit of {limit}.",
            remedy="Give (request, limit) with request <= limit.",
            context={"field": field, "value": str(asked), "maximum": str(limit)},
        )
    return bound.check_given(field, asked)


def out_of_range(field: str, value: int | float, minimum: int | float, maximum: int | float) -> InvalidError:
    """The error for ``value`` outside ``minimum`` to ``maximum``."""
    return InvalidError(
        f"{field} is {value}.",
        remedy=f"Allowed are {minimum} to {maximum}.",
        context={"field": field, "value": str(value), "minimum": str(minimum), "maximum": str(maximum)},
    )
