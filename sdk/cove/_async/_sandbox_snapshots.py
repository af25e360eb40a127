"""Methods of sandboxes that take memory snapshots, go on from them, fork, and pause."""

from __future__ import annotations

import asyncio
import builtins
import contextlib
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Final, cast

from cove import _egress, _spec
from cove._async import _tunnels
from cove._async.app import _App
from cove._async.base import Part
from cove._async.client import _Client
from cove._async.container_process import LINK_MARGIN_S
from cove._async.proxy import _Proxy, proxy_name
from cove._async.secret import _Secret
from cove._async.snapshot import _SandboxSnapshot
from cove._transport.connection import Connection
from cove._transport.data import DataPlane
from cove._transport.methods import (
    SANDBOX_PAUSE,
    SANDBOX_RESTORE,
    SANDBOX_RESUME,
    SANDBOX_SNAPSHOT,
    SANDBOX_TERMINATE,
    SNAPSHOT_DELETE,
)
from cove.exception import Error, InvalidError
from cove.types import new_id
from cove.wire import control_pb2, network_pb2, snapshot_pb2

if TYPE_CHECKING:
    from cove._async.sandbox import _Sandbox

MAX_FORKS: Final = 100
FORK_TTL_S: Final = 600.0
"""How long a fork's snapshot is kept if its client vanishes before it deletes it."""


class Snapshots(Part):
    """What can be frozen and goes on elsewhere. The class that derives from it has files, too, and so a connection and a data plane."""

    _connection: Connection
    _plane: DataPlane

    @classmethod
    async def from_snapshot(
        cls,
        snapshot: _SandboxSnapshot,
        *,
        app: _App | None = None,
        name: str | None = None,
        timeout: int | None = None,
        idle_timeout: int | None = None,
        env: Mapping[str, str | None] | None = None,
        secrets: Collection[_Secret] | None = None,
        block_network: bool | None = None,
        cidr_allowlist: Sequence[str] | None = None,
        domain_allowlist: Sequence[str] | None = None,
        record_network: bool = False,
        encrypted_ports: Sequence[int] | None = None,
        h2_ports: Sequence[int] | None = None,
        unencrypted_ports: Sequence[int] | None = None,
        proxy: _Proxy | None = None,
        tags: Mapping[str, str] | None = None,
        client: _Client | None = None,
    ) -> _Sandbox:
        """Create a sandbox that goes on where a snapshot was taken, with its memory, processes and files. Returns once it is placed.

        What is left out is as the snapshot's sandbox had it; docs/fork-contract.md tells what is new in every case.

        Args:
            app: the App it belongs to.
            name: unique among the running sandboxes of the App.
            timeout: lifetime in seconds, which begins now.
            idle_timeout: as for :meth:`create`.
            env: environment variables of processes that are started from now on, on top of what it had; None values are left out.
            secrets: more of them, below ``env``.
            block_network: True for no network but loopback, False for all of it.
            cidr_allowlist, domain_allowlist: what it may reach, as for :meth:`create`.
            record_network: as for :meth:`create`.
            encrypted_ports, h2_ports, unencrypted_ports: if one is given, the ports of all three are these, and no other. In any case its
                tunnels are its own.
            proxy: another one than it had. The one that it had is kept otherwise, also where the lists above change.
            tags: see :meth:`set_tags`.
            client: instead of the snapshot's.
        Raises:
            NotFoundError: there is no such snapshot (any more).
            AlreadyExistsError: a running sandbox of the App has this name.
            ResourceExhaustedError: no node that can restore it has room; it says why.
            ConflictError: its node cannot restore it; it says why.
        """
        request = snapshot_pb2.SandboxRestoreRequest(
            idempotency_key=new_id("rq"),
            snapshot_id=snapshot.object_id,
            app_id=app.app_id or "" if app is not None else "",
            name=_spec.sandbox_name(name),
            tags=_spec.tags(tags),
            timeout_s=_spec.whole_seconds(timeout, what="timeout", most=_spec.MAX_SECONDS),
            idle_timeout_s=_spec.whole_seconds(idle_timeout, what="idle_timeout", most=_spec.MAX_SECONDS),
            env=_spec.environment(env, [secret.variables for secret in secrets or ()]),
            network=_network(block_network, cidr_allowlist, domain_allowlist, record_network),
            proxy=await proxy_name(proxy),
            ports=_ports(encrypted_ports, unencrypted_ports, h2_ports),
        )
        connection = client.connection if client is not None else snapshot._connection
        return await _restored(cast("builtins.type[_Sandbox]", cls), connection, request)

    @classmethod
    async def _experimental_from_snapshot(cls, snapshot: _SandboxSnapshot, client: _Client | None = None) -> _Sandbox:
        """:meth:`from_snapshot` without options."""
        return await cls.from_snapshot(snapshot, client=client)

    async def snapshot(self, ttl: float | None = None, timeout: float = 120) -> _SandboxSnapshot:
        """Take a snapshot of its memory, processes and files. The sandbox stands still for a moment, and goes on.

        Its connections to the outside are cut, as docs/fork-contract.md has it.

        Args:
            ttl: seconds after which it goes by itself; it is kept until it is deleted when left out.
            timeout: seconds that it may take, at most 600.
        Raises:
            ConflictError: code ``sandbox_ended``: the sandbox has stopped. Without it: its state cannot be written; it says why.
            ServiceError: it took longer; there is no snapshot.
        """
        info = await _take(self._connection, self._plane.sandbox_id, ttl_s=_spec.seconds(ttl, what="ttl"), timeout=timeout)
        return _SandboxSnapshot(info.snapshot_id, connection=self._connection)

    async def _experimental_snapshot(self) -> _SandboxSnapshot:
        """:meth:`snapshot` without options."""
        return await self.snapshot()

    async def pause(self, timeout: float = 120) -> None:
        """Write its memory to its node's disk and free it. It keeps its id, its files, its processes and what they are doing.

        Whatever needs it wakes it: an exec, a file call, a connection to one of its ports; that waits, and then goes on. Its lifetime
        stands still meanwhile. Connections that are open are cut, as docs/fork-contract.md has it. Does nothing if it is paused.

        Args:    timeout: seconds that it may take, at most 600.
        Raises:
            ConflictError: code ``sandbox_ended``: the sandbox has stopped. Without it: its state cannot be written; it says why, and the
                sandbox goes on.
            ResourceExhaustedError: its node's disk has no room.
        """
        timeout_s = _spec.seconds(timeout, what="timeout")
        request = snapshot_pb2.SandboxPauseRequest(sandbox_id=self._plane.sandbox_id, timeout_s=timeout_s)
        await self._connection.control.call(SANDBOX_PAUSE, request, deadline_s=timeout_s + LINK_MARGIN_S)

    async def resume(self, timeout: float = 120) -> None:
        """Wake it if it is paused. Seldom needed: whatever needs it does.

        Args:    timeout: seconds that it may take, at most 600.
        Raises:  ResourceExhaustedError: its node has no room for it now; try again. DataLossError: what was written is damaged.
        """
        timeout_s = _spec.seconds(timeout, what="timeout")
        request = snapshot_pb2.SandboxResumeRequest(sandbox_id=self._plane.sandbox_id, timeout_s=timeout_s)
        await self._connection.control.call(SANDBOX_RESUME, request, deadline_s=timeout_s + LINK_MARGIN_S)

    async def fork(self, n: int = 1, *, timeout: float = 120) -> builtins.list[_Sandbox]:
        """Create ``n`` sandboxes that go on from where this one is now; this one goes on, too. All of them or none.

        Args:
            n: how many, at most 100.
            timeout: seconds that the snapshot may take; see :meth:`snapshot`.
        Raises:
            ResourceExhaustedError: there is no room for all of them.
            Error: as for :meth:`snapshot` and :meth:`from_snapshot`.
        """
        if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= MAX_FORKS:
            raise InvalidError(f"n is {n!r:.80}.", remedy=f"Allowed are 1 to {MAX_FORKS}.")
        control = self._connection.control
        info = await _take(self._connection, self._plane.sandbox_id, ttl_s=FORK_TTL_S, timeout=timeout)
        try:
            return await _restored_all(cast("builtins.type[_Sandbox]", type(self)), self._connection, info.snapshot_id, n)
        finally:
            with contextlib.suppress(Error):  # it expires by itself
                await control.call(SNAPSHOT_DELETE, snapshot_pb2.SnapshotDeleteRequest(snapshot_id=info.snapshot_id))


async def _take(connection: Connection, sandbox_id: str, *, ttl_s: float, timeout: float) -> snapshot_pb2.SnapshotInfo:
    timeout_s = _spec.seconds(timeout, what="timeout")
    request = snapshot_pb2.SandboxSnapshotRequest(sandbox_id=sandbox_id, idempotency_key=new_id("rq"), ttl_s=ttl_s, timeout_s=timeout_s)
    return await connection.control.call(SANDBOX_SNAPSHOT, request, deadline_s=timeout_s + LINK_MARGIN_S)


async def _restored(kind: builtins.type[_Sandbox], connection: Connection, request: snapshot_pb2.SandboxRestoreRequest) -> _Sandbox:
    answer = await connection.control.call(SANDBOX_RESTORE, request)
    info = control_pb2.SandboxInfo(
        sandbox_id=answer.sandbox_id, task_id=answer.task_id, app_id=request.app_id, name=request.name, tags=request.tags
    )
    return kind(connection, info, answer.access if answer.HasField("access") else None)


async def _restored_all(kind: builtins.type[_Sandbox], connection: Connection, snapshot_id: str, count: int) -> builtins.list[_Sandbox]:
    """``count`` sandboxes at once; when one fails, or the caller is cancelled, those that were made are terminated."""
    made: builtins.list[_Sandbox] = []
    failures: builtins.list[Error] = []

    async def restore_one() -> None:
        try:
            request = snapshot_pb2.SandboxRestoreRequest(idempotency_key=new_id("rq"), snapshot_id=snapshot_id)
            made.append(await _restored(kind, connection, request))
        except Error as error:  # the others come to their end: what they make has to be known to be terminated
            failures.append(error)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(restore_one())
        if failures:
            raise failures[0]
    except BaseException:
        for sandbox in made:
            with contextlib.suppress(Error):  # it ends with its lifetime
                await connection.control.call(SANDBOX_TERMINATE, control_pb2.SandboxTerminateRequest(sandbox_id=sandbox.object_id))
        raise
    return made


def _network(
    block_network: bool | None, cidr_allowlist: Sequence[str] | None, domain_allowlist: Sequence[str] | None, record_network: bool
) -> network_pb2.NetworkPolicy | None:
    """None: as the snapshot's sandbox had it."""
    if block_network is None and cidr_allowlist is None and domain_allowlist is None and not record_network:
        return None
    return _egress.policy(
        block_network=bool(block_network),
        cidr_allowlist=cidr_allowlist,
        domain_allowlist=domain_allowlist,
        record_network=record_network,
    )


def _ports(encrypted: Sequence[int] | None, unencrypted: Sequence[int] | None, h2: Sequence[int] | None) -> snapshot_pb2.PortList | None:
    """None: as the snapshot's sandbox had them."""
    if encrypted is None and unencrypted is None and h2 is None:
        return None
    return snapshot_pb2.PortList(ports=_tunnels.port_specs(encrypted or (), unencrypted or (), h2 or ()))
