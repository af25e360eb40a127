"""Opens the relay's connection to where a sandbox wants to, directly or through a proxy."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Address
from typing import Final

from sandboxd.egress.relay.proxies import Dialogue, Proxy, ProxyError, Wanted, dialogue
from sandboxd.egress.relay.side import Side

DIAL_S: Final = 30.0
"""How long all of it may take; programs that are less patient hang up."""


async def dial(address: IPv4Address, port: int, proxy: Proxy | None) -> tuple[Side, bytes]:
    """A connected side, and what it has said already; the caller becomes its listener at once.

    Raises:  OSError: it cannot be reached, TimeoutError among them. ProxyError: the proxy refuses.
    """
    talk = _Talk(dialogue(proxy, address, port) if proxy else None)
    host, port = (proxy.host, proxy.port) if proxy else (str(address), port)
    async with asyncio.timeout(DIAL_S):
        # Not a connected socket of our own: uvloop closes its descriptor under it when a connection ends while it begins.
        _, side = await asyncio.get_running_loop().create_connection(lambda: Side(talk.begin), host, port)
        try:
            await talk.done
        except BaseException:
            side.reset()
            raise
    return side, bytes(talk.said)


class _Talk:
    """What is said before the sandbox's bytes: a Listener of the side."""

    def __init__(self, steps: Dialogue | None) -> None:
        self._steps = steps
        self._wanted: Wanted | None = None
        self.said = bytearray()
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def begin(self, side: Side) -> None:
        side.listener = self
        self._go_on(side, None)

    def received(self, side: Side, data: bytes) -> None:
        self.said += data
        try:
            while self._wanted is not None and not self.done.done() and (size := self._wanted(bytes(self.said))):
                answer = bytes(self.said[:size])
                del self.said[:size]
                self._go_on(side, answer)
        except ProxyError as error:
            self._fail(error)

    def ended(self, side: Side) -> None:
        self._fail(ProxyError("it hung up"))

    def lost(self, side: Side, error: Exception | None) -> None:
        self._fail(ProxyError("it hung up"))

    def _go_on(self, side: Side, answer: bytes | None) -> None:
        """The next step. Raises: ProxyError."""
        try:
            if self._steps is None:
                raise StopIteration
            words, self._wanted = self._steps.send(answer) if answer is not None else next(self._steps)
        except StopIteration:
            self._wanted = None
            self.done.set_result(None)
        else:
            side.write(words)

    def _fail(self, error: ProxyError) -> None:
        if not self.done.done():
            self.done.set_exception(error)
