"""Making a sandbox: a saga of one durable write and one call to a node, each step undone when a later one fails.

1. *reserve*: the record, with the node it will go to, and the idempotency key become durable in one transaction.
2. *admit*: the node is asked. If it refuses, the record moves to the next candidate, durably, before that one is asked: a node only
   ever has sandboxes whose record names it, and any other is a stray that its reports give away.
3. If nobody takes it, record and key are deleted as if they had never been.

There is no third write for "it is there now": the node says so in its reports. A router killed in between leaves a pending record.
The client's retry with the same key asks the recorded node again (the sandbox id is the node's idempotency key); without a retry the
node's report, or its absence after a grace period, settles it (``router.reconcile``).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import msgspec
import structlog
from google.protobuf.message import Message

from cove.exception import (
    AlreadyExistsError,
    ConflictError,
    ConnectionError,
    DataLossError,
    Error,
    InternalError,
    InternalFailure,
    InvalidError,
    NotFoundError,
    ResourceExhaustedError,
    ServiceError,
)
from cove.types import NodeId, SandboxId, TaskId, new_id
from cove.wire import common_pb2, control_pb2, image_pb2, node_pb2, snapshot_pb2
from policies.egress import policy_from_wire
from policies.limits import Limits
from policies.names import check_idempotency_key, check_sandbox_name, check_tags
from policies.shapes import shape_key
from policies.specs import fill_spec
from router.apps import app_of
from router.auth import Caller
from router.db.ingress import EntranceKind
from router.db.protocol import Database, SandboxIdTaken
from router.db.records import AppRecord, Capacity, Claim, ImageRecord, SandboxRecord, SandboxState
from router.images.catalogue import Catalogue
from router.images.manifests import config_of, image_name, only_node, to_manifest
from router.ingress.entrances import new_entrance
from router.node_client import NodeClient
from router.nodes import Node, NodeTable
from router.placement import Demand, Origin, candidates
from router.spares import OfferedSpare
from router.tasks import Finisher

log = structlog.get_logger(__name__)

UNCERTAIN = (ConnectionError, ServiceError, InternalError, InternalFailure)
"""Answers, or none, that leave open whether the node has the sandbox."""

CANNOT_RESTORE = (ConflictError, DataLossError, NotFoundError)
"""Refusals of a restore that say something about the snapshot: another kind of machine, damaged, lost."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A checked request."""

    workspace: str
    key: str
    request_hash: bytes
    app: AppRecord
    name: str
    tags: dict[str, str]
    spec: common_pb2.SandboxSpec
    image: ImageRecord | None
    """Where the spec names one."""
    build: bool = False
    memory: snapshot_pb2.MemoryRef | None = None
    """What it goes on from; None: it begins afresh."""
    origin: Origin | None = None
    """Where that memory is."""

    @property
    def shape(self) -> str:
        """The key of containers booted ahead that it can be; empty: it must be one of its own."""
        if self.build or self.memory is not None:
            return ""
        return shape_key(image_name(self.spec.image), self.spec.resources, policy_from_wire(self.spec.network))

    @property
    def request(self) -> Capacity:
        """What it reserves on its node."""
        return Capacity(self.spec.resources.cpu_request_millis, self.spec.resources.memory_request_bytes)


class Creation:
    """Creates sandboxes; one instance per router."""

    def __init__(
        self, db: Database, nodes: NodeTable, client: NodeClient, finisher: Finisher, *, limits: Limits, clock: Callable[[], float]
    ) -> None:
        self._db, self._nodes, self._client, self._finisher = db, nodes, client, finisher
        self._catalogue = Catalogue(db, clock=clock)
        self._limits, self._clock = limits, clock
        self._in_progress: dict[SandboxId, asyncio.Future[SandboxRecord]] = {}

    def in_progress(self, sandbox_id: SandboxId) -> bool:
        """Whether this router is busy creating it."""
        return sandbox_id in self._in_progress

    async def create(self, caller: Caller, request: control_pb2.SandboxCreateRequest, *, build: bool = False) -> SandboxRecord:
        """The sandbox that ``request`` makes, or made when it came before.

        Args:    build: it is for a step of an image build.
        Raises:
            InvalidError: the request is wrong, or larger than any node.
            NotFoundError: the App or the image does not exist.
            AlreadyExistsError: the name is taken, or the idempotency key came with another request.
            ResourceExhaustedError: no node admits it.
        """
        return await self.make(await self._plan(caller, request, build=build))

    async def make(self, plan: Plan) -> SandboxRecord:
        """The sandbox of a checked request. Raises: as :meth:`create`."""
        claim = await self._db.idempotency.get(plan.workspace, plan.key)
        return await self._finisher.finish(self._again(plan, claim) if claim else self._first(plan))

    async def _plan(self, caller: Caller, request: control_pb2.SandboxCreateRequest, *, build: bool) -> Plan:
        key = check_idempotency_key(request.idempotency_key)
        spec = fill_spec(request.spec, self._limits)
        tags = check_tags(request.tags)
        name = check_sandbox_name(request.name) if request.name else ""
        app = await app_of(self._db, caller, request.app_id)
        image = await self._catalogue.get(caller.workspace, spec.image.image_id) if spec.image.image_id else None
        if image is not None:
            _fill_from_image(spec, config_of(image), build=build)
        return Plan(
            workspace=caller.workspace,
            key=key,
            request_hash=hash_of(request),
            app=app,
            name=name,
            tags=tags,
            spec=spec,
            image=image,
            build=build,
        )

    async def _first(self, plan: Plan) -> SandboxRecord:
        """The whole saga of a key that was new a moment ago: with a container that a node has booted ahead, where there is one."""
        sandbox_id = SandboxId(new_id("sb"))
        order = [view.node_id for view in candidates(self._nodes.views(), _demand(plan, sandbox_id))]
        spare = self._nodes.take_spare(order, plan.shape) if plan.shape else None
        if spare is not None:
            with suppress(SandboxIdTaken):  # another router was quicker
                return await self._begin_as(spare, plan, order)
        return await self._begin(plan, sandbox_id, order)

    async def _begin_as(self, spare: OfferedSpare, plan: Plan, order: Sequence[NodeId]) -> SandboxRecord:
        """As :meth:`_begin`, under the spare's id and on its node if that takes it."""
        try:
            record = await self._begin(plan, spare.sandbox_id, [spare.node_id, *(one for one in order if one != spare.node_id)])
        except SandboxIdTaken:
            raise
        except Error:
            self._nodes.return_spare(spare)
            raise
        if record.sandbox_id != spare.sandbox_id:
            self._nodes.return_spare(spare)
        return record

    async def _begin(self, plan: Plan, sandbox_id: SandboxId, order: Sequence[NodeId]) -> SandboxRecord:
        """The saga under an id.

        Raises:  SandboxIdTaken: nothing was done. As :meth:`create`.
        """
        now = self._clock()
        record = SandboxRecord(
            sandbox_id=sandbox_id,
            task_id=TaskId(new_id("ta")),
            workspace=plan.workspace,
            environment=plan.app.environment,
            app_id=plan.app.app_id,
            name=plan.name,
            created_at=now,
            node_id=order[0],
            image=image_name(plan.spec.image),
            snapshot_id=plan.memory.snapshot_id if plan.memory else "",
            tags=plan.tags,
        )
        # In progress before the write: whoever finds the claim must find the saga too.
        with self._progress(sandbox_id) as outcome:
            claim = Claim(plan.workspace, plan.key, plan.request_hash, sandbox_id, now)
            tunnels = [new_entrance(sandbox_id, spec.port, EntranceKind(spec.kind), now) for spec in plan.spec.ports]
            claim = await self._db.sandboxes.reserve(record, claim, tunnels)
            if claim.sandbox_id != sandbox_id:
                return await self._again(plan, claim)
            record = await self._admit(plan, record, order)
            outcome.set_result(record)
        log.info("sandbox created", sandbox=sandbox_id, app=plan.app.app_id, node=record.node_id, took_s=round(self._clock() - now, 4))
        return record

    async def _again(self, plan: Plan, claim: Claim) -> SandboxRecord:
        """The answer to a key that is in use: what its saga gives, or gave, or will give when it goes on from where a router stopped."""
        if claim.request_hash != plan.request_hash:
            raise AlreadyExistsError("The idempotency key came with another request before.", remedy="Use a new key for each create.")
        running = self._in_progress.get(claim.sandbox_id)
        if running is not None:
            return await asyncio.shield(running)
        with self._progress(claim.sandbox_id) as outcome:
            record = await self._db.sandboxes.get(claim.sandbox_id)
            if record is None:
                raise NotFoundError(f"The sandbox {claim.sandbox_id} that this key made is no longer kept.", remedy="Use a new key.")
            if record.observed.state is SandboxState.PENDING and not await self._has_landed(record):
                record = await self._admit(plan, record, [record.node_id, *self._others(plan, record)])
            outcome.set_result(record)
        return record

    async def _has_landed(self, record: SandboxRecord) -> bool:
        """Whether the recorded node has the sandbox already.

        Raises:  InternalFailure: it cannot be asked. It may well run it, so nothing is moved or undone until it is heard of or lost.
        """
        try:
            await self._client.status(self._nodes.get(record.node_id), record.sandbox_id)
        except NotFoundError:
            return False
        except Error as error:
            raise InternalFailure("The sandbox's node does not answer.", remedy="Try again with the same key.") from error
        return True

    def _others(self, plan: Plan, record: SandboxRecord) -> list[NodeId]:
        try:
            views = candidates(self._nodes.views(), _demand(plan, record.sandbox_id))
        except ResourceExhaustedError:
            return []
        return [view.node_id for view in views if view.node_id != record.node_id]

    async def _admit(self, plan: Plan, record: SandboxRecord, order: Sequence[NodeId]) -> SandboxRecord:
        """Ask node after node; undo the reservation if none takes it."""
        try:
            return await self._ask_in_turn(plan, record, order)
        except Error:
            if await self._db.sandboxes.discard(record.sandbox_id):
                raise
            return await self._settled(record)

    async def _ask_in_turn(self, plan: Plan, record: SandboxRecord, order: Sequence[NodeId]) -> SandboxRecord:
        refusals: list[Error] = []
        for node_id in order:
            if node_id != record.node_id:
                if not await self._db.sandboxes.move(record.sandbox_id, source=record.node_id, target=node_id):
                    return await self._settled(record)
                record = msgspec.structs.replace(record, node_id=node_id)
            refusal = await self._ask(plan, record)
            if refusal is None:
                return record
            log.info("node refused sandbox", sandbox=record.sandbox_id, node=node_id, code=refusal.code, cause=refusal.cause)
            refusals.append(refusal)
        raise _summary(refusals, plan)

    async def _ask(self, plan: Plan, record: SandboxRecord) -> Error | None:
        """Have the record's node create it. Returns why another should be asked; None: it has it.

        Raises:  InvalidError: the node says that the request is wrong, so no other needs to be asked.
        """
        node = self._nodes.get(record.node_id)
        manifest = to_manifest(plan.image) if plan.image else None
        request = node_pb2.NodeCreateRequest(
            sandbox_id=record.sandbox_id, task_id=record.task_id, spec=plan.spec, image=manifest, build=plan.build, restore=plan.memory
        )
        node.expect(record.sandbox_id, plan.request)
        try:
            await self._client.create(node, request)
        except Error as error:
            if await self._landed(node, record.sandbox_id, error):
                return None
            node.expect_no_more(record.sandbox_id)
            if isinstance(error, InvalidError) and not isinstance(error, ConflictError):
                raise
            return error
        return None

    async def _landed(self, node: Node, sandbox_id: SandboxId, error: Error) -> bool:
        """Whether a create that failed with ``error`` is on the node all the same: the answer may have been lost, not the call.

        If the node cannot be asked it counts as "no"; should it have the sandbox, its reports show a stray, which is terminated.
        """
        if not isinstance(error, UNCERTAIN):
            return False
        try:
            await self._client.status(node, sandbox_id)
        except Error:
            return False
        return True

    async def _settled(self, record: SandboxRecord) -> SandboxRecord:
        """The record of a sandbox whose fate others decided meanwhile: its node reported it, or the reconciler gave it up."""
        return await self._db.sandboxes.get(record.sandbox_id) or record

    @contextmanager
    def _progress(self, sandbox_id: SandboxId) -> Iterator[asyncio.Future[SandboxRecord]]:
        """While the block runs, others with the same key wait for the future; it gets the block's error."""
        outcome: asyncio.Future[SandboxRecord] = asyncio.get_running_loop().create_future()
        self._in_progress[sandbox_id] = outcome
        try:
            yield outcome
        except Exception as error:
            outcome.set_exception(error)
            outcome.exception()  # marks it as seen: nobody may have joined
            raise
        finally:
            del self._in_progress[sandbox_id]
            outcome.cancel()  # a no-op when it has its result


def _summary(refusals: Sequence[Error], plan: Plan) -> Error:
    """What the client is told: capacity if that is all there is to it, or why memory cannot be restored; a node's own troubles are none of
    the client's."""
    if plan.memory is not None and (reasons := [refusal for refusal in refusals if isinstance(refusal, CANNOT_RESTORE)]):
        return reasons[0]
    if all(isinstance(refusal, ResourceExhaustedError) for refusal in refusals):
        return refusals[-1]
    return InternalFailure("No node could take the sandbox.", remedy="Try again; `cove status` shows the nodes.")


def hash_of(request: Message) -> bytes:
    """Of its kind and of all but the ``idempotency_key``. Map entries are serialised in a fixed order."""
    copy = type(request)()
    copy.CopyFrom(request)
    copy.ClearField("idempotency_key")
    return hashlib.sha256(request.DESCRIPTOR.full_name.encode() + b"\0" + copy.SerializeToString(deterministic=True)).digest()


def _demand(plan: Plan, sandbox_id: SandboxId) -> Demand:
    image, base = plan.image, plan.image.base if plan.image else image_name(plan.spec.image)
    return Demand(
        sandbox_id=sandbox_id,
        request=plan.request,
        debian_python=base.removeprefix("debian:") if base.startswith("debian:") else "",
        proxy=plan.spec.network.proxy,
        only_node=only_node(image.layers) if image else None,
        origin=plan.origin,
    )


def _fill_from_image(spec: common_pb2.SandboxSpec, config: image_pb2.ImageConfig, *, build: bool) -> None:
    """What the caller left open is as the image has it. An entrypoint is given the command, as ``docker run`` has it."""
    spec.workdir = spec.workdir or config.workdir
    if not build:
        command = list(spec.command) or [word.encode() for word in config.cmd]
        del spec.command[:]
        spec.command.extend([*(word.encode() for word in config.entrypoint), *command])
