"""A router, a node over simulated sandboxes, and servers "inside" them: every byte passes the real edge, node and guest protocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from cove.types import new_id
from cove.wire import common_pb2, ingress_pb2
from router.access import load_key
from sandboxd.sim.runtime import SimMachine
from tests.integration.router.conftest import Cluster, running_cluster, settings_for
from tests.support.echo_server import Handler, tcp_server
from tests.support.fake_node import FakeNode
from tests.support.raw_http import Client
from tests.support.sim_node import NODE_ID, SimDaemon

PORT = 8080


class IngressStage:
    """What tests need of all that."""

    def __init__(self, cluster: Cluster, node: FakeNode, daemon: SimDaemon, machine: SimMachine, stack: AsyncExitStack) -> None:
        self.cluster, self.node, self.daemon, self.machine, self._stack = cluster, node, daemon, machine, stack

    async def sandbox(self, *ports: common_pb2.PortSpec) -> str:
        """A running sandbox with tunnels to these ports."""
        client = self.cluster.client
        made = await client.create(await client.app(), spec=common_pb2.SandboxSpec(ports=ports))
        await self.daemon.create(sandbox_id=made.sandbox_id)
        await self.node.run(made.sandbox_id)
        return made.sandbox_id

    async def end(self, sandbox_id: str) -> None:
        """It has ended, and the router knows."""
        await self.node.end(sandbox_id)

    async def server(self, handler: Handler, port: int = PORT) -> None:
        """Have ``handler`` serve connections to a port inside every sandbox."""
        self.machine.ports[port] = await self._stack.enter_async_context(tcp_server(handler))

    async def tunnels(self, sandbox_id: str) -> dict[int, ingress_pb2.TunnelInfo]:
        """Its tunnels by port."""
        request = ingress_pb2.SandboxTunnelsRequest(sandbox_id=sandbox_id, timeout_s=5)
        answer = await self.cluster.client.call("SandboxTunnels", request)
        return {info.spec.port: info for info in answer.tunnels}

    async def token(self, sandbox_id: str, **fields: Any) -> ingress_pb2.ConnectTokenCreateResponse:
        """A connect token with its URL."""
        fields.setdefault("idempotency_key", new_id("rq"))
        request = ingress_pb2.ConnectTokenCreateRequest(sandbox_id=sandbox_id, **fields)
        answer: ingress_pb2.ConnectTokenCreateResponse = await self.cluster.client.call("ConnectTokenCreate", request)
        return answer

    async def revoke(self, token_id: str) -> None:
        await self.cluster.client.call("ConnectTokenRevoke", ingress_pb2.ConnectTokenRevokeRequest(token_id=token_id))

    async def visit(self, url: str) -> Client:
        """A connection to an address that a URL names; broken off with the test."""
        host, _, port = url.rpartition("/")[2].rpartition(":")
        return await self.connect(host, int(port))

    async def connect(self, host: str, port: int, **options: Any) -> Client:
        """A connection; broken off with the test. ``options``: of ``create_connection``."""
        reader, writer = await asyncio.open_connection(host, port, limit=2**20, **options)
        self._stack.callback(lambda: writer.transport.abort())  # holds the writer, too, which warns if it goes unclosed
        return Client(reader, writer, host=f"{host}:{port}")


@asynccontextmanager
async def ingress_stage(tmp_path: Path, **settings: Any) -> AsyncIterator[IngressStage]:
    """All of it, until the block is left."""
    machine = SimMachine()
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(running_cluster(settings_for(tmp_path / "router", **settings)))
        key = load_key(cluster.settings.router_dir / "access-key")
        daemon = await stack.enter_async_context(SimDaemon(machine, tmp_path / "node", key).running())
        node = await cluster.node(NODE_ID, http_url=f"http://127.0.0.1:{daemon.http_port}")
        stage = IngressStage(cluster, node, daemon, machine, stack)
        try:
            yield stage
        finally:
            for sandbox_id in list(machine.containers):
                await machine.kill(sandbox_id)
