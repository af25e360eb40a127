"""The gRPC edge: authenticates each call, hands the message to a method, and turns errors into statuses."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar

import grpc
import structlog
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from cove.exception import CODES, Error, InternalError
from cove.wire.errors import abort
from router.metrics import Metrics

P = TypeVar("P")
Metadata = Mapping[str, str]
Method = Callable[[P, Any], Any]
"""From who calls and the request to the answer: awaited, or where the service says so iterated."""
Authenticate = Callable[[str, Metadata, str], Awaitable[P]]
"""From method name, metadata and peer to who calls. Raises AuthError."""

MAX_REQUEST_BYTES: Final = 16 * 2**20
"""A complete report of a full node; a spec is at most some 2 MiB."""

log = structlog.get_logger(__name__)


def service(
    descriptor: ServiceDescriptor, methods: Mapping[str, Method[P]], authenticate: Authenticate[P], metrics: Metrics
) -> grpc.GenericRpcHandler[Any, Any]:
    """Serve every method of ``descriptor``, none without authentication.

    Raises:  ValueError: ``methods`` are not exactly the service's.
    """
    missing = {method.name for method in descriptor.methods} ^ methods.keys()
    if missing:
        raise ValueError(f"{descriptor.full_name} and its implementation differ in {sorted(missing)}")
    handlers = {method.name: _handler(method, methods[method.name], authenticate, metrics) for method in descriptor.methods}
    handler: grpc.GenericRpcHandler[Any, Any] = grpc.method_handlers_generic_handler(descriptor.full_name, handlers)
    return handler


def metadata_of(context: grpc.aio.ServicerContext[Any, Any]) -> Metadata:
    """The call's textual metadata."""
    return {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}


def peer_of(context: grpc.aio.ServicerContext[Any, Any]) -> str:
    """The peer's network address without its port."""
    return context.peer().rpartition(":")[0]


def told(method: str, error: Exception) -> Error:
    """The error that ends the call; what is not ours on purpose is logged here and told as little of as can be."""
    if isinstance(error, Error):
        return error
    log.error("call failed", method=method, exc_info=error)
    return InternalError("The router failed at this call.", remedy="Its log says why.")


def _handler(method: MethodDescriptor, run: Method[P], authenticate: Authenticate[P], metrics: Metrics) -> grpc.RpcMethodHandler[Any, Any]:
    async def serve(request: Message, context: grpc.aio.ServicerContext[Any, Any]) -> Message:
        started, code = time.perf_counter(), "ok"
        try:
            caller = await authenticate(method.name, metadata_of(context), peer_of(context))
            answer: Message = await run(caller, request)
            return answer
        except Exception as caught:  # the edge: everything becomes a status
            error = told(method.full_name, caught)
            code = error.code if error.code in CODES else "internal"
            await abort(context, error)
            raise AssertionError("abort returned") from caught
        finally:
            metrics.count_call(method.name, code, time.perf_counter() - started)

    async def stream(request: Message, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Message]:
        started, code = time.perf_counter(), "ok"
        try:
            caller = await authenticate(method.name, metadata_of(context), peer_of(context))
            async with contextlib.aclosing(run(caller, request)) as answers:
                async for answer in answers:
                    yield answer
        except Exception as caught:  # the edge: everything becomes a status
            error = told(method.full_name, caught)
            code = error.code if error.code in CODES else "internal"
            await abort(context, error)
        finally:
            metrics.count_call(method.name, code, time.perf_counter() - started)

    request_class = GetMessageClass(method.input_type)
    response_class = GetMessageClass(method.output_type)
    make = grpc.unary_stream_rpc_method_handler if method.server_streaming else grpc.unary_unary_rpc_method_handler
    handler: grpc.RpcMethodHandler[Any, Any] = make(
        stream if method.server_streaming else serve,
        request_deserializer=request_class.FromString,
        response_serializer=response_class.SerializeToString,
    )
    return handler
