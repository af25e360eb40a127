"""A router and a node in memory, for tests of the SDK: the real protocol over real sockets, and faults at the test's word.

State lives in :class:`World` and survives :meth:`FakeServer.stop` and a new start on the same port, as a daemon's journal would have it.
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
from aiohttp import web

from cove.wire import control_pb2_grpc, data_pb2_grpc
from tests.support.fake_server.bulk import BulkRoutes
from tests.support.fake_server.control import FakeControl
from tests.support.fake_server.data import FakeData
from tests.support.fake_server.world import TOKEN_ID, TOKEN_SECRET, World

__all__ = ["TOKEN_ID", "TOKEN_SECRET", "FakeServer", "World"]


class FakeServer:
    """Serves a :class:`World`: control plane, data plane and bulk transfers, on loopback."""

    def __init__(self, world: World | None = None, *, control: bool = True) -> None:
        self.world = world or World()
        self.port = 0
        self.http_port = 0
        self._control = control
        self._server: grpc.aio.Server | None = None
        self._runner: web.AppRunner | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def http_url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    async def start(self, *, as_node: bool = True) -> FakeServer:
        """Listen, on the same ports as before if there was a before. ``as_node``: sandboxes are reached here."""
        await self._start_grpc()
        await self._start_http()
        if as_node:
            self.world.node_address, self.world.node_http_url = self.address, self.http_url
        return self

    async def stop(self) -> None:
        """Be gone at once, as after kill -9: every connection is cut."""
        server, self._server = self._server, None
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()
        if server is not None:
            await server.stop(grace=None)

    async def _start_grpc(self) -> None:
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        data_pb2_grpc.add_DataPlaneServicer_to_server(FakeData(self.world), self._server)  # type: ignore[no-untyped-call]  # generated
        if self._control:
            control_pb2_grpc.add_ControlServicer_to_server(FakeControl(self.world), self._server)  # type: ignore[no-untyped-call]  # generated
        for attempt in range(50):
            try:
                self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
                break
            except RuntimeError:  # the old listener is not quite gone
                if attempt == 49:
                    raise
                await asyncio.sleep(0.02)
        await self._server.start()

    async def _start_http(self) -> None:
        application = web.Application(client_max_size=2**40)
        BulkRoutes(self.world).add_to(application)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1, lingering_time=0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.http_port)
        await site.start()
        sockets: Any = site._server.sockets  # type: ignore[union-attr]  # aiohttp tells the port nowhere else
        self.http_port = sockets[0].getsockname()[1]
