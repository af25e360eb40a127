# Written by `make facade` from cove/_async/io_streams.py and its parts: change those, not this.
# It has every method of theirs with signature and documentation, for callers that block and that await: hence its length.
"""Output and input of processes.

Output is kept by the node and read by byte offset, input is written at one: a cut connection loses nothing.
"""

from __future__ import annotations

from typing import Generic

from cove._async.io_streams import T, _StreamReader, _StreamWriter
from cove._dual import Face, method, next_item, next_item_async, wrap


class StreamReader(Face, Generic[T]):
    """The standard output or standard error of a process, from its first byte.

    Iterate over it for lines as they come (newline kept), or for chunks of bytes if the process was started with ``text=False``.
    Reading works during and after the life of the process, from any number of handles: the node keeps the output. Where a process
    wrote more than the node keeps, text has the line ``[cove: N bytes of output were dropped here]``, and :attr:`dropped_bytes` counts.
    """

    __slots__ = ()
    _impl: _StreamReader[T]

    @property
    def file_descriptor(self) -> int:
        """1 for standard output, 2 for standard error."""
        return self._impl.file_descriptor

    @property
    def dropped_bytes(self) -> int:
        """Bytes that the process wrote, that the node did not keep, and that this reader has come past."""
        return self._impl.dropped_bytes

    @method
    async def read(self, offset: int | None = None) -> T:
        """All output from where this reader stands to the end; waits for the end of the process.

        Output of a process that ran into its timeout is returned as far as it came.

        Args:    offset: read from this byte instead, and leave the reader where it stands.
        Raises:  InvalidError: the stream was sent to ``STDOUT`` or ``DEVNULL``, or the offset is negative.
        """
        return await self._impl.read(offset)

    def replay(self, offset: int = 0) -> StreamReader[T]:
        """Another reader of the same output, from byte ``offset`` on.

        Raises:  InvalidError: the offset is negative.
        """
        result: StreamReader[T] = wrap(self._impl.replay(offset))
        return result

    def __iter__(self) -> StreamReader[T]:
        return self

    def __aiter__(self) -> StreamReader[T]:
        return self

    def __next__(self) -> T:
        item: T = next_item(self._impl)
        return item

    async def __anext__(self) -> T:
        item: T = await next_item_async(self._impl)
        return item


class StreamWriter(Face):
    """The standard input of a process. ``write`` and ``write_eof`` only put aside; ``drain`` sends."""

    __slots__ = ()
    _impl: _StreamWriter

    def write(self, data: bytes | bytearray | memoryview | str) -> None:
        """Put ``data`` aside for :meth:`drain`; text is sent as UTF-8.

        Raises:
            ValueError: after :meth:`write_eof`.
            TypeError: neither text nor bytes.
        """
        self._impl.write(data)

    def write_eof(self) -> None:
        """Close the input once :meth:`drain` has sent what was written before."""
        self._impl.write_eof()

    @method
    async def drain(self) -> None:
        """Send what was written, and the end if it was. After a cut connection it goes on where the node has stopped.

        Raises:
            ConflictError: code ``stdin_closed``: the process has ended or has closed its input; or somebody else writes to it as well.
        """
        await self._impl.drain()


__all__ = ["StreamReader", "StreamWriter"]
