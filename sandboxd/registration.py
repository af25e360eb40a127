"""Keeps the router informed: registers the node, then reports sandboxes at once when they change and in any case every interval."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

import grpc
import msgspec
import structlog

from cove.types import NodeId, SandboxId
from cove.wire import common_pb2, node_pb2, node_pb2_grpc
from cove.wire.errors import decode
from sandboxd.layers import BlobClient
from sandboxd.node import Capacity, Node
from sandboxd.sandbox import Sandbox
from sandboxd.service.convert import sandbox_status
from sandboxd.warm import WarmPool

log = structlog.get_logger()

CALL_S: Final = 10.0
RETRY_S: Final = 1.0
COALESCE_S: Final = 0.005
"""Changes that come within this time travel in one report."""


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What a node says of itself."""

    node_id: NodeId
    grpc_address: str
    http_url: str
    version: str
    runsc_version: str
    runsc_builds: Callable[[], Collection[str]]
    """Those that it has now; :meth:`Registration.renew` when they are others."""
    debian_pythons: Collection[str]
    proxies: Collection[str]


class Registration:
    """The node's side of cove.v1.NodeRegistry.

    Args:
        trusted: called with the router's public key at every registration.
        blobs: told at every registration where the store is.
    """

    def __init__(
        self,
        node: Node,
        identity: Identity,
        *,
        router_address: str,
        join_token_file: Path,
        trusted: Callable[[bytes], None],
        blobs: BlobClient,
    ) -> None:
        self._node = node
        self._identity = identity
        self._router_address = router_address
        self._join_token_file = join_token_file
        self._trusted = trusted
        self._blobs = blobs
        self._changed: set[SandboxId] = set()
        self._wake = asyncio.Event()
        self._sequence = itertools.count(1)
        self._told_spares = -1
        """The version of the warm pool that the router knows."""
        self._renewed = False
        self.registered = asyncio.Event()

    def renew(self) -> None:
        """What the node says of itself when it registers has changed: let it register again."""
        self._renewed = True
        self._wake.set()

    def note(self, sandbox: Sandbox) -> None:
        """A sandbox changed: report it soon."""
        self._changed.add(sandbox.sandbox_id)
        self._wake.set()

    def note_spares(self) -> None:
        """There is another container made ahead, or one less: report it soon."""
        self._wake.set()

    async def run(self) -> None:
        """Register and report until cancelled; a router that is away is tried again every second."""
        async with grpc.aio.insecure_channel(self._router_address) as channel:
            stub = node_pb2_grpc.NodeRegistryStub(channel)  # type: ignore[no-untyped-call]  # generated
            while True:
                try:
                    await self._serve_one_registration(stub)
                except (grpc.aio.AioRpcError, OSError) as error:
                    text = str(decode(error)) if isinstance(error, grpc.aio.AioRpcError) else str(error)
                    log.warning("router not reached", router=self._router_address, error=text)
                    await asyncio.sleep(RETRY_S)

    async def _serve_one_registration(self, stub: node_pb2_grpc.NodeRegistryStub) -> None:
        self._renewed = False
        join_token = self._join_token_file.read_text().strip()
        answer = await stub.Register(self._register_request(), metadata=_bearer(join_token), timeout=CALL_S)
        self._trusted(answer.router_public_key)
        self._blobs.point_to(answer.http_url, answer.session_token)
        metadata = _bearer(answer.session_token)
        log.info("node registered", node=self._identity.node_id, router=self._router_address)
        complete = True
        while True:
            told = {sandbox.sandbox_id for sandbox in self._node} if complete else set(self._changed)
            self._changed -= told
            spares = self._node.warm.version
            with_spares = complete or spares != self._told_spares
            self._wake.clear()
            try:
                report = await stub.Report(self._report_request(told, complete, with_spares), metadata=metadata, timeout=CALL_S)
            except BaseException:
                self._changed |= told
                raise
            if report.register_again or self._renewed:
                return
            complete, self._told_spares = False, spares
            self.registered.set()
            await self._next_report(answer.report_interval_s)

    async def _next_report(self, interval_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(interval_s):
                await self._wake.wait()
                await asyncio.sleep(COALESCE_S)

    def _register_request(self) -> node_pb2.RegisterRequest:
        identity = self._identity
        return node_pb2.RegisterRequest(
            node_id=identity.node_id,
            grpc_address=identity.grpc_address,
            http_url=identity.http_url,
            capacity=_resources(self._node.capacity),
            version=identity.version,
            runsc_version=identity.runsc_version,
            runsc_builds=sorted(identity.runsc_builds()),
            debian_pythons=identity.debian_pythons,
            proxies=identity.proxies,
        )

    def _report_request(self, told: Collection[SandboxId], complete: bool, with_spares: bool) -> node_pb2.ReportRequest:
        return node_pb2.ReportRequest(
            node_id=self._identity.node_id,
            sequence=next(self._sequence),
            complete=complete,
            sandboxes=[sandbox_status(sandbox) for sandbox in self._node if sandbox.sandbox_id in told],
            reserved=_resources(self._node.reserved()),
            draining=self._node.draining,
            freeing=self._node.freeing.pending,
            spares=_spare_list(self._node.warm) if with_spares else None,
        )


def _resources(capacity: Capacity) -> common_pb2.Resources:
    return common_pb2.Resources(cpu_request_millis=capacity.cpu_millis, memory_request_bytes=capacity.memory_bytes)


def _spare_list(warm: WarmPool) -> node_pb2.SpareList:
    spares = [node_pb2.Spare(sandbox_id=sandbox_id, shape=shape) for sandbox_id, shape in warm.waiting().items()]
    return node_pb2.SpareList(spares=spares, warm=warm.figures.warm, cold=warm.figures.cold)


def _bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)
