"""The sandbox that steps run in, and how they run there."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

import structlog

from cove.exception import Error, RemoteError
from cove.types import AppId, new_id
from cove.wire import common_pb2, control_pb2, image_pb2, network_pb2
from router.auth import Caller
from router.creation import Creation
from router.db.protocol import Database
from router.db.records import AppRecord, ImageRecord, SandboxRecord
from router.images.snapshots import Snapshots
from router.node_client import NodeClient
from router.node_sandbox import NodeSandbox
from router.nodes import NodeTable
from router.tasks import Finisher

log = structlog.get_logger(__name__)

APP: Final = "cove-image-builds"
"""The App that sandboxes of builds belong to."""

KEPT_BYTES: Final = 3_200
KEPT_CHARACTERS: Final = 800
"""Of a failed step's output, in the error: with the words around it, less than ``cove.exception.MAX_TEXT``, which would cut off the end."""

SNAPSHOT_S: Final = 600.0
GIB: Final = 2**30
DISK_BYTES: Final = 64 * GIB
"""What a step may write. Of processor and memory it may use what the machine has; what is reserved is what any sandbox gets, so that
builds on small machines keep no sandbox out."""

Log = Callable[[bytes], None]
OpenStage = Callable[[str], Awaitable[NodeSandbox]]
"""Opens the stage or image that a ``--from`` names."""


class Workshop:
    """One sandbox of a build."""

    def __init__(self, sandbox: NodeSandbox, record: SandboxRecord, snapshots: Snapshots, say: Log, *, timeout_s: float) -> None:
        self.sandbox = sandbox
        self._record = record
        self._snapshots = snapshots
        self._say = say
        self._timeout_s = timeout_s

    async def run(self, what: str, argv: Sequence[str], *, env: Mapping[str, str], workdir: str = "", user: str = "") -> None:
        """Run a command to its end, its output to the log.

        Args:    what: how the error calls it.
        Raises:  RemoteError: it failed, with the end of what it said. Other errors: it could not be started, or the node is gone.
        """
        exec_id = await self.sandbox.start(argv, env=env, workdir=workdir, user=user, timeout_s=self._timeout_s)
        last: deque[bytes] = deque()
        async with asyncio.TaskGroup() as group:
            for fd in (1, 2):
                group.create_task(self._follow(exec_id, fd, last))
        status = await self.sandbox.wait(exec_id)
        if status.exit_code:
            said = b"".join(last)[-KEPT_BYTES:].decode("utf-8", "replace").strip()[-KEPT_CHARACTERS:]
            raise RemoteError(
                f"{what} failed with exit code {status.exit_code}." + (f" The end of its output:\n{said}" if said else ""),
                remedy="The build's log has all of it; try the command in a sandbox of the image before.",
                context={"exit_code": str(status.exit_code)},
            )

    async def snapshot(self, key: bytes, config: image_pb2.ImageConfig, *, description: str, replace: bool) -> ImageRecord:
        """What the steps made, as an image under ``key``. Raises: cove.exception.Error."""
        return await self._snapshots.make(
            self._record, key, source="build", timeout_s=SNAPSHOT_S, description=description, config=config, replace=replace
        )

    async def _follow(self, exec_id: str, fd: int, last: deque[bytes]) -> None:
        async for data in self.sandbox.output(exec_id, fd):
            self._say(data)
            last.append(data[-KEPT_BYTES:])
            while sum(map(len, last)) > 2 * KEPT_BYTES:
                last.popleft()


class Workshops:
    """Opens workshops; one instance per router."""

    def __init__(
        self,
        db: Database,
        nodes: NodeTable,
        client: NodeClient,
        creation: Creation,
        snapshots: Snapshots,
        finisher: Finisher,
        *,
        environment: str,
        timeout_s: float,
        clock: Callable[[], float],
    ) -> None:
        """``timeout_s``: how long the steps of one layer may take together."""
        self._db, self._nodes, self._client, self._creation, self._snapshots = db, nodes, client, creation, snapshots
        self._finisher = finisher
        self._environment, self._timeout_s, self._clock = environment, timeout_s, clock

    @asynccontextmanager
    async def open(self, caller: Caller, image: ImageRecord, say: Log, *, network: bool = True) -> AsyncIterator[Workshop]:
        """A sandbox of ``image`` for the block.

        Raises:  ResourceExhaustedError: no node has room. Other errors of creating a sandbox.
        """
        app = AppRecord(AppId(new_id("ap")), caller.workspace, self._environment, APP, self._clock())
        spec = common_pb2.SandboxSpec(
            timeout_s=int(self._timeout_s),
            resources=common_pb2.Resources(disk_limit_bytes=DISK_BYTES),
            image=common_pb2.ImageRef(image_id=image.image_id),
            network=network_pb2.NetworkPolicy(mode=network_pb2.NETWORK_MODE_OPEN if network else network_pb2.NETWORK_MODE_BLOCKED),
            workdir="/",
        )
        request = control_pb2.SandboxCreateRequest(idempotency_key=new_id("ik"), app_id=(await self._db.apps.ensure(app)).app_id, spec=spec)
        try:
            record = await self._creation.create(caller, request, build=True)
        except asyncio.CancelledError:
            await self._finisher.finish(self._abandon(caller, request))
            raise
        try:
            sandbox = await self._client.sandbox(self._nodes.get(record.node_id), record.sandbox_id)
            yield Workshop(sandbox, record, self._snapshots, say, timeout_s=self._timeout_s)
        finally:
            await self._finisher.finish(self._end(record))

    async def _abandon(self, caller: Caller, request: control_pb2.SandboxCreateRequest) -> None:
        """End the sandbox of a create that goes on without its caller: asked with the same key, it tells what came of it."""
        try:
            record = await self._creation.create(caller, request, build=True)
        except Error as error:
            log.info("sandbox of a cancelled build not made", code=error.code)
        else:
            await self._end(record)

    async def _end(self, record: SandboxRecord) -> None:
        """The reconciler repeats what does not reach the node."""
        await self._db.sandboxes.ask_terminate(record.sandbox_id, self._clock())
        try:
            await self._client.terminate(self._nodes.get(record.node_id), record.sandbox_id)
        except Error as error:
            log.info("sandbox of a build not ended yet", sandbox=record.sandbox_id, code=error.code)
