# Written by `make facade` from cove/_async/snapshot.py and its parts: change those, not this.
# It has every method of theirs with signature and documentation, for callers that block and that await: hence its length.
"""Snapshots of running sandboxes: their memory, processes and files at one moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cove._async.client import _Client
from cove._async.snapshot import _SandboxSnapshot
from cove._dual import Face, Iteration, iteration_function, method, unwrap, wrap

if TYPE_CHECKING:
    from cove.client import Client
    from cove.types import SnapshotDiff, SnapshotInfo


class SandboxSnapshot(Face):
    """A sandbox at one moment, with its memory and processes: :meth:`cove.Sandbox.from_snapshot` makes sandboxes that go on from there."""

    __slots__ = ()
    _impl: _SandboxSnapshot

    @staticmethod
    def from_id(sandbox_snapshot_id: str, client: Client | None = None) -> SandboxSnapshot:
        """A snapshot by its id. Whether there is such a one shows when it is used.

        Args:    client: of the server that has it, instead of the default one.
        Raises:  InvalidError: not an id of a snapshot.
        """
        result: SandboxSnapshot = wrap(_SandboxSnapshot.from_id(sandbox_snapshot_id, unwrap(client, _Client)))
        return result

    @staticmethod
    @iteration_function
    def list(*, sandbox_id: str | None = None, client: Client | None = None) -> Iteration[SandboxSnapshot]:
        """The snapshots that there are, newest first.

        Args:    sandbox_id: only those of this sandbox.
        """
        return Iteration(_SandboxSnapshot.list(sandbox_id=sandbox_id, client=unwrap(client, _Client)), wrapped=True)

    @property
    def object_id(self) -> str:
        """Its id (``sn-…``), for :meth:`from_id`."""
        return self._impl.object_id

    @method
    async def hydrate(self, client: Client | None = None) -> SandboxSnapshot:
        """Make sure that there is such a snapshot. Seldom needed.

        Raises:  NotFoundError: there is none (any more).
        """
        result: SandboxSnapshot = wrap(await self._impl.hydrate(unwrap(client, _Client)))
        return result

    @method
    async def info(self) -> SnapshotInfo:
        """What the server knows of it now: size, origin, processes, until when it is kept.

        Raises:  NotFoundError: there is none (any more).
        """
        return await self._impl.info()

    @method
    async def verify(self) -> None:
        """Have every byte of its memory compared with what it was when it was taken, on its node and in the store.

        Raises:  DataLossError: naming what is damaged. NotFoundError: there is no such snapshot.
        """
        await self._impl.verify()

    @method
    async def diff(self, other: SandboxSnapshot) -> SnapshotDiff:
        """What is different in ``other``: files, processes, and ports that something listens on. Both must be on one server.

        Raises:  NotFoundError: one of them is not there (any more).
        """
        return await self._impl.diff(unwrap(other, _SandboxSnapshot))

    @method
    async def pin(self) -> None:
        """Keep it, whatever happens: it neither expires nor can be deleted until :meth:`unpin`. Raises: NotFoundError."""
        await self._impl.pin()

    @method
    async def unpin(self, ttl: float | None = None) -> None:
        """Let it be deleted again.

        Args:    ttl: seconds from now on after which it goes by itself; it is kept until it is deleted when left out.
        Raises:  NotFoundError.
        """
        await self._impl.unpin(ttl)

    @method
    async def delete(self) -> None:
        """Delete it, with its memory and its files. Sandboxes that were restored from it go on.

        Raises:  NotFoundError: there is none (any more). ConflictError: it is pinned.
        """
        await self._impl.delete()


__all__ = ["SandboxSnapshot"]
