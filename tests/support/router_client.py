"""Calls of the control plane as a client makes them: real sockets, credentials in metadata, errors as cove's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
from google.protobuf.message_factory import GetMessageClass

from cove.types import new_id
from cove.wire import common_pb2, control_pb2
from cove.wire.errors import decode
from router.auth import Credentials

SERVICE = control_pb2.DESCRIPTOR.services_by_name["Control"]


class ControlClient:
    """One channel; ``call`` names a method by its message."""

    def __init__(self, address: str, credentials: Credentials | None) -> None:
        self.channel = grpc.aio.insecure_channel(address)
        self.metadata: tuple[tuple[str, str], ...] = ()
        if credentials is not None:
            self.metadata = (("cove-token-id", credentials.token_id), ("cove-token-secret", credentials.token_secret))

    async def call(self, method: str, request: Any = None) -> Any:
        """The answer. Raises: cove.exception.Error."""
        descriptor = SERVICE.methods_by_name[method]
        stub: Any = self.channel.unary_unary(
            f"/cove.v1.Control/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GetMessageClass(descriptor.output_type).FromString,
        )
        message = GetMessageClass(descriptor.input_type)() if request is None else request
        try:
            return await stub(message, metadata=self.metadata)
        except grpc.RpcError as error:
            raise decode(error) from error

    async def stream(self, method: str, request: Any) -> AsyncIterator[Any]:
        """The answers of a call that streams. Raises: cove.exception.Error."""
        descriptor = SERVICE.methods_by_name[method]
        stub: Any = self.channel.unary_stream(
            f"/cove.v1.Control/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GetMessageClass(descriptor.output_type).FromString,
        )
        try:
            async for answer in stub(request, metadata=self.metadata):
                yield answer
        except grpc.RpcError as error:
            raise decode(error) from error

    async def app(self, name: str = "app", environment: str = "") -> str:
        """The id of an App, made if missing."""
        request = control_pb2.AppLookupRequest(name=name, environment=environment, create_if_missing=True)
        app_id: str = (await self.call("AppLookup", request)).app_id
        return app_id

    async def create(self, app_id: str, **fields: Any) -> control_pb2.SandboxCreateResponse:
        """Create a sandbox; ``fields`` are those of the request."""
        fields.setdefault("idempotency_key", new_id("ik"))
        fields.setdefault("spec", common_pb2.SandboxSpec())
        answer: control_pb2.SandboxCreateResponse = await self.call(
            "SandboxCreate", control_pb2.SandboxCreateRequest(app_id=app_id, **fields)
        )
        return answer

    async def get(self, sandbox_id: str) -> control_pb2.SandboxInfo:
        """All of a sandbox."""
        info: control_pb2.SandboxInfo = await self.call("SandboxGet", control_pb2.SandboxGetRequest(sandbox_id=sandbox_id))
        return info

    async def wait(self, sandbox_id: str, timeout_s: float) -> common_pb2.SandboxStatus:
        """Long poll for its end."""
        request = control_pb2.SandboxWaitRequest(sandbox_id=sandbox_id, timeout_s=timeout_s)
        status: common_pb2.SandboxStatus = await self.call("SandboxWait", request)
        return status

    async def terminate(self, sandbox_id: str) -> None:
        """End it."""
        await self.call("SandboxTerminate", control_pb2.SandboxTerminateRequest(sandbox_id=sandbox_id))

    async def list_(self, **fields: Any) -> control_pb2.SandboxListResponse:
        """One page."""
        answer: control_pb2.SandboxListResponse = await self.call("SandboxList", control_pb2.SandboxListRequest(**fields))
        return answer
