"""The daemon's contact with one running container: its FIFOs, its guest, the watch for its death, and tasks that end with it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection

import structlog

from sandboxd.api_socket import serve_plain_sandbox
from sandboxd.channel.client import Guest
from sandboxd.channel.link import Fifos
from sandboxd.journal import Entry
from sandboxd.lifecycle import Event, GuestBroke

log = structlog.get_logger()


class Contact:
    """Made once per sandbox; opened for each container that it has in its life.

    Args:
        post: hears of what goes wrong.
        died: returns once the container is gone, with what that means.
    """

    def __init__(self, entry: Entry, *, post: Callable[[Event], None], died: Callable[[], Awaitable[Event]]) -> None:
        self._entry, self._post, self._died = entry, post, died
        self._tasks: set[asyncio.Task[None]] = set()
        self._fifos: Fifos | None = None
        self.guest: Guest | None = None

    def spawn(self, work: Awaitable[None]) -> None:
        """Do it beside; what it raises ends the sandbox."""

        async def guarded() -> None:
            try:
                await work
            except asyncio.CancelledError:
                raise
            except Exception as error:
                log.exception("sandbox task failed", sandbox=self._entry.sandbox_id)
                self._post(GuestBroke(f"A task of the daemon failed: {type(error).__name__}."))

        task = asyncio.get_running_loop().create_task(guarded(), name=self._entry.sandbox_id)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def hold(self, fifos: Fifos) -> None:
        """Own a container's FIFOs, and watch for its death."""
        self._fifos = fifos
        self.spawn(self._watch_death())

    def talk(self) -> Guest:
        """The guest at the other end, which is not greeted yet."""
        assert self._fifos is not None, "hold() comes first"
        self.guest = Guest(
            self._fifos,
            bytes.fromhex(self._entry.guest_marker),
            violated=lambda error: self._post(GuestBroke(f"The guest broke its protocol: {error}")),
            api_opened=lambda stream, peer: self.spawn(serve_plain_sandbox(stream)),
        )
        return self.guest

    def hang_up(self) -> None:
        """Stop talking: what waits for the guest fails. Idempotent."""
        if self.guest is not None:
            self.guest.close()

    async def end(self) -> None:
        """Stop everything but the caller's own task; the container, if it lives, goes on by itself. Idempotent."""
        await cancel_all(self._tasks - {asyncio.current_task()})
        self.hang_up()
        self.guest = None
        if self._fifos is not None:
            self._fifos.close()
            self._fifos = None

    async def _watch_death(self) -> None:
        self._post(await self._died())


async def cancel_all(tasks: Collection[asyncio.Task[None] | None]) -> None:
    """Cancel tasks and wait until they are gone; what they raise was logged by themselves."""
    waiting = [task for task in tasks if task is not None]
    for task in waiting:
        task.cancel()
    if waiting:
        await asyncio.wait(waiting)
