"""The node's servers, put together: gRPC (node API and data plane) and HTTP (bulk transfers, connections to ports) on their sockets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

import grpc
import msgspec
from aiohttp import web

from cove.wire import data_pb2_grpc, node_pb2_grpc
from sandboxd.image_stack import ImageStacks
from sandboxd.memory import MemoryCache
from sandboxd.node import Node
from sandboxd.ports import Doorway, Relays
from sandboxd.service.auth import Gate
from sandboxd.service.data_plane import DataPlaneService
from sandboxd.service.http_transfers import HttpTransfers
from sandboxd.service.node_api import NodeService

GRPC_OPTIONS: Final = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", 2 * 1024 * 1024),
    ("grpc.max_send_message_length", 2 * 1024 * 1024),
    ("grpc.max_concurrent_streams", 10_000),
    # Calls that wait for this process to look at them. By default gRPC drops some of them at random from 1,000 on.
    ("grpc.server.max_pending_requests", 10_000),
    ("grpc.server.max_pending_requests_hard_limit", 12_000),
    ("grpc.max_metadata_size", 16 * 1024),
    # Clients ask every 20 s whether a quiet stream is still there; the default takes more than one question in 5 minutes for an attack.
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
)
STOP_GRACE_S: Final = 1.0


class Bound(msgspec.Struct, frozen=True):
    """Where the servers listen."""

    grpc_port: int
    http_port: int


@contextlib.asynccontextmanager
async def serve(
    node: Node,
    gate: Gate,
    *,
    grpc_address: str,
    http_address: str,
    images: ImageStacks | None = None,
    memory: MemoryCache | None = None,
) -> AsyncIterator[Bound]:
    """Serve while the block runs. Port 0 lets the kernel choose.

    Raises: OSError: an address cannot be bound.
    """
    server = grpc.aio.server(options=GRPC_OPTIONS)
    node_pb2_grpc.add_NodeServicer_to_server(NodeService(node, gate, images, memory), server)  # type: ignore[no-untyped-call]  # generated
    data_pb2_grpc.add_DataPlaneServicer_to_server(DataPlaneService(node, gate), server)  # type: ignore[no-untyped-call]  # generated
    grpc_port = _bind(server, grpc_address)
    runner = web.AppRunner(
        HttpTransfers(node, gate).application(), access_log=None, handler_cancellation=True, shutdown_timeout=STOP_GRACE_S
    )
    await runner.setup()
    relays = Relays(node, gate)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(runner.cleanup)
        stack.push_async_callback(relays.close)
        listener = await _listen(runner, relays, http_address)
        stack.callback(listener.close)
        await server.start()
        stack.push_async_callback(server.stop, STOP_GRACE_S)
        yield Bound(grpc_port, listener.sockets[0].getsockname()[1])


async def _listen(runner: web.AppRunner, relays: Relays, address: str) -> asyncio.Server:
    """The HTTP port, which bulk transfers and relays share."""
    host, _, port = address.rpartition(":")
    http = runner.server
    assert http is not None  # the runner is set up
    return await asyncio.get_running_loop().create_server(lambda: Doorway(http, relays), host.strip("[]"), int(port), backlog=1024)


def _bind(server: grpc.aio.Server, address: str) -> int:
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise OSError(f"{address} cannot be bound") from error
    return port
