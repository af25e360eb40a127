"""The page of a web terminal without a browser: the same requests and messages, and ways to misbehave."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import WSMsgType
from yarl import URL

_OFFSET = struct.Struct(">Q")


class Browser:
    """Cookies, and pages that are attached. ``link``: as ``TerminalCreate`` gives it."""

    def __init__(self, session: aiohttp.ClientSession, link: str) -> None:
        self.session = session
        self.link = URL(link)
        self.terminal_id = self.link.path.rpartition("/")[2]

    def url(self, tail: str) -> URL:
        return self.link.with_fragment(None) / tail

    @property
    def headers(self) -> dict[str, str]:
        return {"Origin": str(self.link.origin())}

    async def redeem(self, **changes: Any) -> aiohttp.ClientResponse:
        """Exchange the one-time token for a cookie."""
        request = {"json": {"ticket": self.link.fragment}, "headers": self.headers, **changes}
        async with self.session.post(self.url("session"), **request) as response:
            await response.read()
            return response

    @asynccontextmanager
    async def page(self, *, number: int = 0, **attach: Any) -> AsyncIterator[Page]:
        """An attached page; ``number`` tells several of one browser apart."""
        async with self.session.ws_connect(self.url("socket"), headers=self.headers, max_msg_size=0) as socket:
            page = Page(socket, number)
            await page.attach(**attach)
            yield page


class Page:
    """One page. It says that it has seen what it got, unless ``sees`` is unset."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, number: int = 0) -> None:
        self.socket, self.number = socket, number
        self.output = bytearray()
        self.offset = 0
        self.typed = 0
        self.sees = True
        self.told: dict[str, dict[str, Any]] = {}
        """The last message of each type."""
        self.closed: int | None = None
        """The code that the router closed with."""

    async def attach(self, **changes: Any) -> None:
        self.offset = changes.get("offset", 0)
        attach = {"type": "attach", "page": f"{self.number:032x}", "offset": 0, "rows": 24, "columns": 80}
        await self.socket.send_json({**attach, "taken": 0, "pending": 0, "stdin": None, **changes})

    async def type(self, data: bytes) -> None:
        await self.socket.send_bytes(_OFFSET.pack(self.typed) + data)
        self.typed += len(data)

    async def step(self) -> bool:
        """Take one message. False: the router has closed."""
        message = await self.socket.receive(10)
        if message.type is WSMsgType.TEXT:
            answer = message.json()
            self.told[answer.pop("type")] = answer
        elif message.type is WSMsgType.BINARY:
            await self._take(message.data)
        else:
            # Once aiohttp cannot answer it, it says that the closing was abnormal, whatever the router said.
            self.closed = message.data if message.type is WSMsgType.CLOSE else self.socket.close_code
        return self.closed is None

    async def _take(self, data: bytes) -> None:
        (offset,) = _OFFSET.unpack_from(data)
        assert offset == self.offset, f"output from {offset}, expected from {self.offset}"
        self.output += data[_OFFSET.size :]
        self.offset += len(data) - _OFFSET.size
        if self.sees:
            await self.socket.send_json({"type": "seen", "offset": self.offset})

    async def until(self, *, output: bytes | int = b"", told: str = "") -> None:
        """Go on until there is this output, or so much of it, and this kind of message came."""

        def done() -> bool:
            enough = len(self.output) >= output if isinstance(output, int) else output in self.output
            return enough and (not told or told in self.told)

        while not done():
            assert await self.step(), f"closed with {self.closed}: {self.told}"

    async def end(self) -> int:
        """Go on until the router closes; the code."""
        while await self.step():
            pass
        assert self.closed is not None
        return self.closed
