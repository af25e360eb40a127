"""The few calls that the command line makes to the router of its own machine, before there is a profile."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from importlib import metadata
from typing import Final

import grpc

from cove.wire import control_pb2, control_pb2_grpc
from cove.wire.errors import decode
from sandboxd.local.installation import Credentials

CALL_S: Final = 5.0


class Control:
    """Calls to one router as one token. Each raises the error that the router gave, or ConnectionError."""

    def __init__(self, stub: control_pb2_grpc.ControlStub, credentials: Credentials) -> None:
        self._stub = stub
        self._metadata = (("cove-token-id", credentials.token_id), ("cove-token-secret", credentials.token_secret))

    async def hello(self) -> control_pb2.HelloResponse:
        """Who answers; proves that the token is good."""
        request = control_pb2.HelloRequest(client_version=metadata.version("cove"))
        with _errors():
            answer: control_pb2.HelloResponse = await self._stub.Hello(request, metadata=self._metadata, timeout=CALL_S)
        return answer

    async def nodes(self) -> list[control_pb2.NodeInfo]:
        with _errors():
            answer = await self._stub.NodeList(control_pb2.NodeListRequest(), metadata=self._metadata, timeout=CALL_S)
        return list(answer.nodes)

    async def create_token(self, name: str) -> Credentials:
        with _errors():
            answer = await self._stub.TokenCreate(control_pb2.TokenCreateRequest(name=name), metadata=self._metadata, timeout=CALL_S)
        return Credentials(answer.token_id, answer.token_secret)


@contextlib.asynccontextmanager
async def connected(address: str, credentials: Credentials) -> AsyncIterator[Control]:
    """A connection to the router at ``address``."""
    async with grpc.aio.insecure_channel(address) as channel:
        yield Control(control_pb2_grpc.ControlStub(channel), credentials)  # type: ignore[no-untyped-call]  # generated


class _errors(contextlib.AbstractContextManager[None]):
    """Turns a gRPC status into our error."""

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, grpc.aio.AioRpcError):
            raise decode(error) from None
