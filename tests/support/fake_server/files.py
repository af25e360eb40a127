"""The fake node: files, in a dictionary."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

from cove.exception import FilesystemExecutionError, RequestSizeError
from cove.wire import data_pb2
from tests.support.fake_server.edge import streaming, unary

if TYPE_CHECKING:
    from tests.support.fake_server.world import Sandbox, World

READ, WRITE, CREATE, TRUNCATE, APPEND, EXCLUSIVE = 1, 2, 4, 8, 16, 32
MAX_MESSAGE: Final = 2**20
PIECE: Final = 262_000


def failed(number: int) -> FilesystemExecutionError:
    """As a node reports a failed system call."""
    return FilesystemExecutionError(os.strerror(number), code="file_error", context={"errno": str(number)})


class FakeFiles:
    """File methods; ``sandbox`` is the subclass's."""

    world: World

    def sandbox(self, sandbox_id: str) -> Sandbox:
        raise NotImplementedError

    @unary
    async def FileOpen(self, request: data_pb2.FileOpenRequest) -> data_pb2.FileOpenResponse:
        sandbox, path = self.sandbox(request.sandbox_id), _absolute(request.path)
        if path in sandbox.directories:
            raise failed(errno.EISDIR)
        if path in sandbox.files and request.flags & EXCLUSIVE:
            raise failed(errno.EEXIST)
        if path not in sandbox.files:
            if not request.flags & CREATE:
                raise failed(errno.ENOENT)
            sandbox.files[path] = bytearray()
        content = sandbox.files[path]
        if request.flags & TRUNCATE:
            content.clear()
        data = bytes(content[: request.read_ahead])
        handle = max(sandbox.handles, default=0) + 1
        sandbox.handles[handle] = (path, request.flags, len(data))
        whole = request.read_ahead > 0 and len(data) == len(content)
        return data_pb2.FileOpenResponse(handle=handle, size_bytes=len(content), data=data, eof=whole)

    @streaming
    async def FileRead(self, request: data_pb2.FileReadRequest) -> AsyncIterator[data_pb2.FileChunk]:
        sandbox = self.sandbox(request.sandbox_id)
        if request.count > 100 * 2**20:
            raise RequestSizeError("too much")
        left = request.count
        while left:
            path, flags, position = _handle(sandbox, request.handle)
            data = bytes(sandbox.files[path][position : position + min(left, PIECE)])
            if not data:
                return
            sandbox.handles[request.handle] = (path, flags, position + len(data))
            left -= len(data)
            yield data_pb2.FileChunk(data=data)
            faults = self.world.fail_next.get("FileRead piece")
            if faults:
                raise faults.pop(0)

    @unary
    async def FileWrite(self, request: data_pb2.FileWriteRequest) -> data_pb2.FileWriteResponse:
        sandbox = self.sandbox(request.sandbox_id)
        if len(request.data) > MAX_MESSAGE:
            raise RequestSizeError("too much")
        path, flags, position = _handle(sandbox, request.handle)
        content = sandbox.files[path]
        start = len(content) if flags & APPEND else position
        content.extend(bytes(max(0, start - len(content))))
        content[start : start + len(request.data)] = request.data
        sandbox.handles[request.handle] = (path, flags, start + len(request.data))
        if request.close:
            del sandbox.handles[request.handle]
        return data_pb2.FileWriteResponse(position=start + len(request.data))

    @unary
    async def FileSeek(self, request: data_pb2.FileSeekRequest) -> data_pb2.FileSeekResponse:
        sandbox = self.sandbox(request.sandbox_id)
        path, flags, position = _handle(sandbox, request.handle)
        target = (0, position, len(sandbox.files[path]))[request.whence] + request.offset
        if target < 0:
            raise failed(errno.EINVAL)
        sandbox.handles[request.handle] = (path, flags, target)
        return data_pb2.FileSeekResponse(position=target)

    @unary
    async def FileFlush(self, request: data_pb2.FileFlushRequest) -> data_pb2.FileFlushResponse:
        _handle(self.sandbox(request.sandbox_id), request.handle)
        return data_pb2.FileFlushResponse()

    @unary
    async def FileClose(self, request: data_pb2.FileCloseRequest) -> data_pb2.FileCloseResponse:
        sandbox = self.sandbox(request.sandbox_id)
        _handle(sandbox, request.handle)
        del sandbox.handles[request.handle]
        return data_pb2.FileCloseResponse()

    @unary
    async def FileStat(self, request: data_pb2.FileStatRequest) -> data_pb2.FileStatResponse:
        return data_pb2.FileStatResponse(info=_info(self.sandbox(request.sandbox_id), _absolute(request.path)))

    @streaming
    async def FileList(self, request: data_pb2.FileListRequest) -> AsyncIterator[data_pb2.FileListChunk]:
        sandbox, path = self.sandbox(request.sandbox_id), _absolute(request.path)
        if path not in sandbox.directories:
            raise failed(errno.ENOTDIR if path in sandbox.files else errno.ENOENT)
        inside = sorted(
            item for item in [*sandbox.files, *sandbox.directories] if item != b"/" and item.rpartition(b"/")[0] == path.rstrip(b"/")
        )
        for item in inside:
            yield data_pb2.FileListChunk(entries=[_info(sandbox, item)])

    @unary
    async def FileMakeDirectory(self, request: data_pb2.FileMakeDirectoryRequest) -> data_pb2.FileMakeDirectoryResponse:
        sandbox, path = self.sandbox(request.sandbox_id), _absolute(request.path)
        if path in sandbox.directories and not request.parents:
            raise failed(errno.EEXIST)
        parent = path.rpartition(b"/")[0] or b"/"
        if parent not in sandbox.directories and not request.parents:
            raise failed(errno.ENOENT)
        while path != b"/":
            sandbox.directories.add(path)
            path = path.rpartition(b"/")[0] or b"/"
        return data_pb2.FileMakeDirectoryResponse()

    @unary
    async def FileRemove(self, request: data_pb2.FileRemoveRequest) -> data_pb2.FileRemoveResponse:
        sandbox, path = self.sandbox(request.sandbox_id), _absolute(request.path)
        _info(sandbox, path)
        inside = [item for item in [*sandbox.files, *sandbox.directories] if item.startswith(path + b"/")]
        if inside and not request.recursive:
            raise failed(errno.ENOTEMPTY)
        for item in [path, *inside]:
            sandbox.files.pop(item, None)
            sandbox.directories.discard(item)
        return data_pb2.FileRemoveResponse()

    @unary
    async def FileRename(self, request: data_pb2.FileRenameRequest) -> data_pb2.FileRenameResponse:
        sandbox = self.sandbox(request.sandbox_id)
        source, target = _absolute(request.source), _absolute(request.target)
        _info(sandbox, source)
        sandbox.files[target] = sandbox.files.pop(source)
        return data_pb2.FileRenameResponse()

    @streaming
    async def FileWatch(self, request: data_pb2.FileWatchRequest) -> AsyncIterator[data_pb2.FileWatchEvent]:
        sandbox = self.sandbox(request.sandbox_id)
        _info(sandbox, _absolute(request.path))
        yield data_pb2.FileWatchEvent()
        while True:
            while sandbox.watch_events:
                yield sandbox.watch_events.popleft()
            if request.timeout_s:
                return
            await sandbox.changed.wait()


def _absolute(path: bytes) -> bytes:
    return path if path.startswith(b"/") else b"/" + path


def _handle(sandbox: Sandbox, handle: int) -> tuple[bytes, int, int]:
    if handle not in sandbox.handles:
        raise failed(errno.EBADF)
    return sandbox.handles[handle]


def _info(sandbox: Sandbox, path: bytes) -> data_pb2.FileInfo:
    name = path.rpartition(b"/")[2]
    text = name.decode("utf-8", "ignore")
    if path in sandbox.directories:
        return data_pb2.FileInfo(name=text, name_bytes=name, mode=stat.S_IFDIR | 0o755)
    if path not in sandbox.files:
        raise failed(errno.ENOENT)
    mode = sandbox.modes.get(path, 0o644)
    return data_pb2.FileInfo(name=text, name_bytes=name, mode=stat.S_IFREG | mode, size_bytes=len(sandbox.files[path]))
