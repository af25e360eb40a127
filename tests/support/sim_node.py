"""A whole node daemon in this process, over simulated containers: real sockets, real journal, no kernel."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cove.types import NodeId, SandboxId, new_id
from cove.wire import common_pb2, data_pb2_grpc, node_pb2, node_pb2_grpc
from policies.access import NodeClaims, SandboxClaims, sign_node, sign_sandbox
from sandboxd.journal import Journal
from sandboxd.layers import BlobClient
from sandboxd.node import Capacity, Node
from sandboxd.processes import SpoolSizes
from sandboxd.registration import Identity, Registration
from sandboxd.sandbox import Sandbox
from sandboxd.server import serve
from sandboxd.service.auth import Gate
from sandboxd.sim.assembly import SimAssembly
from sandboxd.sim.runtime import SimMachine
from sandboxd.warm import WarmPool

NODE_ID = NodeId("node-1")


def spec(*command: str, timeout_s: int = 300, image: str = "3.11", **fields: Any) -> common_pb2.SandboxSpec:
    """A spec as a router would send it."""
    return common_pb2.SandboxSpec(
        command=[argument.encode() for argument in command],
        workdir="/",
        timeout_s=timeout_s,
        image=common_pb2.ImageRef(debian=image),
        resources=common_pb2.Resources(
            cpu_request_millis=125,
            cpu_limit_millis=16_125,
            memory_request_bytes=2**27,
            disk_limit_bytes=2**30,
            max_tasks=1024,
        ),
        **fields,
    )


@contextlib.asynccontextmanager
async def simulated() -> AsyncIterator[SimMachine]:
    """A machine for the block; what it ran is gone afterwards."""
    machine = SimMachine()
    yield machine
    for sandbox_id in list(machine.containers):
        await machine.kill(sandbox_id)
    for sandbox_id in list(machine.paused):
        await machine.forget(sandbox_id)


class SimDaemon:
    """One run of the daemon; the machine, the directory and the key outlive it."""

    def __init__(self, machine: SimMachine, directory: Path, key: Ed25519PrivateKey) -> None:
        self.machine, self.directory, self._key = machine, directory, key
        self.changed: list[tuple[SandboxId, str]] = []
        self.grpc_port = self.http_port = 0
        self.registration: Registration | None = None

    @contextlib.asynccontextmanager
    async def running(
        self, *, capacity: Capacity | None = None, boot_s: float = 0.0, spool_bytes: int = 2**20, spares: int = 0
    ) -> AsyncIterator[SimDaemon]:
        """The daemon runs in the block and dies at its end without a word to its sandboxes."""
        self.assembly = SimAssembly(self.machine, self.directory / "run", boot_s=boot_s)
        self.node = Node(
            journal=Journal(self.directory / "node"),
            assembly=self.assembly,
            warm=WarmPool(self.assembly, self.assembly.runtime, memory_bytes=spares, each_bytes=1),
            runtime=self.assembly.runtime,
            oom_kills=lambda sandbox_id: 0,
            spool_sizes=SpoolSizes(head_bytes=spool_bytes, tail_bytes=spool_bytes),
            capacity=capacity or Capacity(cpu_millis=10**9, memory_bytes=2**50, sandboxes=10_000),
            record_retention_s=3600,
            free_disk_bytes=lambda: 2**40,
            changed=self._on_change,
        )
        self.gate = Gate(NODE_ID)
        self.gate.trust(self._key.public_key().public_bytes_raw())
        started = asyncio.Event()
        life = asyncio.create_task(self.node.run(started))
        try:
            await started.wait()
            async with serve(self.node, self.gate, grpc_address="127.0.0.1:0", http_address="127.0.0.1:0") as bound:
                self.grpc_port, self.http_port = bound.grpc_port, bound.http_port
                async with grpc.aio.insecure_channel(f"127.0.0.1:{bound.grpc_port}") as channel:
                    self.api = node_pb2_grpc.NodeStub(channel)  # type: ignore[no-untyped-call]  # generated
                    self.data = data_pb2_grpc.DataPlaneStub(channel)  # type: ignore[no-untyped-call]  # generated
                    yield self
        finally:
            life.cancel()
            await asyncio.wait([life])

    def _on_change(self, sandbox: Sandbox) -> None:
        self.changed.append((sandbox.sandbox_id, sandbox.state))
        if self.registration is not None:
            self.registration.note(sandbox)

    @contextlib.asynccontextmanager
    async def joined(self, router_address: str, join_token_file: Path) -> AsyncIterator[None]:
        """The daemon reports to a router, and takes orders from it alone, in the block."""
        identity = Identity(
            node_id=NODE_ID,
            grpc_address=f"127.0.0.1:{self.grpc_port}",
            http_url=f"http://127.0.0.1:{self.http_port}",
            version="1",
            runsc_version="sim",
            runsc_builds=list,
            debian_pythons=["3.11"],
            proxies=[],
        )
        registration = self.registration = Registration(
            self.node, identity, router_address=router_address, join_token_file=join_token_file, trusted=self.gate.trust, blobs=BlobClient()
        )
        self.node.warm.when_changed(registration.note_spares)
        reporting = asyncio.create_task(registration.run())
        try:
            await registration.registered.wait()
            yield
        finally:
            self.registration = None
            reporting.cancel()
            await asyncio.wait([reporting])

    def router_auth(self) -> tuple[tuple[str, str], ...]:
        return _bearer(sign_node(NodeClaims(NODE_ID, time.time() + 60), self._key))

    def token(self, sandbox_id: str, *, lifetime_s: float = 60, node_id: NodeId = NODE_ID) -> str:
        return sign_sandbox(SandboxClaims(SandboxId(sandbox_id), node_id, time.time() + lifetime_s), self._key)

    def auth(self, sandbox_id: str, **claims: Any) -> tuple[tuple[str, str], ...]:
        return _bearer(self.token(sandbox_id, **claims))

    async def create(self, *command: str, sandbox_id: str | None = None, **fields: Any) -> str:
        sandbox_id = sandbox_id or new_id("sb")
        request = node_pb2.NodeCreateRequest(sandbox_id=sandbox_id, task_id=new_id("ta"), spec=spec(*command, **fields))
        await self.api.Create(request, metadata=self.router_auth())
        return sandbox_id

    async def ended(self, sandbox_id: str) -> Sandbox:
        """The sandbox, once it has stopped."""
        sandbox = self.node.get(sandbox_id)
        while sandbox.state != "stopped":
            await sandbox.wait_change()
        return sandbox


def _bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)
