"""What every gRPC method of the node does around its work: authorisation header in, typed errors out."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import grpc
import structlog

from cove.exception import ConflictError, Error, FilesystemExecutionError, InternalError
from cove.wire.errors import abort
from sandboxd.channel.streams import GuestError, StreamCut

log = structlog.get_logger()

Request = TypeVar("Request")
Response = TypeVar("Response")
Context = grpc.aio.ServicerContext[Any, Any]


def authorization(context: Context) -> str | None:
    """The call's ``authorization`` metadata."""
    for key, value in context.invocation_metadata() or ():
        if key == "authorization":
            return value if isinstance(value, str) else value.decode("latin-1")
    return None


def as_error(error: Exception) -> Error:
    """What a caller is told of ``error``. A bug is logged whole and told by its class name only."""
    if isinstance(error, Error):
        return error
    if isinstance(error, GuestError):
        return FilesystemExecutionError(error.message, code="file_error", context={"errno": str(error.errno)})
    if isinstance(error, StreamCut):
        return ConflictError(
            "The sandbox ended, or its session was reset, during the call.", code="sandbox_ended", remedy="Look at its state."
        )
    log.error("call failed", exc_info=error)
    return InternalError(f"A bug in the node daemon: {type(error).__name__}.", remedy="The daemon's log has the details.")


def unary(method: Callable[[Any, Request, Context], Awaitable[Response]]) -> Callable[[Any, Request, Context], Awaitable[Response]]:
    """Wrap a unary method: errors become status and ``ErrorInfo``."""

    @functools.wraps(method)
    async def call(self: Any, request: Request, context: Context) -> Response:
        try:
            return await method(self, request, context)
        except Exception as error:
            await abort(context, as_error(error))
            raise  # abort raises; this is for the type checker

    return call


def streaming(
    method: Callable[[Any, Request, Context], AsyncIterator[Response]],
) -> Callable[[Any, Request, Context], AsyncIterator[Response]]:
    """Wrap a server-streaming method likewise."""

    @functools.wraps(method)
    async def call(self: Any, request: Request, context: Context) -> AsyncIterator[Response]:
        try:
            async for response in method(self, request, context):
                yield response
        except Exception as error:
            await abort(context, as_error(error))

    return call
