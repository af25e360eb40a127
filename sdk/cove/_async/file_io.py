"""Open files in a sandbox."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import io
import os
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

from cove import _spec
from cove._async._filesystem import os_errors
from cove._async.base import Exposed
from cove._file_buffer import Mode, ReadBuffer, parse_mode
from cove._transport.data import DataPlane
from cove._transport.methods import FILE_CLOSE, FILE_FLUSH, FILE_OPEN, FILE_READ, FILE_SEEK, FILE_WRITE
from cove._transport.plane import Stream
from cove.exception import ConflictError, ConnectionError, FilesystemExecutionError, NotFoundError, RequestSizeError, ServiceError
from cove.types import FileWatchEvent, FileWatchEventType
from cove.wire import data_pb2

if TYPE_CHECKING:
    from _typeshed import OpenBinaryMode, OpenTextMode

__all__ = ["FileWatchEvent", "FileWatchEventType"]

T = TypeVar("T", bound=str | bytes)

READ_AHEAD_BYTES: Final = 256_000
"""How much of a file comes with the answer that opens it: a small file needs no further question."""

BLOCK_BYTES: Final = 256 * 1024
"""How much is read at least when more is needed."""

MAX_READ_BYTES: Final = 100 * 2**20
MAX_WRITE_BYTES: Final = 2**30
MAX_MESSAGE_BYTES: Final = 2**20

Errand = Callable[..., asyncio.Task[Any]]
"""``Connection.errand``."""


class _FileIO(Exposed, Generic[T]):
    """An open file in a sandbox, made by ``Sandbox.open``. Like :class:`io.FileIO`; text is UTF-8, and newlines are left alone.

    Reads return at most 100 MiB, one write takes at most 1 GiB. What is written is collected, and sent by ``flush``, ``close``, or when
    1 MiB has come together. A file stays open when the connection breaks, but not when the node's daemon restarts.
    """

    def __init__(
        self, plane: DataPlane, path: str | os.PathLike[str], mode: Mode, opened: data_pb2.FileOpenResponse, errand: Errand
    ) -> None:
        self._plane = plane
        self._path = path
        self._mode = mode
        self._handle: int | None = opened.handle
        self._errand = errand
        self._loop = asyncio.get_running_loop()
        self._buffer = ReadBuffer()
        self._buffer.feed(opened.data)
        self._pending = bytearray()
        # Where the node's handle stands: at the end of what was read ahead, or of what was sent.
        self._position = opened.size_bytes if mode.appends else len(opened.data)
        # False: a call broke off, or the file was opened for appending, and the handle may stand elsewhere.
        self._in_step = not mode.appends
        self._whole = opened.eof  # nothing follows what was read ahead
        self._busy = asyncio.Lock()

    async def read(self, n: int | None = None) -> T:
        """The next ``n`` bytes (characters in text mode), or all that is left; fewer at the end of the file.

        Raises:
            RequestSizeError: more than 100 MiB; nothing is lost, read it in pieces, or copy the file with ``Sandbox.download``.
            UnicodeDecodeError: not UTF-8, in text mode.
        """
        async with self._busy:
            await self._prepare_read()
            if n is None or n < 0:
                return self._take(await self._find_rest())
            if n > MAX_READ_BYTES:
                raise _too_much()
            return self._take(await (self._find_bytes(n) if self._mode.binary else self._find_characters(n)))

    async def readline(self) -> T:
        """The next line with its newline; empty at the end of the file."""
        async with self._busy:
            await self._prepare_read()
            return self._take(await self._find_line())

    async def readlines(self) -> list[T]:
        """The lines that are left, with their newlines."""
        content = await self.read()
        newline = "\n" if isinstance(content, str) else b"\n"
        *lines, rest = content.split(newline)  # type: ignore[arg-type]  # both are text, or both are bytes
        whole = [line + newline for line in lines] + ([rest] if rest else [])  # type: ignore[operator]  # as above
        return cast("list[T]", whole)

    async def write(self, data: T) -> None:
        """Write at the current position, or at the end in append mode.

        Raises:
            RequestSizeError: more than 1 GiB.
            TypeError: text for a binary file, or the other way round.
        """
        async with self._busy:
            self._open_handle()
            if not self._mode.writable:
                raise io.UnsupportedOperation("not writable")
            content = self._encode(data)
            await self._drop_read_ahead()
            self._pending += content
            while len(self._pending) >= MAX_MESSAGE_BYTES:
                await self._send()

    async def flush(self) -> None:
        """Send what was written, and wait until it is on the sandbox's disk."""
        async with self._busy:
            handle = self._open_handle()
            if not self._mode.writable:
                return
            while len(self._pending) > MAX_MESSAGE_BYTES:
                await self._send()
            if self._pending:
                await self._send(flush=True)
            else:
                request = data_pb2.FileFlushRequest(sandbox_id=self._plane.sandbox_id, handle=handle)
                with os_errors(self._path):
                    await self._plane.call(FILE_FLUSH, request)

    async def seek(self, offset: int, whence: int = 0) -> None:
        """Move to another position, counted in bytes.

        Args:    whence: 0 from the start, 1 from the current position, 2 from the end.
        """
        async with self._busy:
            self._open_handle()
            if whence not in (0, 1, 2):
                raise ValueError(f"invalid whence ({whence}, should be 0, 1 or 2)")
            await self._send_all()
            if whence == 1:
                offset, whence = offset + self.tell(), 0
            await self._seek(offset, whence)

    def tell(self) -> int:
        """The current position, in bytes."""
        return self._position - len(self._buffer) + len(self._pending)

    async def close(self) -> None:
        """Send what was written and close the file. Does nothing on a closed one."""
        async with self._busy:
            if self._handle is None:
                return
            try:
                while len(self._pending) > MAX_MESSAGE_BYTES:
                    await self._send()
                if self._pending:
                    await self._send(close=True)
            finally:
                handle, self._handle = self._handle, None
                if handle is not None:
                    await self._close(handle)

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._handle is None

    async def __aenter__(self) -> _FileIO[T]:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    def __aiter__(self) -> _FileIO[T]:
        return self

    async def __anext__(self) -> T:
        line = await self.readline()
        if not line:
            raise StopAsyncIteration
        return line

    def __del__(self) -> None:
        # Files that nobody closed: a sandbox has only so many handles.
        if getattr(self, "_handle", None) is not None and not self._loop.is_closed():
            handle, errand, plane = self._handle, self._errand, self._plane
            with contextlib.suppress(RuntimeError):  # the loop ended meanwhile, and with it the client
                self._loop.call_soon_threadsafe(lambda: errand(close_handle(plane, cast("int", handle)), what="closing a forgotten file"))

    async def _prepare_read(self) -> None:
        self._open_handle()
        if not self._mode.readable:
            raise io.UnsupportedOperation("not readable")
        await self._send_all()

    async def _find_rest(self) -> int:
        while len(self._buffer) <= MAX_READ_BYTES:
            room = MAX_READ_BYTES - len(self._buffer)
            if not await self._fetch(room or 1):
                return len(self._buffer)
        raise _too_much()

    async def _find_bytes(self, count: int) -> int:
        while (missing := count - len(self._buffer)) > 0:
            if not await self._fetch(max(missing, BLOCK_BYTES)):
                break
        return min(count, len(self._buffer))

    async def _find_characters(self, count: int) -> int:
        while True:
            size, found = self._buffer.characters_size(count)
            if found == count:
                return size
            if not await self._fetch(max(count - found, BLOCK_BYTES)):
                size, found = self._buffer.characters_size(count)
                return size if found == count else len(self._buffer)

    async def _find_line(self) -> int:
        searched, more = 0, True
        while (size := self._buffer.line_size(searched)) is None:
            if not more:
                return len(self._buffer)
            if len(self._buffer) > MAX_READ_BYTES:
                raise _too_much()
            searched = len(self._buffer)
            more = await self._fetch(BLOCK_BYTES)
        return size

    async def _fetch(self, count: int) -> bool:
        """Read ``count`` more bytes into the buffer; False if the file ended before. Goes on where a cut connection stopped it."""
        if self._whole:
            self._whole = False  # it may have grown by the next time
            return False
        goal = self._position + count
        while True:
            await self._get_in_step()
            try:
                await self._read_to(goal)
                return self._position >= goal
            except ConnectionError as error:
                if error.code != "unreachable":
                    raise

    async def _read_to(self, goal: int) -> None:
        request = data_pb2.FileReadRequest(sandbox_id=self._plane.sandbox_id, handle=self._open_handle(), count=goal - self._position)
        stream = Stream(self._plane, FILE_READ, lambda: request)
        self._in_step = False
        try:
            with os_errors(self._path):
                while (chunk := await stream.read()) is not None:
                    self._buffer.feed(chunk.data)
                    self._position += len(chunk.data)
                    if self._position > goal:
                        raise ServiceError("The node sent more of the file than was asked for.")
        finally:
            stream.cancel()
        self._in_step = True

    async def _send_all(self) -> None:
        while self._pending:
            await self._send()

    async def _send(self, *, flush: bool = False, close: bool = False) -> None:
        """Send the next message's worth of what was written."""
        if not self._mode.appends:
            await self._get_in_step()
        data = bytes(self._pending[:MAX_MESSAGE_BYTES])
        if self._mode.appends:
            del self._pending[: len(data)]  # whether a broken call appended is not known: twice would be worse than not
        request = data_pb2.FileWriteRequest(
            sandbox_id=self._plane.sandbox_id, handle=self._open_handle(), data=data, flush=flush, close=close
        )
        self._in_step = False
        with os_errors(self._path):
            answer = await self._plane.call(FILE_WRITE, request)
        self._in_step, self._position = True, answer.position
        if not self._mode.appends:
            del self._pending[: len(data)]
        if close:
            self._handle = None

    async def _drop_read_ahead(self) -> None:
        """Before a write: the handle stands after what was read ahead."""
        if self._buffer:
            await self._seek(self.tell(), 0)
        self._whole = False

    async def _get_in_step(self) -> None:
        if not self._in_step:
            await self._seek(self._position, 0, keep=True)

    async def _seek(self, offset: int, whence: int, *, keep: bool = False) -> None:
        request = data_pb2.FileSeekRequest(sandbox_id=self._plane.sandbox_id, handle=self._open_handle(), offset=offset, whence=whence)
        with os_errors(self._path):
            self._position = (await self._plane.call(FILE_SEEK, request)).position
        self._in_step = True
        if not keep:
            self._buffer.clear()
            self._whole = False

    async def _close(self, handle: int) -> None:
        """Close the handle; only for a file that was written to is there anything to wait for."""
        closing = close_handle(self._plane, handle)
        if self._mode.writable:
            await closing
        else:
            self._errand(closing, what="closing a file")

    def _take(self, size: int) -> T:
        data = self._buffer.take(size)
        return cast("T", data if self._mode.binary else data.decode("utf-8"))

    def _encode(self, data: T) -> bytes | bytearray | memoryview:
        if not isinstance(data, (bytes, bytearray, memoryview) if self._mode.binary else str):
            raise TypeError(f"cannot write {type(data).__name__} to a {'binary' if self._mode.binary else 'text'} file")
        content = data.encode("utf-8") if isinstance(data, str) else data
        if len(content) > MAX_WRITE_BYTES:
            raise RequestSizeError(f"A write of {len(content)} bytes.", remedy="Write at most 1 GiB at a time, or use Sandbox.upload.")
        return content

    def _open_handle(self) -> int:
        if self._handle is None:
            raise ValueError("I/O operation on closed file")
        return self._handle


async def open_file(
    plane: DataPlane, path: str | os.PathLike[str], mode: OpenTextMode | OpenBinaryMode, errand: Errand
) -> _FileIO[str] | _FileIO[bytes]:
    """See ``Sandbox.open``."""
    parsed = parse_mode(mode)
    request = data_pb2.FileOpenRequest(
        sandbox_id=plane.sandbox_id,
        path=_spec.path(path),
        flags=parsed.flags,
        read_ahead=READ_AHEAD_BYTES if parsed.readable and not parsed.writable else 0,
    )
    with os_errors(path):
        opened = await plane.call(FILE_OPEN, request)
    return _FileIO[bytes](plane, path, parsed, opened, errand) if parsed.binary else _FileIO[str](plane, path, parsed, opened, errand)


async def close_handle(plane: DataPlane, handle: int) -> None:
    """Close an open file; one that is gone already (its daemon was restarted, its sandbox has ended) is as good as closed."""
    with contextlib.suppress(NotFoundError, ConflictError, ConnectionError):
        try:
            await plane.call(FILE_CLOSE, data_pb2.FileCloseRequest(sandbox_id=plane.sandbox_id, handle=handle))
        except FilesystemExecutionError as error:
            if error.context.get("errno") != str(errno.EBADF):
                raise


def _too_much() -> RequestSizeError:
    return RequestSizeError("More than 100 MiB in one read.", remedy="Read it in pieces, or copy the file with Sandbox.download.")
