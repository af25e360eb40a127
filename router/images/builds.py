"""Builds that run: one for all callers who ask for the same, with a log that each of them gets from its beginning."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final

import structlog

from cove.wire import image_pb2
from policies.images import check_definition
from router.apps import app_of
from router.auth import Caller
from router.db.protocol import Database
from router.db.records import ImageRecord
from router.images.builder.keys import keys_of
from router.images.builder.layers import Builder
from router.images.failures import as_ours
from router.images.manifests import to_image_info

log = structlog.get_logger(__name__)

KEPT_EVENTS: Final = 20_000
KEPT_BYTES: Final = 8 * 2**20
"""Of a build's log; callers who come later, or read slowly, miss what lies before."""


class _Running:
    """One build. ``events`` are numbered from ``dropped`` on."""

    def __init__(self, name: tuple[object, ...]) -> None:
        self.name = name
        self.events: deque[image_pb2.ImageBuildLog] = deque()
        self.dropped = 0
        self._bytes = 0
        self.callers = 0
        self.changed = asyncio.Event()
        self.task: asyncio.Task[ImageRecord] | None = None

    def emit(self, event: image_pb2.ImageBuildLog) -> None:
        """Add to the log."""
        self.events.append(event)
        self._bytes += len(event.data)
        while len(self.events) > KEPT_EVENTS or self._bytes > KEPT_BYTES:
            self._bytes -= len(self.events.popleft().data)
            self.dropped += 1
        self.wake()

    def wake(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()


class Builds:
    """One instance per router; its block ends the builds that still run."""

    def __init__(self, db: Database, builder: Builder) -> None:
        self._db, self._builder = db, builder
        self._running: dict[tuple[object, ...], _Running] = {}
        self._tasks: set[asyncio.Task[ImageRecord]] = set()
        """All that have not ended, those that nobody waits for any more included."""

    async def __aenter__(self) -> Builds:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for task in self._tasks:
            task.cancel()
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def build(self, caller: Caller, request: image_pb2.ImageBuildRequest) -> AsyncGenerator[image_pb2.ImageBuildEvent, None]:
        """The build's log as it goes, then the image.

        Raises:  InvalidError: the definition. RemoteError: a command failed. NotFoundError: the App, or what the definition names.
        """
        check_definition(request.definition)
        if request.app_id:
            await app_of(self._db, caller, request.app_id)
        if (known := await self._builder.cached(caller, request)) is not None:
            yield image_pb2.ImageBuildEvent(image=to_image_info(known))
            return
        running = self._join(caller, request)
        running.callers += 1
        try:
            async for event in self._log_of(running):
                yield image_pb2.ImageBuildEvent(log=event)
            assert running.task is not None  # set where it was made
            yield image_pb2.ImageBuildEvent(image=to_image_info(await running.task))
        finally:
            running.callers -= 1
            if not running.callers and running.task is not None:
                self._forget(running)  # who comes from now on needs a build that goes on
                running.task.cancel()  # a no-op when it is done

    def _join(self, caller: Caller, request: image_pb2.ImageBuildRequest) -> _Running:
        """The build of the same definition that runs, or a new one. With force two that run at once are one as well."""
        definition = request.definition
        forced = tuple(layer.force_build for layer in definition.layers)
        secrets = definition.SerializeToString(deterministic=True)
        name = (caller.workspace, keys_of(definition)[-1], request.force_build, request.ignore_cache, forced, secrets)
        running = self._running.get(name)
        if running is None:
            running = self._running[name] = _Running(name)
            running.task = asyncio.create_task(self._run(caller, request, running), name="image build")
            self._tasks.add(running.task)
            running.task.add_done_callback(self._ended)
        return running

    def _ended(self, task: asyncio.Task[ImageRecord]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # marks it as seen: the callers may have gone

    def _forget(self, running: _Running) -> None:
        if self._running.get(running.name) is running:
            del self._running[running.name]

    async def _run(self, caller: Caller, request: image_pb2.ImageBuildRequest, running: _Running) -> ImageRecord:
        try:
            with as_ours():
                return await self._builder.build(caller, request, running.emit)
        finally:
            self._forget(running)
            running.wake()

    async def _log_of(self, running: _Running) -> AsyncIterator[image_pb2.ImageBuildLog]:
        position = 0
        while True:
            changed = running.changed
            position = max(position, running.dropped)
            while position - running.dropped < len(running.events):
                event = running.events[position - running.dropped]
                position += 1
                yield event
                position = max(position, running.dropped)
            if running.task is None or running.task.done():
                return
            if changed is running.changed:
                await changed.wait()
                await asyncio.sleep(0)  # the task that woke us may be about to end
