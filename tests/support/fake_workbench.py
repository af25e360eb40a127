"""What builds do in the sandboxes of a fake node: its data plane over file trees, with a shell of a few words."""

from __future__ import annotations

import asyncio
import posixpath
import tarfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import grpc
import msgspec
from aiohttp import web

from cove.exception import Error, FilesystemExecutionError
from cove.wire import data_pb2
from cove.wire.errors import abort
from router.images.builder.layers import GIT
from tests.support.fake_layers import FakeLayers
from tests.support.fake_tree import Thing, make_directories, pack, put, remove, unpack


class Process(msgspec.Struct):
    """One that was started."""

    sandbox_id: str
    argv: list[str]
    env: dict[str, str]
    workdir: str
    user: str
    output: dict[int, bytes]
    exit_code: int = 0
    done: bool = False
    changed: asyncio.Event = msgspec.field(default_factory=asyncio.Event)

    @property
    def fetches(self) -> bool:
        """Whether it is ADD's, and not the user's."""
        return self.argv[0] == "python3" or self.argv[3:4] == ["clone"]

    def end(self, exit_code: int = 0, said: bytes = b"") -> None:
        """It writes this and ends."""
        self.output[1] += said
        self.exit_code, self.done = exit_code, True
        self.wake()

    def say(self, text: bytes, fd: int = 1) -> None:
        """It writes this."""
        self.output[fd] += text
        self.wake()

    def wake(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()


class Workbench:
    """``cut_output``: output streams end early, in bytes, until it is 0."""

    def __init__(self) -> None:
        self.layers = FakeLayers()
        self.processes: dict[str, Process] = {}
        self.hanging = asyncio.Event()
        """Set when a process runs that does not end by itself."""
        self.cut_output = 0
        self.urls: dict[str, Thing] = {}
        """What can be fetched."""
        self.repositories: dict[str, dict[str, bytes]] = {}
        """What can be cloned: files by path."""
        self.http_url = ""
        self.refusal: Error | None = None
        """Of starting processes."""

    @property
    def commands(self) -> list[Process]:
        """What was started, without what the builder needs for itself."""
        return [process for process in self.processes.values() if process.argv[-1] != GIT.removeprefix("RUN ") and not process.fetches]

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Workbench]:
        """The HTTP side, for the block."""
        app = web.Application()
        for kind, put_, get in (("file", self._put_file, self._get_file), ("archive", self._put_archive, self._get_archive)):
            app.router.add_put(f"/v1/sandboxes/{{sandbox_id}}/{kind}", put_)
            app.router.add_get(f"/v1/sandboxes/{{sandbox_id}}/{kind}", get)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.http_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()

    def handler(self) -> grpc.GenericRpcHandler[Any, Any]:
        """The gRPC side."""
        handlers: dict[str, Any] = {
            "ProcessStart": _unary(self._start, data_pb2.ProcessStartRequest),
            "ProcessWait": _unary(self._wait, data_pb2.ProcessWaitRequest),
            "ProcessOutput": grpc.unary_stream_rpc_method_handler(
                self._output, data_pb2.ProcessOutputRequest.FromString, data_pb2.OutputChunk.SerializeToString
            ),
            "FileStat": _unary(self._stat, data_pb2.FileStatRequest),
            "FileMakeDirectory": _unary(self._make_directory, data_pb2.FileMakeDirectoryRequest),
            "FileRemove": _unary(self._remove, data_pb2.FileRemoveRequest),
            "FileList": grpc.unary_stream_rpc_method_handler(
                self._list, data_pb2.FileListRequest.FromString, data_pb2.FileListChunk.SerializeToString
            ),
        }
        made: grpc.GenericRpcHandler[Any, Any] = grpc.method_handlers_generic_handler("cove.v1.DataPlane", handlers)
        return made

    async def _start(self, request: data_pb2.ProcessStartRequest) -> data_pb2.ProcessStatus:
        if self.refusal is not None:
            raise self.refusal
        argv = [argument.decode() for argument in request.argv]
        process = Process(request.sandbox_id, argv, dict(request.env), request.workdir, request.user, {1: b"", 2: b""})
        self.processes[request.exec_id] = process
        self._run(process)
        return data_pb2.ProcessStatus(exec_id=request.exec_id, state=data_pb2.PROCESS_STATE_RUNNING)

    def _run(self, process: Process) -> None:
        match process.argv:
            case ["python3", "-c", _, url, path, _]:
                self._fetch(process, url, path)
                return
            case ["/bin/sh", "-c", _, "clone", url, ref, keep, _, place]:
                self._clone(process, f"{url}#{ref}" if ref else url, place, keep=bool(keep))
                return
            case ["/bin/sh", "-c", script]:
                self._shell(process, script)
                return
        process.end()

    def _fetch(self, process: Process, url: str, path: str) -> None:
        if url in self.urls:
            put(self.layers.trees[process.sandbox_id], path, b"")
            self.layers.trees[process.sandbox_id][path] = self.urls[url]
        process.end(0 if url in self.urls else 1, b"" if url in self.urls else b"HTTPError: HTTP Error 404: Not Found")

    def _clone(self, process: Process, source: str, place: str, *, keep: bool) -> None:
        tree = self.layers.trees[process.sandbox_id]
        for path, content in self.repositories.get(source, {}).items():
            if keep or not path.startswith(".git/"):
                put(tree, f"{place}/{path}", content)
        process.end(0 if source in self.repositories else 128)

    def _shell(self, process: Process, script: str) -> None:
        """``echo WORDS``, ``complain WORDS``, ``write PATH WORD``, ``exit CODE``, ``hang``; separated by ``;`` or lines."""
        tree = self.layers.trees[process.sandbox_id]
        for line in script.replace(";", "\n").splitlines():
            match line.split():
                case ["echo", *words]:
                    process.say(" ".join(words).encode() + b"\n")
                case ["complain", *words]:
                    process.say(" ".join(words).encode() + b"\n", fd=2)
                case ["write", path, word]:
                    put(tree, path, word.encode())
                case ["exit", code]:
                    process.end(int(code))
                    return
                case ["hang"]:
                    self.hanging.set()
                    return
        process.end()

    async def _wait(self, request: data_pb2.ProcessWaitRequest) -> data_pb2.ProcessStatus:
        process = self.processes[request.exec_id]
        while not process.done:
            await process.changed.wait()
        return data_pb2.ProcessStatus(exec_id=request.exec_id, state=data_pb2.PROCESS_STATE_EXITED, exit_code=process.exit_code)

    async def _output(self, request: data_pb2.ProcessOutputRequest, context: Any) -> AsyncIterator[data_pb2.OutputChunk]:
        process, offset = self.processes[request.exec_id], request.offset
        while True:
            changed, done, data = process.changed, process.done, process.output[request.fd][offset:]
            if data and self.cut_output:
                yield data_pb2.OutputChunk(offset=offset, data=data[: self.cut_output])
                return
            if data:
                yield data_pb2.OutputChunk(offset=offset, data=data)
                offset += len(data)
            if done:
                yield data_pb2.OutputChunk(offset=offset, eof=True)
                return
            await changed.wait()

    async def _stat(self, request: data_pb2.FileStatRequest) -> data_pb2.FileStatResponse:
        tree, path = self.layers.trees[request.sandbox_id], request.path.decode()
        thing = tree.get(path)
        if thing is not None and thing.kind == tarfile.SYMTYPE:  # followed, one step
            thing = tree.get(posixpath.join(posixpath.dirname(path), thing.content.decode()))
        if thing is None:
            raise FilesystemExecutionError("no such file", code="file_error", context={"errno": "2"})
        kind = 0o040000 if thing.kind == tarfile.DIRTYPE else 0o100000
        return data_pb2.FileStatResponse(info=data_pb2.FileInfo(mode=kind | thing.mode))

    async def _make_directory(self, request: data_pb2.FileMakeDirectoryRequest) -> data_pb2.FileMakeDirectoryResponse:
        make_directories(self.layers.trees[request.sandbox_id], request.path.decode())
        return data_pb2.FileMakeDirectoryResponse()

    async def _remove(self, request: data_pb2.FileRemoveRequest) -> data_pb2.FileRemoveResponse:
        tree, path = self.layers.trees[request.sandbox_id], request.path.decode()
        if path not in tree:
            raise FilesystemExecutionError("no such file", code="file_error", context={"errno": "2"})
        remove(tree, path)
        return data_pb2.FileRemoveResponse()

    async def _list(self, request: data_pb2.FileListRequest, context: Any) -> AsyncIterator[data_pb2.FileListChunk]:
        """One entry a chunk, last one first."""
        tree, path = self.layers.trees[request.sandbox_id], request.path.decode()
        if path not in tree:
            await abort(context, FilesystemExecutionError("no such directory", code="file_error", context={"errno": "2"}))
        for found in sorted(tree, reverse=True):
            if found != path and posixpath.dirname(found) == path:
                yield data_pb2.FileListChunk(entries=[data_pb2.FileInfo(name=posixpath.basename(found))])

    async def _put_file(self, request: web.Request) -> web.Response:
        tree, query = self.layers.trees[request.match_info["sandbox_id"]], request.query
        put(tree, query["path"], await request.read(), int(query["mode"], 8))
        return web.json_response({"bytes": 0})

    async def _get_file(self, request: web.Request) -> web.Response:
        return web.Response(body=self.layers.trees[request.match_info["sandbox_id"]][request.query["path"]].content)

    async def _put_archive(self, request: web.Request) -> web.Response:
        unpack(self.layers.trees[request.match_info["sandbox_id"]], request.query["path"], await request.read())
        return web.json_response({"members": 0})

    async def _get_archive(self, request: web.Request) -> web.Response:
        tree, path = self.layers.trees[request.match_info["sandbox_id"]], request.query["path"]
        if path not in tree:
            return web.json_response({"code": "file_error", "cause": "no such file"}, status=422)
        return web.Response(body=pack(tree, path))


def _unary(run: Any, request_class: Any) -> Any:
    async def serve(request: Any, context: Any) -> Any:
        try:
            return await run(request)
        except Error as error:
            await abort(context, error)

    return grpc.unary_unary_rpc_method_handler(serve, request_class.FromString, lambda message: message.SerializeToString())


def words(environment: Mapping[str, str]) -> list[str]:
    """``NAME=value``, sorted."""
    return sorted(f"{name}={value}" for name, value in environment.items())
