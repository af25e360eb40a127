"""How a :class:`cove.exception.Error` crosses gRPC: a status code, a text, and an ``ErrorInfo`` in binary trailing metadata."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, cast

import grpc
from google.protobuf.message import DecodeError

from cove.exception import CODES, GRPC_FALLBACK, Error, InternalError, from_code
from cove.wire import common_pb2

METADATA_KEY: Final = "cove-error-bin"


def status_of(error: Error) -> grpc.StatusCode:
    """The gRPC status that ``error`` travels under."""
    entry = CODES.get(error.code) or CODES["internal"]
    return grpc.StatusCode[entry.grpc]


def encode(error: Error) -> bytes:
    """The ``ErrorInfo`` record of ``error``."""
    info = common_pb2.ErrorInfo(code=error.code, cause=error.cause, remedy=error.remedy, retryable=error.retryable, context=error.context)
    return info.SerializeToString()


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: Error) -> None:
    """End the call with ``error``. Raises always (grpc's abort does)."""
    await context.abort(status_of(error), str(error), trailing_metadata=((METADATA_KEY, encode(error)),))


def decode(rpc_error: grpc.RpcError) -> Error:
    """The error that the other side raised, or the nearest for a bare status."""
    metadata = rpc_error.trailing_metadata() if isinstance(rpc_error, grpc.aio.AioRpcError) else None
    for key, value in cast("Iterable[tuple[str, str | bytes]]", metadata or ()):  # the stubs do not know that it is pairs
        if key == METADATA_KEY and isinstance(value, bytes):
            try:
                info = common_pb2.ErrorInfo.FromString(value)
            except DecodeError:
                break
            return from_code(info.code, info.cause, remedy=info.remedy, retryable=info.retryable, context=info.context)
    if not isinstance(rpc_error, grpc.aio.AioRpcError):
        return InternalError(f"call failed: {type(rpc_error).__name__}")
    kind = GRPC_FALLBACK.get(rpc_error.code().name, InternalError)
    return kind(rpc_error.details() or rpc_error.code().name)
