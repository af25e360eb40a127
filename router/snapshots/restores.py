"""Sandboxes that go on from a memory snapshot: made as all others are, on a node that can restore it."""

from __future__ import annotations

from collections.abc import Callable

from cove.wire import common_pb2, snapshot_pb2
from cove.wire.network_pb2 import NetworkMode, NetworkPolicy
from policies.limits import Limits
from policies.names import check_idempotency_key, check_sandbox_name, check_tags
from policies.specs import fill_spec
from router.apps import app_of
from router.auth import Caller
from router.creation import Creation, Plan, hash_of
from router.db.protocol import Database
from router.db.records import SandboxRecord
from router.db.snapshots import SnapshotRecord
from router.images.catalogue import Catalogue
from router.metrics import Metrics
from router.placement import Origin
from router.snapshots.messages import taken_of, to_memory_ref
from router.snapshots.shelf import Shelf


class Restores:
    """One instance per router."""

    def __init__(
        self,
        db: Database,
        shelf: Shelf,
        creation: Creation,
        metrics: Metrics,
        *,
        limits: Limits,
        clock: Callable[[], float],
    ) -> None:
        self._db, self._shelf, self._creation, self._metrics = db, shelf, creation, metrics
        self._catalogue = Catalogue(db, clock=clock)
        self._limits = limits

    async def restore(self, caller: Caller, request: snapshot_pb2.SandboxRestoreRequest) -> SandboxRecord:
        """The sandbox that ``request`` makes, or made when it came before.

        Raises:
            InvalidError: the request is wrong.
            NotFoundError: the snapshot or the App does not exist.
            AlreadyExistsError: the name is taken, or the idempotency key came with another request.
            ResourceExhaustedError: no node that can restore it admits it; says why.
            ConflictError, DataLossError: a node cannot restore it; says why.
        """
        key = check_idempotency_key(request.idempotency_key)
        if await self._db.idempotency.get(caller.workspace, key):  # what began with the key goes on though the snapshot was deleted
            snapshot = await self._shelf.get_even_deleted(caller, request.snapshot_id)
            return await self._creation.make(await self._plan(caller, request, key, snapshot))
        snapshot = await self._shelf.get(caller, request.snapshot_id)
        record = await self._creation.make(await self._plan(caller, request, key, snapshot))
        self._metrics.count_snapshot("restored")
        return record

    async def _plan(self, caller: Caller, request: snapshot_pb2.SandboxRestoreRequest, key: str, snapshot: SnapshotRecord) -> Plan:
        image = await self._catalogue.get(caller.workspace, snapshot.image_id)
        machine = taken_of(snapshot).machine
        return Plan(
            workspace=caller.workspace,
            key=key,
            request_hash=hash_of(request),
            app=await app_of(self._db, caller, request.app_id or snapshot.app_id),
            name=check_sandbox_name(request.name) if request.name else "",
            tags=check_tags(request.tags),
            spec=fill_spec(spec_of(snapshot, request), self._limits),
            image=image,
            origin=Origin(
                node_id=snapshot.node_id,
                is_stored=bool(snapshot.digest) and image.is_stored,
                runsc_version=machine.runsc_version,
                runsc_build=machine.runsc_build,
            ),
            memory=to_memory_ref(snapshot),
        )


def spec_of(snapshot: SnapshotRecord, request: snapshot_pb2.SandboxRestoreRequest) -> common_pb2.SandboxSpec:
    """The spec of the snapshot's sandbox, over its files, with what the request has instead. Not checked."""
    spec = common_pb2.SandboxSpec()
    spec.CopyFrom(taken_of(snapshot).spec)
    spec.image.image_id = snapshot.image_id
    spec.timeout_s = request.timeout_s or spec.timeout_s
    spec.idle_timeout_s = request.idle_timeout_s or spec.idle_timeout_s
    spec.env.clear()  # what it had is in the memory
    spec.env.update(request.env)
    spec.network.CopyFrom(_network(spec.network, request))
    if request.HasField("ports"):
        del spec.ports[:]
        spec.ports.extend(request.ports.ports)
    return spec


def _network(had: NetworkPolicy, request: snapshot_pb2.SandboxRestoreRequest) -> NetworkPolicy:
    """A proxy stays with the sandbox, whatever else is changed: nobody is let out past it by not naming it again."""
    policy = NetworkPolicy()
    policy.CopyFrom(request.network if request.HasField("network") else had)
    kept = "" if policy.mode == NetworkMode.NETWORK_MODE_BLOCKED else had.proxy
    policy.proxy = request.proxy or kept
    return policy
