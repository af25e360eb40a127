"""What a node has booted ahead, as its router knows it: ids by shape, each given away once. In memory alone: nodes tell it anew."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from cove.types import NodeId, SandboxId


class Starts(msgspec.Struct, frozen=True):
    """Sandboxes since a node's daemon began."""

    warm: int = 0
    """That were a spare."""
    cold: int = 0


class OfferedSpare(msgspec.Struct, frozen=True):
    """One that was given to a create."""

    node_id: NodeId
    sandbox_id: SandboxId


class NodeSpares:
    """The spares of one node."""

    def __init__(self) -> None:
        self.starts = Starts()
        self._shapes: dict[SandboxId, str] = {}
        self._free: dict[str, list[SandboxId]] = {}
        self._taken: set[SandboxId] = set()
        """Given away, as far as the node has not told that it has them no more: its news may be older than the create on the way to it."""

    def __len__(self) -> int:
        return len(self._shapes)

    def tell(self, spares: Mapping[SandboxId, str], starts: Starts) -> None:
        """The node has these, by shape, and no others."""
        self.starts = starts
        self._shapes = dict(spares)
        self._taken &= spares.keys()
        self._free = {}
        for sandbox_id, shape in spares.items():
            if sandbox_id not in self._taken:
                self._free.setdefault(shape, []).append(sandbox_id)

    def take(self, shape: str) -> SandboxId | None:
        """One of this shape, which nobody else is given; None: there is none."""
        free = self._free.get(shape)
        if not free:
            return None
        sandbox_id = free.pop(0)
        self._taken.add(sandbox_id)
        return sandbox_id

    def give_back(self, sandbox_id: SandboxId) -> None:
        """No sandbox came to be under it after all."""
        if sandbox_id in self._taken and sandbox_id in self._shapes:
            self._taken.discard(sandbox_id)
            self._free.setdefault(self._shapes[sandbox_id], []).append(sandbox_id)
