"""The data plane's file methods. Every path is resolved inside the sandbox, by its guest; the host only passes bytes."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from typing import Final

from cove.exception import InvalidError, RequestSizeError
from cove.wire import data_pb2
from sandboxd.channel.client import watch_events
from sandboxd.channel.fields import Reader, Writer
from sandboxd.channel.messages import Op, Stat
from sandboxd.channel.streams import StreamCut
from sandboxd.sandbox import Sandbox
from sandboxd.service.convert import MAX_TIMEOUT_S, absolute_path, entry_info, file_info, wait_s, watch_event
from sandboxd.service.edge import Context, streaming, unary

MAX_READ_BYTES: Final = 100 * 1024 * 1024
MAX_WRITE_BYTES: Final = 1024 * 1024
CALL_BYTES: Final = 262_000
"""Bytes of file content that one CALL carries beside its other fields."""

READ_AHEAD_BYTES: Final = 256_000
KNOWN_OPEN_FLAGS: Final = 63
FILE_MODE: Final = 0o666 & ~0o022
DIRECTORY_MODE: Final = 0o777 & ~0o022


class FilePlane(ABC):
    """File methods of cove.v1.DataPlane; ``_sandbox`` is the subclass's."""

    @abstractmethod
    def _sandbox(self, sandbox_id: str, context: Context) -> Sandbox:
        """The sandbox that the caller may work with. Raises: NotFoundError."""

    async def _call(self, sandbox: Sandbox, op: Op, arguments: Writer) -> Reader:
        return await (await sandbox.guest()).call(op, arguments)

    @unary
    async def FileOpen(self, request: data_pb2.FileOpenRequest, context: Context) -> data_pb2.FileOpenResponse:
        sandbox = self._sandbox(request.sandbox_id, context)
        if not request.flags & 3 or request.flags > KNOWN_OPEN_FLAGS:
            raise InvalidError(f"Open flags {request.flags} are not valid.", remedy="Ask for reading, writing or both.")
        path = absolute_path(request.path, sandbox)
        read_ahead = min(request.read_ahead, READ_AHEAD_BYTES)
        reader = await self._call(sandbox, Op.OPEN, Writer().bytes_(path).u32(request.flags).u32(FILE_MODE).u32(read_ahead))
        response = data_pb2.FileOpenResponse(handle=reader.u32(), size_bytes=reader.u64(), data=reader.bytes_(), eof=reader.u8() == 1)
        sandbox.note(f"Opened file {_shown(path)}: fd-{response.handle}")
        return response

    @streaming
    async def FileRead(self, request: data_pb2.FileReadRequest, context: Context) -> AsyncIterator[data_pb2.FileChunk]:
        sandbox = self._sandbox(request.sandbox_id, context)
        if request.count > MAX_READ_BYTES:
            raise RequestSizeError(f"A read of {request.count} bytes.", remedy="Read at most 100 MiB at a time, or download the file.")
        left = request.count
        while left:
            reader = await self._call(sandbox, Op.READ, Writer().u32(request.handle).u32(min(left, CALL_BYTES)))
            data = reader.bytes_()
            if not data:
                return
            left -= len(data)
            yield data_pb2.FileChunk(data=data)

    @unary
    async def FileWrite(self, request: data_pb2.FileWriteRequest, context: Context) -> data_pb2.FileWriteResponse:
        sandbox = self._sandbox(request.sandbox_id, context)
        if len(request.data) > MAX_WRITE_BYTES:
            raise RequestSizeError(
                f"A write of {len(request.data)} bytes in one call.", remedy="Send at most 1 MiB at a time, or upload the file."
            )
        position = 0
        pieces = [request.data[at : at + CALL_BYTES] for at in range(0, len(request.data), CALL_BYTES)] or [b""]
        for number, piece in enumerate(pieces, start=1):
            last = number == len(pieces)
            then = (1 if request.flush else 0) if last else 0
            then = 2 if last and request.close else then
            if last and request.close and request.flush:
                await self._call(sandbox, Op.WRITE, Writer().u32(request.handle).u8(1).bytes_(piece))
                piece = b""
            reader = await self._call(sandbox, Op.WRITE, Writer().u32(request.handle).u8(then).bytes_(piece))
            position = reader.u64()
        sandbox.note(f"Wrote to file: fd-{request.handle}")
        return data_pb2.FileWriteResponse(position=position)

    @unary
    async def FileSeek(self, request: data_pb2.FileSeekRequest, context: Context) -> data_pb2.FileSeekResponse:
        sandbox = self._sandbox(request.sandbox_id, context)
        if request.whence > 2:
            raise InvalidError(f"whence {request.whence} is not valid.", remedy="Give 0 (start), 1 (current) or 2 (end).")
        reader = await self._call(sandbox, Op.SEEK, Writer().u32(request.handle).i64(request.offset).u8(request.whence))
        return data_pb2.FileSeekResponse(position=reader.u64())

    @unary
    async def FileFlush(self, request: data_pb2.FileFlushRequest, context: Context) -> data_pb2.FileFlushResponse:
        await self._call(self._sandbox(request.sandbox_id, context), Op.FSYNC, Writer().u32(request.handle))
        return data_pb2.FileFlushResponse()

    @unary
    async def FileClose(self, request: data_pb2.FileCloseRequest, context: Context) -> data_pb2.FileCloseResponse:
        sandbox = self._sandbox(request.sandbox_id, context)
        await self._call(sandbox, Op.CLOSE, Writer().u32(request.handle))
        sandbox.note(f"Closed file: fd-{request.handle}")
        return data_pb2.FileCloseResponse()

    @unary
    async def FileStat(self, request: data_pb2.FileStatRequest, context: Context) -> data_pb2.FileStatResponse:
        sandbox = self._sandbox(request.sandbox_id, context)
        path = absolute_path(request.path, sandbox)
        reader = await self._call(sandbox, Op.STAT, Writer().bytes_(path).u8(not request.no_follow))
        stat = Stat.read(reader)
        return data_pb2.FileStatResponse(info=file_info(path.rstrip(b"/").rpartition(b"/")[2], stat, reader.bytes_()))

    @streaming
    async def FileList(self, request: data_pb2.FileListRequest, context: Context) -> AsyncIterator[data_pb2.FileListChunk]:
        sandbox = self._sandbox(request.sandbox_id, context)
        guest = await sandbox.guest()
        async for entries in guest.list_directory(absolute_path(request.path, sandbox)):
            yield data_pb2.FileListChunk(entries=[entry_info(entry) for entry in entries])

    @unary
    async def FileMakeDirectory(self, request: data_pb2.FileMakeDirectoryRequest, context: Context) -> data_pb2.FileMakeDirectoryResponse:
        sandbox = self._sandbox(request.sandbox_id, context)
        path = absolute_path(request.path, sandbox)
        await self._call(sandbox, Op.MKDIR, Writer().bytes_(path).u32(DIRECTORY_MODE).u8(request.parents))
        return data_pb2.FileMakeDirectoryResponse()

    @unary
    async def FileRemove(self, request: data_pb2.FileRemoveRequest, context: Context) -> data_pb2.FileRemoveResponse:
        sandbox = self._sandbox(request.sandbox_id, context)
        await self._call(sandbox, Op.REMOVE, Writer().bytes_(absolute_path(request.path, sandbox)).u8(request.recursive))
        return data_pb2.FileRemoveResponse()

    @unary
    async def FileRename(self, request: data_pb2.FileRenameRequest, context: Context) -> data_pb2.FileRenameResponse:
        sandbox = self._sandbox(request.sandbox_id, context)
        source, target = absolute_path(request.source, sandbox), absolute_path(request.target, sandbox)
        await self._call(sandbox, Op.RENAME, Writer().bytes_(source).bytes_(target))
        return data_pb2.FileRenameResponse()

    @streaming
    async def FileWatch(self, request: data_pb2.FileWatchRequest, context: Context) -> AsyncIterator[data_pb2.FileWatchEvent]:
        sandbox = self._sandbox(request.sandbox_id, context)
        timeout_s = wait_s(request.timeout_s, MAX_TIMEOUT_S)
        stream = await (await sandbox.guest()).watch(absolute_path(request.path, sandbox), recursive=request.recursive)
        try:
            async with asyncio.timeout(timeout_s or None):
                yield data_pb2.FileWatchEvent()
                async for event in watch_events(stream):
                    yield watch_event(event)
        except TimeoutError:
            return
        except StreamCut:
            sandbox.check_running()  # raises what became of it
            raise
        finally:
            stream.close()


def _shown(path: bytes) -> str:
    return repr(path.decode("utf-8", "replace"))
