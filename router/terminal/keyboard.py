"""The one writer to a terminal's input: what pages type, in one order, each key once."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from cove.exception import Error
from router.terminal.messages import TYPED_WINDOW_BYTES, Attach, Keys, Violation

Write = Callable[[int, bytes], Awaitable[int]]
"""From an input offset and bytes to the next offset; a second call with the same does nothing. Raises cove.exception.Error."""

PIECE_BYTES: Final = 64 * 1024
MAX_PAGES: Final = 64
"""Pages whose counts are remembered. One that is forgotten is treated as after a restart of the router."""
FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 2.0

log = structlog.get_logger(__name__)


class Typist:
    """One page: how many of its keys were accepted, and how many have reached the process."""

    def __init__(self, taken: int) -> None:
        self.accepted = self.taken = taken


class Keyboard:
    """Takes keys at once and delivers them in its own time, also those of pages that have gone."""

    def __init__(self, write: Write, changed: Callable[[], None]) -> None:
        """``changed``: called whenever keys have reached the process."""
        self._write, self._changed = write, changed
        self._typists: OrderedDict[str, Typist] = OrderedDict()
        self._queue: deque[tuple[Typist, bytes]] = deque()
        self._filled = asyncio.Event()
        self._delivering = False
        self._closed = False
        self.stdin = 0
        """The process's input offset."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits for the process, or is on its way."""
        return not self._queue and not self._delivering

    def close(self) -> None:
        """The process reads no more: keys are taken and go nowhere."""
        self._closed = True

    def join(self, attach: Attach) -> Typist:
        """The counts of the page that attaches. Raises: Violation: it knows of more keys than were accepted."""
        typist = self._typists.get(attach.page)
        if typist is None:
            typist = self._typists[attach.page] = Typist(attach.taken + self._guess(attach))
            if len(self._typists) > MAX_PAGES:
                self._typists.popitem(last=False)
        elif typist.accepted < attach.taken:
            raise Violation("The page knows of keys that it has not typed.")
        self._typists.move_to_end(attach.page)
        return typist

    def _guess(self, attach: Attach) -> int:
        """How many of the keys that a page does not know to be taken another router took."""
        since = 0 if attach.stdin is None else self.stdin - attach.stdin
        return min(max(0, since), attach.pending)

    def type(self, typist: Typist, keys: Keys) -> None:
        """Accept keys; those that were accepted before are skipped. Raises: Violation: a gap, or too many."""
        if keys.offset > typist.accepted:
            raise Violation("Keys are missing.")
        data = keys.data[typist.accepted - keys.offset :]
        if typist.accepted + len(data) - typist.taken > TYPED_WINDOW_BYTES:
            raise Violation("More keys than the window allows.")
        if data:
            typist.accepted += len(data)
            self._queue.append((typist, data))
            self._filled.set()

    async def run(self) -> None:
        """Deliver for ever."""
        while True:
            while not self._queue:
                self._filled.clear()
                await self._filled.wait()
            self._delivering = True
            typist, data = self._take()
            await self._deliver(data)
            typist.taken += len(data)
            self._delivering = False
            self._changed()

    def _take(self) -> tuple[Typist, bytes]:
        """The next keys of one page, single ones joined."""
        typist, data = self._queue.popleft()
        pieces, size = [data], len(data)
        while self._queue and self._queue[0][0] is typist and size + len(self._queue[0][1]) <= PIECE_BYTES:
            data = self._queue.popleft()[1]
            pieces.append(data)
            size += len(data)
        return typist, b"".join(pieces)

    async def _deliver(self, data: bytes) -> None:
        """Until the process has them, or can have no more. The offset makes trying again harmless."""
        pause_s = FIRST_PAUSE_S
        while not self._closed:
            try:
                self.stdin = await self._write(self.stdin, data)
                return
            except Error as error:
                if not error.retryable:
                    log.info("terminal takes no more input", code=error.code)
                    self.close()
                    return
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
