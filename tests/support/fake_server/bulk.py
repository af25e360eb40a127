"""The fake node: bulk transfers."""

from __future__ import annotations

import errno
import hashlib
from urllib.parse import parse_qs

from aiohttp import web

from cove.exception import CODES, DataLossError, Error
from tests.support.fake_server.edge import check_bearer, check_client
from tests.support.fake_server.files import failed
from tests.support.fake_server.world import Sandbox, World


class BulkRoutes:
    """The HTTP side. A GET of an archive answers with what the test has put there, whatever it is."""

    def __init__(self, world: World) -> None:
        self.world = world

    def add_to(self, application: web.Application) -> None:
        application.middlewares.append(_errors)
        for kind in ("file", "archive"):
            path = f"/v1/sandboxes/{{sandbox_id}}/{kind}"
            application.router.add_get(path, getattr(self, f"get_{kind}"))
            application.router.add_put(path, getattr(self, f"put_{kind}"))

        application.router.add_put("/v1/blobs/{digest}", self.put_blob)

    async def put_blob(self, request: web.Request) -> web.Response:
        """As the router takes it. Faults: a list of errors to answer with, or ``blob_cut``: connections cut in mid-body."""
        images = self.world.images
        self.world.count("put_blob")
        check_client({name: request.headers.get(name, "") for name in ("cove-token-id", "cove-token-secret")})
        images.at_once += 1
        images.most_at_once = max(images.most_at_once, images.at_once)
        try:
            return await self._take_blob(request)
        finally:
            images.at_once -= 1

    async def _take_blob(self, request: web.Request) -> web.Response:
        for name in ("put_blob", "blob_cut"):
            if self.world.fail_next.get(name):
                error = self.world.fail_next[name].pop(0)
                if name == "put_blob":
                    raise error
                await request.content.read(1000)
                assert request.transport is not None
                request.transport.abort()
        if self.world.images.hold is not None:
            await self.world.images.hold.wait()
        content = await request.read()
        assert request.content_length == len(content)
        digest = bytes.fromhex(request.match_info["digest"].removeprefix("sha256:"))
        if hashlib.sha256(content).digest() != digest:
            raise DataLossError("The content has another digest.")
        self.world.images.blobs[digest] = content
        return web.json_response({})

    async def get_file(self, request: web.Request) -> web.StreamResponse:
        sandbox = self._sandbox(request, "get_file")
        content = sandbox.files.get(_query(request, "path"))
        if content is None:
            raise failed(errno.ENOENT)
        return await self._send(request, bytes(content))

    async def get_archive(self, request: web.Request) -> web.StreamResponse:
        self._sandbox(request, "get_archive")
        return await self._send(request, self.world.archive)

    async def put_file(self, request: web.Request) -> web.Response:
        sandbox = self._sandbox(request, "put_file")
        path, content = _query(request, "path"), await request.read()
        sandbox.files[path] = bytearray(content)
        sandbox.modes[path] = int(_query(request, "mode"), 8)
        return web.json_response({"bytes": len(content)})

    async def put_archive(self, request: web.Request) -> web.Response:
        self._sandbox(request, "put_archive")
        self.world.uploaded[_query(request, "path").decode()] = await request.read()
        return web.json_response({"members": 1})

    async def _send(self, request: web.Request, content: bytes) -> web.StreamResponse:
        """The content; with a fault ordered, only the first half of it."""
        response = web.StreamResponse()
        response.content_length = len(content)
        await response.prepare(request)
        if self.world.fail_next.get("body"):
            self.world.fail_next["body"].pop()
            await response.write(content[: len(content) // 2])
            assert request.transport is not None
            request.transport.abort()
            return response
        await response.write(content)
        await response.write_eof()
        return response

    def _sandbox(self, request: web.Request, name: str) -> Sandbox:
        self.world.count(name)
        faults = self.world.fail_next.get(name)
        if faults:
            raise faults.pop(0)
        check_bearer(self.world, request.headers.get("Authorization"))
        return self.world.sandboxes[request.match_info["sandbox_id"]]


def _query(request: web.Request, name: str) -> bytes:
    """A parameter as the bytes it is: aiohttp gives only UTF-8."""
    (value,) = parse_qs(request.rel_url.raw_query_string, errors="surrogateescape")[name]
    return value.encode("utf-8", "surrogateescape")


@web.middleware
async def _errors(request: web.Request, handler: object) -> web.StreamResponse:
    try:
        return await handler(request)  # type: ignore[operator,no-any-return]  # aiohttp's own type is no simpler
    except Error as error:
        body = {"code": error.code, "cause": error.cause, "remedy": error.remedy, "retryable": error.retryable, "context": error.context}
        return web.json_response(body, status=CODES[error.code].http)
