"""How many connections the edge holds at a time: in all, and into one sandbox."""

from __future__ import annotations

from collections import Counter

from cove.types import SandboxId


class ConnectionLimits:
    """Counts connections; one instance per router."""

    def __init__(self, *, in_all: int, per_sandbox: int) -> None:
        self._in_all, self._per_sandbox = in_all, per_sandbox
        self._count = 0
        self._counts: Counter[SandboxId] = Counter()

    def __len__(self) -> int:
        return self._count

    def of(self, sandbox_id: SandboxId) -> int:
        """Connections into a sandbox."""
        return self._counts[sandbox_id]

    def enter(self, sandbox_id: SandboxId | None) -> bool:
        """Count one more; False: there are too many, and it is not counted. None: it is not yet known which sandbox it is for."""
        if self._count >= self._in_all or (sandbox_id is not None and self._counts[sandbox_id] >= self._per_sandbox):
            return False
        self._count += 1
        if sandbox_id is not None:
            self._counts[sandbox_id] += 1
        return True

    def leave(self, sandbox_id: SandboxId | None) -> None:
        """One that entered has gone."""
        self._count -= 1
        if sandbox_id is not None:
            self._counts[sandbox_id] -= 1
            if not self._counts[sandbox_id]:
                del self._counts[sandbox_id]
