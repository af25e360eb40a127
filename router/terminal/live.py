"""Terminals that this router has pages of, or lately had: what they share, and who leads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Final, Protocol, Self

from cove.exception import ResourceExhaustedError
from cove.wire import data_pb2
from router.db.records import TerminalRecord
from router.terminal.keyboard import Keyboard
from router.terminal.messages import Attach, Size
from router.terminal.process import Connections, TerminalProcess

MAX_PAGES: Final = 16
"""Pages of one terminal at a time."""

FORGET_AFTER_S: Final = 900.0
"""How long counts of keys outlive the last page; see :mod:`router.terminal.messages` for what happens then."""


class Page(Protocol):
    """One page, as its terminal sees it."""

    def changed(self) -> None:
        """There may be something to tell it."""

    def end(self, reason: str, *, come_again: bool) -> None:
        """It shall be told so and closed."""


class LiveTerminal:
    """One terminal and its pages."""

    def __init__(self, record: TerminalRecord, connections: Connections, clock: Callable[[], float]) -> None:
        self.record, self._clock = record, clock
        self.process = TerminalProcess(record, connections)
        self.keyboard = Keyboard(self.process.write, self._tell)
        self.leader: Page | None = None
        self.left_at = clock()
        self.used_at = 0.0
        """When bytes last went through; 0 once it was written down."""
        self._pages: set[Page] = set()
        self._opening = asyncio.Lock()
        self._is_open = False
        self._size: tuple[int, int] | None = None

    async def enter(self, page: Page, attach: Attach) -> int:
        """Add a page, which leads from now on; the process is started by the first one. :meth:`leave` must follow, also after an error.

        Returns: how many bytes of output there are.
        Raises:  cove.exception.Error: the process cannot be started or reached. ResourceExhaustedError: too many pages.
        """
        if len(self._pages) >= MAX_PAGES:
            raise ResourceExhaustedError(f"The terminal is open in {MAX_PAGES} pages.", remedy="Close some.", retryable=False)
        self._pages.add(page)
        async with self._opening:
            status = await self.process.open(attach)
            if not self._is_open:  # later the keyboard knows better: the node may have taken more than it could tell
                self.keyboard.stdin, self._is_open = status.stdin_offset, True
        if status.state != data_pb2.PROCESS_STATE_RUNNING:
            self.keyboard.close()
        await self.lead(page, attach)
        return status.stdout_bytes

    def leave(self, page: Page) -> None:
        """The page is gone; what it typed is still delivered."""
        self._pages.discard(page)
        self.left_at = self._clock()
        if self.leader is page:
            self.leader = next(iter(self._pages), None)
        self._tell()

    async def lead(self, page: Page, size: Size) -> None:
        """The page was opened, clicked into or resized: from now on the size is its window's. Raises: cove.exception.Error."""
        self.leader = page
        self._tell()
        if self._size != (size.rows, size.columns):
            self._size = (size.rows, size.columns)
            await self.process.resize(size)

    def use(self) -> None:
        """Bytes went through."""
        self.used_at = self._clock()

    def end(self, reason: str, *, come_again: bool = False) -> None:
        """Close every page."""
        for page in list(self._pages):
            page.end(reason, come_again=come_again)

    def is_forgettable(self, now: float) -> bool:
        """Whether nothing is lost by forgetting it."""
        return not self._pages and self.keyboard.is_empty and now - self.left_at >= FORGET_AFTER_S

    def _tell(self) -> None:
        for page in self._pages:
            page.changed()


class LiveTerminals:
    """All of them, with the tasks that deliver keys."""

    def __init__(self, connections: Connections, *, clock: Callable[[], float]) -> None:
        self._connections, self._clock = connections, clock
        self._live: dict[str, tuple[LiveTerminal, asyncio.Task[None]]] = {}
        self._group = asyncio.TaskGroup()

    def get(self, record: TerminalRecord) -> LiveTerminal:
        """The terminal of ``record``."""
        known = self._live.get(record.terminal_id)
        if known is not None:
            return known[0]
        live = LiveTerminal(record, self._connections, self._clock)
        task = self._group.create_task(live.keyboard.run(), name=f"keyboard {record.terminal_id}")
        self._live[record.terminal_id] = (live, task)
        return live

    def __iter__(self) -> Iterator[LiveTerminal]:
        return iter([live for live, _ in self._live.values()])

    def forget(self, live: LiveTerminal) -> None:
        """It is not there any more; keys that wait are dropped."""
        _, task = self._live.pop(live.record.terminal_id)
        task.cancel()

    def end(self, terminal_id: str, reason: str) -> None:
        """Close the terminal's pages, and forget it; a no-op if it is not here."""
        known = self._live.get(terminal_id)
        if known is not None:
            known[0].end(reason)
            self.forget(known[0])

    def stop(self) -> None:
        """The router stops: pages shall come again."""
        for live in self:
            live.end("The server restarts.", come_again=True)

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for live in self:
            self.forget(live)
        # Not told of the error that the block is left by, which it would wrap: all that it had to do is done.
        await self._group.__aexit__(None, None, None)
