"""Serves ``cove.v1.DataPlane`` by passing each call on to the sandbox's node: messages stay bytes, unread.

Unary and streaming calls look alike on the wire, so every method is relayed as a stream in both directions. Each message is awaited on
one side before the next is read from the other; nothing is buffered beyond gRPC's own windows.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any, Final

import grpc

from cove.exception import ConnectionError
from cove.wire.errors import METADATA_KEY, abort
from router.grpc_edge import metadata_of, told
from router.ingress.routes import Routes
from router.metrics import Metrics
from router.node_client import NodeClient, RelayedCall

SERVICE: Final = "/cove.v1.DataPlane/"

Context = grpc.aio.ServicerContext[bytes, bytes]
Metadata = tuple[tuple[str, str | bytes], ...]

_NOT_PASSED_ON: Final = ("grpc-", "cove-token-", "user-agent", "content-type", "te", "date", ":")
"""Prefixes of metadata that belong to one connection, or (the API token) to the router alone."""


class DataPlaneProxy(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # generic in the stubs only
    """The generic handler for all data-plane methods, also those of newer nodes."""

    def __init__(self, routes: Routes, client: NodeClient, metrics: Metrics) -> None:
        self._routes, self._client, self._metrics = routes, client, metrics

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        method = handler_call_details.method
        if not method.startswith(SERVICE):
            return None

        async def serve(requests: AsyncIterator[bytes], context: Context) -> None:
            try:
                await self._pass_on(method, requests, context)
            except (grpc.aio.AbortError, grpc.aio.AioRpcError):
                raise
            except Exception as error:  # the edge: everything becomes a status
                await abort(context, told(method, error))

        return grpc.stream_stream_rpc_method_handler(serve)

    async def _pass_on(self, method: str, requests: AsyncIterator[bytes], context: Context) -> None:
        _, node = await self._routes.find(metadata_of(context).get("authorization"))
        self._metrics.count_proxied("grpc")
        metadata = passed_on(context.invocation_metadata() or ())
        call = await self._client.relay(node, method, self._counted(requests), metadata=metadata, timeout_s=context.time_remaining())
        try:
            await self._pass_back(call, context)
        finally:
            call.cancel()  # a no-op when it is over; otherwise the client is gone and the node shall know

    async def _pass_back(self, call: RelayedCall, context: Context) -> None:
        """Answers, then the status with its metadata."""
        try:
            await context.send_initial_metadata(passed_on(await call.initial_metadata() or ()))
            async for message in call:
                self._metrics.count_bytes("grpc", "down", len(message))
                await context.write(message)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE and not _is_ours(error):
                raise ConnectionError("The sandbox's node does not answer.", remedy="Try again in a moment.") from error
        except asyncio.CancelledError:
            if _being_cancelled() or not call.done():
                raise
            # Otherwise the node ended the call as cancelled, and grpc tells that by the same exception.
        trailing = passed_on(await call.trailing_metadata() or ())
        code = await call.code()
        if code is not grpc.StatusCode.OK:
            await context.abort(code, await call.details() or "", trailing_metadata=trailing)
        context.set_trailing_metadata(trailing)

    async def _counted(self, requests: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for message in requests:
            self._metrics.count_bytes("grpc", "up", len(message))
            yield message


def passed_on(metadata: Iterable[tuple[str, str | bytes]]) -> Metadata:
    """The part of ``metadata`` that is for the other end."""
    return tuple((key, value) for key, value in metadata if not key.startswith(_NOT_PASSED_ON))


def _is_ours(error: grpc.aio.AioRpcError) -> bool:
    """Whether the node itself said so, not gRPC on its behalf."""
    trailing: Any = error.trailing_metadata() or ()
    return any(key == METADATA_KEY for key, _ in trailing)


def _being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
