"""What clients do with sandboxes that exist: look them up, list, tag, wait for, terminate and open them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
import structlog

from cove.exception import ConflictError, Error, NotFoundError
from cove.types import AppId, SandboxId
from cove.wire import common_pb2, control_pb2, network_pb2
from policies.egress import fill_policy
from policies.limits import out_of_range
from policies.names import check_tags
from router.access import AccessKey
from router.auth import Caller
from router.changes import Changes
from router.convert import from_cursor, to_cursor
from router.db.protocol import Database
from router.db.records import SandboxQuery, SandboxRecord
from router.node_client import NodeClient
from router.nodes import NodeTable

MAX_WAIT_S: Final = 60.0
DEFAULT_LIST: Final = 100
MAX_LIST: Final = 500

log = structlog.get_logger(__name__)


class Addresses(msgspec.Struct, frozen=True):
    """Where a data plane is reached."""

    grpc_address: str
    http_url: str


class Sandboxes:
    """Operations on existing sandboxes; one instance per router. A sandbox of another workspace does not exist for the caller."""

    def __init__(
        self,
        db: Database,
        nodes: NodeTable,
        client: NodeClient,
        changes: Changes,
        key: AccessKey,
        *,
        clock: Callable[[], float],
        proxy: Addresses | None,
    ) -> None:
        """``proxy``: handed out instead of the nodes' addresses."""
        self._db, self._nodes, self._client, self._changes, self._key = db, nodes, client, changes, key
        self._clock, self._proxy = clock, proxy

    async def get(self, caller: Caller, sandbox_id: str) -> SandboxRecord:
        """By id, stopped ones included.

        Raises:  NotFoundError: there is none, or it is kept no longer.
        """
        record = await self._db.sandboxes.get(SandboxId(sandbox_id))
        if record is None or record.workspace != caller.workspace:
            raise NotFoundError(
                f"There is no sandbox {sandbox_id[:80]!r}.", remedy="Records of stopped sandboxes are kept for a limited time."
            )
        return record

    async def owns(self, caller: Caller, sandbox_id: SandboxId) -> bool:
        """Whether there is such a sandbox for the caller."""
        record = await self._db.sandboxes.get(sandbox_id)
        return record is not None and record.workspace == caller.workspace

    async def find(self, caller: Caller, environment: str, app_name: str, name: str) -> SandboxRecord:
        """The running sandbox of this name.

        Raises:  NotFoundError: there is none.
        """
        app = await self._db.apps.find(caller.workspace, environment, app_name)
        record = await self._db.sandboxes.find_live(app.app_id, name) if app else None
        if record is None:
            raise NotFoundError(
                f"The App {app_name[:80]!r} has no running sandbox named {name[:80]!r}.", remedy="`cove sandbox list` shows them."
            )
        return record

    async def list_(self, caller: Caller, environment: str, request: control_pb2.SandboxListRequest) -> tuple[list[SandboxRecord], str]:
        """One page, newest first, and the cursor of the next; empty at the end.

        Raises:  InvalidError: a tag or the cursor is malformed.
        """
        limit = min(request.limit or DEFAULT_LIST, MAX_LIST)
        query = SandboxQuery(
            workspace=caller.workspace,
            environment=environment,
            app_id=AppId(request.app_id) if request.app_id else None,
            tags=check_tags(request.tags),
            include_stopped=request.include_stopped,
            after=from_cursor(request.cursor),
            limit=limit + 1,
        )
        records = await self._db.sandboxes.list_(query)
        page = records[:limit]
        return page, to_cursor(page[-1].created_at, page[-1].sandbox_id) if len(records) > limit else ""

    async def set_tags(self, caller: Caller, sandbox_id: str, tags: Mapping[str, str]) -> None:
        """Make ``tags`` the whole set.

        Raises:  InvalidError: too many or too long. NotFoundError: no such sandbox.
        """
        checked = check_tags(tags)
        record = await self.get(caller, sandbox_id)
        await self._db.sandboxes.replace_tags(record.sandbox_id, checked)

    async def wait(self, caller: Caller, sandbox_id: str, timeout_s: float) -> SandboxRecord:
        """The sandbox once it has stopped, or as it is after ``timeout_s`` (0 to 60), or when the router shuts down.

        Raises:  InvalidError: ``timeout_s`` is out of range. NotFoundError: no such sandbox.
        """
        if not 0 <= timeout_s <= MAX_WAIT_S:  # NaN is out of range too
            raise out_of_range("timeout_s", timeout_s, 0, MAX_WAIT_S)
        with self._changes.watch(SandboxId(sandbox_id)) as changed:
            record = await self.get(caller, sandbox_id)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    while not record.is_stopped and not self._changes.closing:
                        await changed.wait()
                        changed.clear()
                        record = await self.get(caller, sandbox_id)
        return record

    async def terminate(self, caller: Caller, sandbox_id: str) -> None:
        """End it; a no-op if its end is decided. The intent is durable first: if the node is silent, the reconciler repeats it.

        Raises:  NotFoundError: no such sandbox.
        """
        record = await self.get(caller, sandbox_id)
        if not record.is_live:
            return
        await self._db.sandboxes.ask_terminate(record.sandbox_id, self._clock())
        try:
            await self._client.terminate(self._nodes.get(record.node_id), record.sandbox_id)
        except Error as error:
            log.info("terminate postponed", sandbox=record.sandbox_id, node=record.node_id, code=error.code)

    async def update_network(self, caller: Caller, sandbox_id: str, policy: network_pb2.NetworkPolicy) -> network_pb2.NetworkPolicy:
        """Let another policy hold from now on. Returns: it, as it is in force.

        Raises:
            InvalidError: the policy. NotFoundError: no such sandbox. ConflictError: it has ended, or is on a node without the proxy.
            ConnectionError: the node does not answer; it may have heard, and asking again is harmless.
        """
        record, filled = await self.get(caller, sandbox_id), fill_policy(policy)
        node = self._nodes.get(record.node_id)
        if filled.proxy and filled.proxy not in node.record.proxies:
            remedy = "Create the sandbox with the proxy: it is placed where that is."
            raise ConflictError(f"The sandbox's node has no proxy {filled.proxy!r}.", remedy=remedy)
        return await self._client.update_network(node, record.sandbox_id, filled)

    async def created(self, record: SandboxRecord) -> control_pb2.SandboxCreateResponse:
        """What the one who made it is told. Raises: as :meth:`access`."""
        return control_pb2.SandboxCreateResponse(sandbox_id=record.sandbox_id, task_id=record.task_id, access=await self.access(record))

    async def access(self, record: SandboxRecord) -> common_pb2.Access:
        """Where and with which token to reach its data plane; also after its end, since output stays readable for a while.

        Raises:  NotFoundError: its node is not known any more.
        """
        node = self._nodes.get(record.node_id).record
        token, expires_at = self._key.sandbox_token(record.sandbox_id, record.node_id)
        address = self._proxy or Addresses(node.grpc_address, node.http_url)
        return common_pb2.Access(grpc_address=address.grpc_address, http_url=address.http_url, token=token, expires_at=expires_at)
