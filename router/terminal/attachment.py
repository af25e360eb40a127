"""One page that is attached to a terminal over a WebSocket: output to it, keys from it, news to it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final, NamedTuple

import structlog
from aiohttp import WSMsgType, web

from cove.exception import Error
from router.terminal.keyboard import Typist
from router.terminal.live import LiveTerminal
from router.terminal.messages import (
    WINDOW_BYTES,
    Attach,
    Attached,
    Close,
    Failed,
    Keys,
    Leads,
    Resize,
    Seen,
    ToPage,
    Typed,
    Violation,
    decode,
    encode,
    encode_output,
)

ATTACH_S: Final = 10.0
"""How long a page may take to say where to begin."""

MAX_REASON: Final = 120
"""RFC 6455 has room for 123 bytes."""

_TOLD: Final = (WSMsgType.TEXT, WSMsgType.BINARY)
"""Messages of the page itself; after any other the connection is over, and aiohttp has said why."""

log = structlog.get_logger(__name__)


class Closing(NamedTuple):
    """How the connection ends."""

    code: Close
    reason: str = ""


class Attachment:
    """A page; :meth:`run` is its life."""

    def __init__(self, socket: web.WebSocketResponse, live: LiveTerminal) -> None:
        self._socket, self._live = socket, live
        self._typist = Typist(0)
        self._sent = self._seen = 0
        self._told: dict[type[ToPage], ToPage] = {}
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._ending: Closing | None = None

    def changed(self) -> None:
        self._wake.set()

    def end(self, reason: str, *, come_again: bool) -> None:
        self._ending = Closing(Close.TRY_AGAIN if come_again else Close.OVER, reason)
        self._wake.set()

    async def run(self) -> None:
        """From the first message to the closed connection, whoever closes it."""
        try:
            closing = await self._serve()
        except Violation as violation:
            closing = Closing(Close.VIOLATION, str(violation))
        except ConnectionResetError:  # aiohttp's word for a page that went away
            return
        if closing is not None:
            await self._socket.close(code=closing.code, message=closing.reason[:MAX_REASON].encode("ascii", "replace"))

    async def _serve(self) -> Closing | None:
        """How to close; None: the page has closed."""
        attach = await self._first()
        if attach is None:
            return None
        try:
            total = await self._live.enter(self, attach)
            self._typist = self._live.keyboard.join(attach)
            attached = Attached(total=total, taken=self._typist.taken, stdin=self._live.keyboard.stdin)
            await self._socket.send_str(encode(attached))
            self._sent = self._seen = attach.offset
            self._live.use()
            return await self._until_one_ends()
        except Error as error:
            return await self._fail(error)
        finally:
            self._live.leave(self)
            self._live.use()

    async def _first(self) -> Attach | None:
        try:
            message = await self._socket.receive(ATTACH_S)
        except TimeoutError:
            raise Violation("The page did not attach.") from None
        if message.type not in _TOLD:
            return None
        attach = decode(message.data)
        if not isinstance(attach, Attach):
            raise Violation("The page did not attach first.")
        return attach

    async def _until_one_ends(self) -> Closing | None:
        """Show, tell and listen until one of them knows how it ends. Raises: Violation, ConnectionResetError."""
        tasks = [asyncio.ensure_future(work) for work in (self._listen(), self._show(), self._tell())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        ended = [task for task in tasks if not task.cancelled()]
        errors = [error for task in ended if (error := task.exception())]
        if errors:
            raise errors[0]
        return ended[0].result()

    async def _listen(self) -> Closing | None:
        async for message in self._socket:
            if message.type not in _TOLD:
                return None
            match decode(message.data):
                case Keys() as keys:
                    self._live.keyboard.type(self._typist, keys)
                    self._live.use()
                case Seen(offset=offset):
                    self._seen = max(self._seen, min(offset, self._sent))
                    self._room.set()
                case Resize() as size:
                    with contextlib.suppress(Error):  # the output's stream will say the same
                        await self._live.lead(self, size)
                case Attach():
                    raise Violation("The page attached twice.")
        return None

    async def _show(self) -> Closing:
        """Send output, as far ahead of what the page has seen as it may be."""
        try:
            async with contextlib.aclosing(self._live.process.output(self._sent)) as chunks:
                async for chunk in chunks:
                    if chunk.data:
                        await self._socket.send_bytes(encode_output(chunk.offset, chunk.data))
                        self._sent = chunk.offset + len(chunk.data)
                        self._live.use()
                    if chunk.eof:
                        self._live.keyboard.close()
                        await self._socket.send_str(encode(await self._live.process.wait()))
                        return Closing(Close.EXITED)
                    await self._wait_for_room()
        except Error as error:
            return await self._fail(error)
        return Closing(Close.TRY_AGAIN, "The output was cut.")

    async def _wait_for_room(self) -> None:
        while self._sent - self._seen >= WINDOW_BYTES:
            self._room.clear()
            await self._room.wait()

    async def _tell(self) -> Closing:
        """Send news: the newest of each kind, so that a slow page costs nothing."""
        while self._ending is None:
            self._wake.clear()
            await self._say(Leads(leads=self._live.leader is self))
            await self._say(Typed(taken=self._typist.taken, stdin=self._live.keyboard.stdin))
            await self._wake.wait()
        return self._ending

    async def _say(self, message: ToPage) -> None:
        if self._told.get(type(message)) != message:
            self._told[type(message)] = message
            await self._socket.send_str(encode(message))

    async def _fail(self, error: Error) -> Closing:
        if error.retryable:
            log.info("terminal cut off", code=error.code)
            return Closing(Close.TRY_AGAIN, error.cause)
        await self._socket.send_str(encode(Failed(code=error.code, cause=error.cause, remedy=error.remedy)))
        return Closing(Close.FAILED, error.cause)
