"""A node's data plane for proxy tests: real DataPlane messages in every cardinality it uses, and what happened on the node's side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
from aiohttp import web

from cove.exception import NotFoundError
from cove.wire import data_pb2
from cove.wire.errors import abort

CHUNK = bytes(range(256)) * 256


class FakeDataPlane:
    """``ProcessGet`` echoes, ``ProcessList`` fails, ``ProcessWait`` hangs, ``ProcessOutput`` streams for ever or ``chunks`` times."""

    def __init__(self) -> None:
        self.metadata: dict[str, str | bytes] = {}
        self.deadline_s: float | None = None
        self.hanging = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.sent = 0
        self.chunks = 3
        self.streamed: list[bytes] = []

    def handler(self) -> grpc.GenericRpcHandler[Any, Any]:
        handlers: dict[str, Any] = {
            "ProcessGet": self._unary(self._echo, data_pb2.ProcessGetRequest),
            "ProcessList": self._unary(self._fail, data_pb2.ProcessListRequest),
            "ProcessWait": self._unary(self._hang, data_pb2.ProcessWaitRequest),
            "ProcessSignal": self._unary(self._cancel, data_pb2.ProcessSignalRequest),
            "ProcessOutput": grpc.unary_stream_rpc_method_handler(
                self._stream, data_pb2.ProcessOutputRequest.FromString, data_pb2.OutputChunk.SerializeToString
            ),
            # Not in data.proto yet: a newer node's methods pass through an older router.
            "Upload": grpc.stream_unary_rpc_method_handler(self._upload),
            "Talk": grpc.stream_stream_rpc_method_handler(self._talk),
        }
        made: grpc.GenericRpcHandler[Any, Any] = grpc.method_handlers_generic_handler("cove.v1.DataPlane", handlers)
        return made

    def _unary(self, run: Any, request_class: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(run, request_class.FromString, lambda message: message.SerializeToString())

    async def _echo(self, request: data_pb2.ProcessGetRequest, context: Any) -> data_pb2.ProcessStatus:
        self.metadata = dict(context.invocation_metadata())
        self.deadline_s = context.time_remaining()
        await context.send_initial_metadata((("initial", "first"), ("initial-bin", b"\0\xff")))
        context.set_trailing_metadata((("trailing", "last"), ("trailing-bin", b"\xff\0")))
        return data_pb2.ProcessStatus(exec_id=request.exec_id)

    async def _fail(self, request: data_pb2.ProcessListRequest, context: Any) -> None:
        await abort(context, NotFoundError("no such thing", remedy="look elsewhere", context={"a": "b"}))

    async def _cancel(self, request: data_pb2.ProcessSignalRequest, context: Any) -> None:
        await context.abort(grpc.StatusCode.CANCELLED, "cancelled by the node")

    async def _hang(self, request: data_pb2.ProcessWaitRequest, context: Any) -> None:
        self.hanging.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()

    async def _stream(self, request: data_pb2.ProcessOutputRequest, context: Any) -> AsyncIterator[data_pb2.OutputChunk]:
        try:
            while not self.chunks or self.sent < self.chunks:
                yield data_pb2.OutputChunk(offset=self.sent * len(CHUNK), data=CHUNK)
                self.sent += 1
            yield data_pb2.OutputChunk(offset=self.sent * len(CHUNK), eof=True)
        finally:
            self.cancelled.set()

    async def _upload(self, requests: AsyncIterator[bytes], context: Any) -> bytes:
        self.streamed = [message async for message in requests]
        return b"".join(self.streamed)

    async def _talk(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for message in requests:
            yield message.upper()


class FakeTransfers:
    """A node's HTTP side: keeps what is put, gives ``content``, breaks off where told."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        """(method, path with query as it came, headers)"""
        self.received = 0
        self.receiving = asyncio.Event()
        self.upload_broken = asyncio.Event()
        self.content = CHUNK * 64
        self.break_after: int | None = None
        self.held = asyncio.Event()
        self.held.set()

    def app(self) -> web.Application:
        app = web.Application()
        app.add_routes([web.get("/{tail:.*}", self._get), web.put("/{tail:.*}", self._put)])
        return app

    def _note(self, request: web.Request) -> None:
        self.requests.append((request.method, request.raw_path, {key.lower(): value for key, value in request.headers.items()}))

    async def _get(self, request: web.Request) -> web.StreamResponse:
        self._note(request)
        response = web.StreamResponse(headers={"X-Node": "here", "Content-Type": "application/x-tar"})
        if "chunked" not in request.query:
            response.content_length = len(self.content)
        await response.prepare(request)
        await response.write(self.content[: self.break_after])
        if self.break_after is not None:
            assert request.transport is not None
            request.transport.abort()
            return response
        await self.held.wait()
        await response.write_eof()
        return response

    async def _put(self, request: web.Request) -> web.Response:
        self._note(request)
        if "refuse" in request.query:
            return web.json_response({"code": "not_found", "cause": "no directory"}, status=404)
        try:
            async for chunk in request.content.iter_any():
                self.received += len(chunk)
                self.receiving.set()
        except (web.RequestPayloadError, ConnectionError):
            self.upload_broken.set()
            raise
        return web.json_response({"bytes": self.received})
