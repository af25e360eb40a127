"""Bulk transfers over HTTP: a file or a tree in one request, streamed through to the guest with backpressure. See data.proto's head."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import unquote_to_bytes

import structlog
from aiohttp import web

from cove.exception import Error, InvalidError
from cove.wire import http_errors
from sandboxd.channel.messages import WriteFlag
from sandboxd.channel.streams import ByteStream
from sandboxd.node import Node
from sandboxd.sandbox import Sandbox
from sandboxd.service.auth import Gate
from sandboxd.service.convert import absolute_path
from sandboxd.service.edge import as_error

log = structlog.get_logger()

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

PIECE_BYTES: Final = 256 * 1024


class HttpTransfers:
    """The aiohttp application of a node."""

    def __init__(self, node: Node, gate: Gate) -> None:
        self._node = node
        self._gate = gate

    def application(self) -> web.Application:
        app = web.Application(middlewares=[_errors], client_max_size=0)
        app.router.add_get("/healthz", _health)
        app.router.add_put("/v1/sandboxes/{sandbox_id}/file", self.put_file)
        app.router.add_get("/v1/sandboxes/{sandbox_id}/file", self.get_file, allow_head=False)
        app.router.add_put("/v1/sandboxes/{sandbox_id}/archive", self.put_archive)
        app.router.add_get("/v1/sandboxes/{sandbox_id}/archive", self.get_archive, allow_head=False)
        return app

    async def put_file(self, request: web.Request) -> web.StreamResponse:
        sandbox, path = self._target(request)
        mode = _octal(request.query.get("mode", "644"))
        flags = WriteFlag.PARENTS if request.query.get("parents") == "1" else WriteFlag(0)
        guest = await sandbox.guest()
        return await self._receive(request, sandbox, await guest.write_file(path, mode, flags), "bytes")

    async def put_archive(self, request: web.Request) -> web.StreamResponse:
        sandbox, path = self._target(request)
        guest = await sandbox.guest()
        return await self._receive(request, sandbox, await guest.write_archive(path), "members")

    async def get_file(self, request: web.Request) -> web.StreamResponse:
        sandbox, path = self._target(request)
        stat, stream = await (await sandbox.guest()).read_file(path)
        response = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
        # A size of 0 is also what /proc files say: their length is known at the end only.
        if stat.size_bytes:
            response.content_length = stat.size_bytes
        return await self._send(request, response, sandbox, stream)

    async def get_archive(self, request: web.Request) -> web.StreamResponse:
        sandbox, path = self._target(request)
        _, stream = await (await sandbox.guest()).read_archive(path)
        return await self._send(request, web.StreamResponse(headers={"Content-Type": "application/x-tar"}), sandbox, stream)

    def _target(self, request: web.Request) -> tuple[Sandbox, bytes]:
        sandbox_id = request.match_info["sandbox_id"]
        self._gate.client(request.headers.get("Authorization"), sandbox_id)
        sandbox = self._node.get(sandbox_id)
        path = _path_in(request.rel_url.raw_query_string)
        if not path:
            raise InvalidError("The request names no path.", remedy="Add ?path=...")
        return sandbox, absolute_path(path, sandbox)

    async def _receive(self, request: web.Request, sandbox: Sandbox, stream: ByteStream, unit: str) -> web.Response:
        """Body to guest. A body that is cut cancels the transfer: the old file stays."""
        try:
            with sandbox.timers.activity():
                async for piece in request.content.iter_chunked(PIECE_BYTES):
                    await stream.write(piece)
                stream.end()
                count = await stream.result()
        finally:
            stream.close()
        return web.json_response({unit: count})

    async def _send(self, request: web.Request, response: web.StreamResponse, sandbox: Sandbox, stream: ByteStream) -> web.StreamResponse:
        """Guest to body. An error in the middle cuts the connection: the client must not take what it has for the whole."""
        try:
            with sandbox.timers.activity():
                await response.prepare(request)
                async for piece in stream:
                    await response.write(bytes(piece))
                await response.write_eof()
        except OSError as error:
            log.info("transfer failed", sandbox=sandbox.sandbox_id, error=type(error).__name__)
            if request.transport is not None:
                request.transport.abort()
        finally:
            stream.close()
        return response


def _path_in(query: str) -> bytes:
    """The parameter ``path`` as bytes, since a name inside a sandbox need not be UTF-8; empty if there is none."""
    values = (value for name, _, value in (field.partition("=") for field in query.split("&")) if name == "path")
    return unquote_to_bytes(next(values, "").replace("+", " "))


def _octal(text: str) -> int:
    try:
        mode = int(text, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o7777:
        raise InvalidError("The mode is not valid.", remedy="Give octal digits, such as 0644.", context={"field": "mode"})
    return mode


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as error:
        return _error_response(InvalidError(error.reason, code="not_found" if error.status == 404 else "invalid"))
    except ConnectionResetError:
        raise
    except Exception as error:
        return _error_response(as_error(error))


def _error_response(error: Error) -> web.Response:
    # Connection: close, because an unread body may follow.
    return web.Response(
        status=http_errors.status_of(error),
        body=http_errors.encode(error),
        content_type="application/json",
        headers={"Connection": "close"},
    )


async def _health(request: web.Request) -> web.Response:
    """Unauthenticated, and says nothing but that the process answers."""
    return web.Response(text="ok\n")
