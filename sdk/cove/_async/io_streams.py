"""Output and input of processes.

Output is kept by the node and read by byte offset, input is written at one: a cut connection loses nothing.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import Final, Generic, TypeVar

from cove._async.base import Exposed
from cove._outputs import Assembler, Chunks
from cove._transport.data import DataPlane
from cove._transport.methods import PROCESS_GET, PROCESS_INPUT, PROCESS_OUTPUT
from cove._transport.plane import Stream
from cove.exception import ConflictError, InvalidError, ServiceError
from cove.stream_type import StreamType
from cove.wire import data_pb2

T = TypeVar("T", bound=str | bytes)

MAX_INPUT_BYTES: Final = 2**20
"""Bytes that one message to the process may carry."""

ENDED_CODES: Final = ("stdin_closed", "sandbox_ended")
"""Codes of errors that say that nobody will read the input any more."""


class _StreamReader(Exposed, Generic[T]):
    """The standard output or standard error of a process, from its first byte.

    Iterate over it for lines as they come (newline kept), or for chunks of bytes if the process was started with ``text=False``.
    Reading works during and after the life of the process, from any number of handles: the node keeps the output. Where a process
    wrote more than the node keeps, text has the line ``[cove: N bytes of output were dropped here]``, and :attr:`dropped_bytes` counts.
    """

    def __init__(
        self,
        plane: DataPlane,
        exec_id: str,
        file_descriptor: int,
        assembler: Assembler[T],
        *,
        offset: int = 0,
        kind: StreamType = StreamType.PIPE,
    ) -> None:
        self._plane = plane
        self._exec_id = exec_id
        self._fd = file_descriptor
        self._assembler = assembler
        self._offset = offset
        self._kind = kind
        self._ready: deque[T] = deque()
        self._dropped_bytes = 0
        self._ended = False
        self._filling = asyncio.Lock()
        self._stream = Stream(plane, PROCESS_OUTPUT, self._request)

    @property
    def file_descriptor(self) -> int:
        """1 for standard output, 2 for standard error."""
        return self._fd

    @property
    def dropped_bytes(self) -> int:
        """Bytes that the process wrote, that the node did not keep, and that this reader has come past."""
        return self._dropped_bytes

    async def read(self, offset: int | None = None) -> T:
        """All output from where this reader stands to the end; waits for the end of the process.

        Output of a process that ran into its timeout is returned as far as it came.

        Args:    offset: read from this byte instead, and leave the reader where it stands.
        Raises:  InvalidError: the stream was sent to ``STDOUT`` or ``DEVNULL``, or the offset is negative.
        """
        if offset is not None:
            return await self.replay(offset).read()
        self._check_readable()
        async with self._filling:
            while not self._ended:
                await self._take_next()
        items = list(self._ready)
        self._ready.clear()
        return self._assembler.join(items)

    def replay(self, offset: int = 0) -> _StreamReader[T]:
        """Another reader of the same output, from byte ``offset`` on.

        Raises:  InvalidError: the offset is negative.
        """
        if offset < 0:
            raise InvalidError(f"The offset is {offset}.", remedy="It counts bytes from the start of the output.")
        return _StreamReader(self._plane, self._exec_id, self._fd, type(self._assembler)(), offset=offset)

    def _raw(self) -> _StreamReader[bytes]:
        """The same output as bytes, for whoever passes it on."""
        return _StreamReader(self._plane, self._exec_id, self._fd, Chunks(), offset=self._offset)

    def __aiter__(self) -> _StreamReader[T]:
        return self

    async def __anext__(self) -> T:
        while not self._ready:
            if not await self._fill():
                raise StopAsyncIteration
        return self._ready.popleft()

    async def _fill(self) -> bool:
        """Whether items are ready, after waiting for the first; False at the end. May be cancelled without loss."""
        self._check_readable()
        async with self._filling:
            while not self._ready and not self._ended:
                await self._take_next()
        return bool(self._ready)

    async def _take_next(self) -> None:
        chunk = await self._stream.read()
        if chunk is None:
            await self._stream.cut(ServiceError("The output stopped before its end."))
            return
        if chunk.offset > self._offset and (chunk.data or chunk.eof):
            self._dropped_bytes += chunk.offset - self._offset
            self._ready.extend(self._assembler.gap(chunk.offset - self._offset))
            self._offset = chunk.offset
        data = chunk.data[self._offset - chunk.offset :]  # what overlaps was seen before
        self._offset += len(data)
        self._ready.extend(self._assembler.feed(data))
        if chunk.eof:
            self._ended = True
            self._ready.extend(self._assembler.end())
            self._stream.cancel()

    def _request(self) -> data_pb2.ProcessOutputRequest:
        return data_pb2.ProcessOutputRequest(
            sandbox_id=self._plane.sandbox_id, exec_id=self._exec_id, fd=self._fd, offset=self._offset, follow=True
        )

    def _check_readable(self) -> None:
        if self._kind is not StreamType.PIPE:
            raise InvalidError(
                f"This stream goes to {self._kind.name}.", remedy="Read it through `.replay()`, or start the process with StreamType.PIPE."
            )


class _StreamWriter(Exposed):
    """The standard input of a process. ``write`` and ``write_eof`` only put aside; ``drain`` sends."""

    def __init__(self, plane: DataPlane, exec_id: str, *, offset: int | None = 0) -> None:
        """``offset``: of the next byte to send; None to ask the node before the first."""
        self._plane = plane
        self._exec_id = exec_id
        self._offset = offset
        self._buffer = bytearray()
        self._eof = False
        self._eof_sent = False
        # `write` runs in the caller's thread, `drain` on the event loop; both hold this for a moment only.
        self._lock = threading.Lock()
        self._draining = asyncio.Lock()

    def write(self, data: bytes | bytearray | memoryview | str) -> None:
        """Put ``data`` aside for :meth:`drain`; text is sent as UTF-8.

        Raises:
            ValueError: after :meth:`write_eof`.
            TypeError: neither text nor bytes.
        """
        if not isinstance(data, bytes | bytearray | memoryview | str):
            raise TypeError(f"data is {type(data).__name__}, not str or bytes-like")
        with self._lock:
            if self._eof:
                raise ValueError("Stdin is closed: cannot write to it after write_eof()")
            self._buffer += data.encode() if isinstance(data, str) else data

    def write_eof(self) -> None:
        """Close the input once :meth:`drain` has sent what was written before."""
        with self._lock:
            self._eof = True

    async def drain(self) -> None:
        """Send what was written, and the end if it was. After a cut connection it goes on where the node has stopped.

        Raises:
            ConflictError: code ``stdin_closed``: the process has ended or has closed its input; or somebody else writes to it as well.
        """
        async with self._draining:
            while (piece := self._next_piece()) is not None:
                data, eof = piece
                try:
                    await self._send(data, eof)
                except ConflictError as error:
                    self._give_up()
                    if data or error.code not in ENDED_CODES:
                        raise
                    return  # only the end was to be told, to a process that no longer reads: nothing is lost
                with self._lock:
                    del self._buffer[: len(data)]
                    self._eof_sent = eof

    def _give_up(self) -> None:
        with self._lock:
            self._buffer.clear()
            self._eof_sent = self._eof

    def _next_piece(self) -> tuple[bytes, bool] | None:
        """What to send next, and whether the end follows it; None when all is sent."""
        with self._lock:
            data = bytes(self._buffer[:MAX_INPUT_BYTES])
            eof = self._eof and len(data) == len(self._buffer)
            return (data, eof) if data or (eof and not self._eof_sent) else None

    async def _send(self, data: bytes, eof: bool) -> None:
        if self._offset is None:
            request = data_pb2.ProcessGetRequest(sandbox_id=self._plane.sandbox_id, exec_id=self._exec_id)
            self._offset = (await self._plane.call(PROCESS_GET, request)).stdin_offset
        end = self._offset + len(data)
        answer = await self._plane.call(
            PROCESS_INPUT,
            data_pb2.ProcessInputRequest(sandbox_id=self._plane.sandbox_id, exec_id=self._exec_id, offset=self._offset, data=data, eof=eof),
        )
        self._offset = answer.offset
        if answer.offset != end:
            raise ConflictError("Somebody else writes to this process as well.", remedy="Write from one handle only.")


def check_buffering(text: bool, bufsize: int) -> None:
    """Raises:  InvalidError: lines of bytes, or another ``bufsize`` than -1 and 1."""
    if bufsize not in (-1, 1) or (bufsize == 1 and not text):
        raise InvalidError(f"bufsize is {bufsize!r}.", remedy="It is -1, or 1 for lines, which only text has.")
