"""Snapshots of running sandboxes: their memory, processes and files at one moment."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from cove import _spec
from cove._async import _changes
from cove._async.base import Exposed
from cove._async.client import _Client, connection_of
from cove._snapshot_diff import port_changes, process_changes
from cove._transport.connection import Connection
from cove._transport.methods import IMAGE_DIFF, SNAPSHOT_DELETE, SNAPSHOT_GET, SNAPSHOT_LIST, SNAPSHOT_PIN, SNAPSHOT_VERIFY
from cove.exception import InvalidError
from cove.types import MachineKind, SnapshotChild, SnapshotDiff, SnapshotInfo, SnapshotPort, SnapshotProcess
from cove.wire import image_pb2, snapshot_pb2

LIST_PAGE: Final = 100
"""Snapshots that one question for a list brings."""


class _SandboxSnapshot(Exposed):
    """A sandbox at one moment, with its memory and processes: :meth:`cove.Sandbox.from_snapshot` makes sandboxes that go on from there."""

    def __init__(self, snapshot_id: str, *, client: _Client | None = None, connection: Connection | None = None) -> None:
        self._snapshot_id = snapshot_id
        self._client = client
        self._known_connection = connection

    @classmethod
    def from_id(cls, sandbox_snapshot_id: str, client: _Client | None = None) -> _SandboxSnapshot:
        """A snapshot by its id. Whether there is such a one shows when it is used.

        Args:    client: of the server that has it, instead of the default one.
        Raises:  InvalidError: not an id of a snapshot.
        """
        if not isinstance(sandbox_snapshot_id, str) or not sandbox_snapshot_id.startswith("sn-"):
            raise InvalidError(
                f"{sandbox_snapshot_id!r:.80} is not the id of a snapshot.", remedy="Such an id begins with sn-; see object_id."
            )
        return cls(sandbox_snapshot_id, client=client)

    @staticmethod
    async def list(*, sandbox_id: str | None = None, client: _Client | None = None) -> AsyncIterator[_SandboxSnapshot]:
        """The snapshots that there are, newest first.

        Args:    sandbox_id: only those of this sandbox.
        """
        connection = connection_of(client)
        request = snapshot_pb2.SnapshotListRequest(sandbox_id=sandbox_id or "", limit=LIST_PAGE)
        while True:
            page = await connection.control.call(SNAPSHOT_LIST, request)
            for info in page.snapshots:
                yield _SandboxSnapshot(info.snapshot_id, connection=connection)
            if not page.next_cursor:
                return
            request.cursor = page.next_cursor

    @property
    def object_id(self) -> str:
        """Its id (``sn-…``), for :meth:`from_id`."""
        return self._snapshot_id

    async def hydrate(self, client: _Client | None = None) -> _SandboxSnapshot:
        """Make sure that there is such a snapshot. Seldom needed.

        Raises:  NotFoundError: there is none (any more).
        """
        if client is not None:
            self._known_connection = client.connection
        await self.info()
        return self

    async def info(self) -> SnapshotInfo:
        """What the server knows of it now: size, origin, processes, until when it is kept.

        Raises:  NotFoundError: there is none (any more).
        """
        request = snapshot_pb2.SnapshotGetRequest(snapshot_id=self._snapshot_id)
        return snapshot_info(await self._connection.control.call(SNAPSHOT_GET, request))

    async def verify(self) -> None:
        """Have every byte of its memory compared with what it was when it was taken, on its node and in the store.

        Raises:  DataLossError: naming what is damaged. NotFoundError: there is no such snapshot.
        """
        await self._connection.control.call(SNAPSHOT_VERIFY, snapshot_pb2.SnapshotVerifyRequest(snapshot_id=self._snapshot_id))

    async def diff(self, other: _SandboxSnapshot) -> SnapshotDiff:
        """What is different in ``other``: files, processes, and ports that something listens on. Both must be on one server.

        Raises:  NotFoundError: one of them is not there (any more).
        """
        old, new = await self.info(), await other.info()
        request = image_pb2.ImageDiffRequest(old_image_id=old.image_id, new_image_id=new.image_id)
        files = await _changes.collect(self._connection, IMAGE_DIFF, request)
        return SnapshotDiff(tuple(files), process_changes(old, new), port_changes(old, new))

    async def pin(self) -> None:
        """Keep it, whatever happens: it neither expires nor can be deleted until :meth:`unpin`. Raises: NotFoundError."""
        await self._pin(snapshot_pb2.SnapshotPinRequest(snapshot_id=self._snapshot_id, pinned=True))

    async def unpin(self, ttl: float | None = None) -> None:
        """Let it be deleted again.

        Args:    ttl: seconds from now on after which it goes by itself; it is kept until it is deleted when left out.
        Raises:  NotFoundError.
        """
        ttl_s = _spec.seconds(ttl, what="ttl")
        await self._pin(snapshot_pb2.SnapshotPinRequest(snapshot_id=self._snapshot_id, ttl_s=ttl_s))

    async def delete(self) -> None:
        """Delete it, with its memory and its files. Sandboxes that were restored from it go on.

        Raises:  NotFoundError: there is none (any more). ConflictError: it is pinned.
        """
        await self._connection.control.call(SNAPSHOT_DELETE, snapshot_pb2.SnapshotDeleteRequest(snapshot_id=self._snapshot_id))

    async def _pin(self, request: snapshot_pb2.SnapshotPinRequest) -> None:
        await self._connection.control.call(SNAPSHOT_PIN, request)

    @property
    def _connection(self) -> Connection:
        return self._known_connection or connection_of(self._client)


def snapshot_info(info: snapshot_pb2.SnapshotInfo) -> SnapshotInfo:
    """The wire's form as users see it."""
    return SnapshotInfo(
        snapshot_id=info.snapshot_id,
        sandbox_id=info.sandbox_id,
        parent_snapshot_id=info.parent_snapshot_id or None,
        image_id=info.image_id,
        created_at=info.created_at,
        expires_at=info.expires_at or None,
        pinned=info.pinned,
        memory_bytes=info.memory_bytes,
        stored=info.stored,
        stopped_s=info.stopped_s,
        processes=tuple(SnapshotProcess(one.exec_id, one.pid, one.pty, one.program) for one in info.processes),
        machine=_machine(info.machine),
        children=_children(info),
        ports=_ports(info),
    )


def _machine(machine: snapshot_pb2.MachineKind) -> MachineKind:
    features = tuple(machine.cpu_features)
    return MachineKind(machine.architecture, machine.runsc_version, machine.platform, features, machine.runsc_build)


def _children(info: snapshot_pb2.SnapshotInfo) -> tuple[SnapshotChild, ...] | None:
    if not info.HasField("children"):
        return None
    return tuple(SnapshotChild(one.pid, one.parent_pid, one.program) for one in info.children.children)


def _ports(info: snapshot_pb2.SnapshotInfo) -> tuple[SnapshotPort, ...] | None:
    if not info.HasField("ports"):
        return None
    return tuple(SnapshotPort(one.protocol, one.address, one.port) for one in info.ports.ports)
