# Written by `make facade` from cove/_async/file_io.py and its parts: change those, not this.
# It has every method of theirs with signature and documentation, for callers that block and that await: hence its length.
"""Open files in a sandbox."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic

from cove._async.file_io import T, _FileIO
from cove._dual import Face, enter, enter_async, leave, leave_async, method, next_item, next_item_async
from cove.types import FileWatchEvent, FileWatchEventType

if TYPE_CHECKING:
    from types import TracebackType


class FileIO(Face, Generic[T]):
    """An open file in a sandbox, made by ``Sandbox.open``. Like :class:`io.FileIO`; text is UTF-8, and newlines are left alone.

    Reads return at most 100 MiB, one write takes at most 1 GiB. What is written is collected, and sent by ``flush``, ``close``, or when
    1 MiB has come together. A file stays open when the connection breaks, but not when the node's daemon restarts.
    """

    __slots__ = ()
    _impl: _FileIO[T]

    @method
    async def read(self, n: int | None = None) -> T:
        """The next ``n`` bytes (characters in text mode), or all that is left; fewer at the end of the file.

        Raises:
            RequestSizeError: more than 100 MiB; nothing is lost, read it in pieces, or copy the file with ``Sandbox.download``.
            UnicodeDecodeError: not UTF-8, in text mode.
        """
        return await self._impl.read(n)

    @method
    async def readline(self) -> T:
        """The next line with its newline; empty at the end of the file."""
        return await self._impl.readline()

    @method
    async def readlines(self) -> list[T]:
        """The lines that are left, with their newlines."""
        return await self._impl.readlines()

    @method
    async def write(self, data: T) -> None:
        """Write at the current position, or at the end in append mode.

        Raises:
            RequestSizeError: more than 1 GiB.
            TypeError: text for a binary file, or the other way round.
        """
        await self._impl.write(data)

    @method
    async def flush(self) -> None:
        """Send what was written, and wait until it is on the sandbox's disk."""
        await self._impl.flush()

    @method
    async def seek(self, offset: int, whence: int = 0) -> None:
        """Move to another position, counted in bytes.

        Args:    whence: 0 from the start, 1 from the current position, 2 from the end.
        """
        await self._impl.seek(offset, whence)

    def tell(self) -> int:
        """The current position, in bytes."""
        return self._impl.tell()

    @method
    async def close(self) -> None:
        """Send what was written and close the file. Does nothing on a closed one."""
        await self._impl.close()

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._impl.closed

    def __enter__(self) -> FileIO[T]:
        enter(self._impl)
        return self

    async def __aenter__(self) -> FileIO[T]:
        await enter_async(self._impl)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        leave(self._impl, kind, error, trace)

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await leave_async(self._impl, kind, error, trace)

    def __iter__(self) -> FileIO[T]:
        return self

    def __aiter__(self) -> FileIO[T]:
        return self

    def __next__(self) -> T:
        item: T = next_item(self._impl)
        return item

    async def __anext__(self) -> T:
        item: T = await next_item_async(self._impl)
        return item


__all__ = ["FileIO", "FileWatchEvent", "FileWatchEventType"]
