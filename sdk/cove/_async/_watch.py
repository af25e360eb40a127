"""Watching a sandbox's files."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator, Collection
from typing import Final

from cove import _spec
from cove._async._filesystem import os_errors
from cove._transport.data import DataPlane
from cove._transport.methods import FILE_WATCH
from cove._transport.plane import Stream
from cove.types import FileWatchEvent, FileWatchEventType
from cove.wire import data_pb2

_TYPES: Final = {
    data_pb2.FILE_WATCH_EVENT_TYPE_ACCESS: FileWatchEventType.Access,
    data_pb2.FILE_WATCH_EVENT_TYPE_CREATE: FileWatchEventType.Create,
    data_pb2.FILE_WATCH_EVENT_TYPE_MODIFY: FileWatchEventType.Modify,
    data_pb2.FILE_WATCH_EVENT_TYPE_REMOVE: FileWatchEventType.Remove,
}


class Watch(AsyncIterator[FileWatchEvent]):
    """Events as they come. A cut connection raises: what happened meanwhile is not known."""

    def __init__(
        self,
        plane: DataPlane,
        path: str | os.PathLike[str],
        *,
        filter: Collection[FileWatchEventType] | None,
        recursive: bool,
        timeout_s: float | None,
    ) -> None:
        self._path = path
        self._filter = None if filter is None else {*filter, FileWatchEventType.Unknown}
        request = data_pb2.FileWatchRequest(
            sandbox_id=plane.sandbox_id,
            path=_spec.path(path),
            recursive=recursive,
            timeout_s=_spec.seconds(timeout_s, what="timeout"),
        )
        self._stream = Stream(plane, FILE_WATCH, lambda: request)
        self._events: deque[FileWatchEvent] = deque()
        self._started = False
        self._ended = False
        self._reading = asyncio.Lock()

    async def start(self) -> None:
        """Return once the watch is on: what happens from then on is told."""
        async with self._reading:
            if not self._started:
                await self._next()
                self._started = True

    def __aiter__(self) -> Watch:
        return self

    async def __anext__(self) -> FileWatchEvent:
        await self.start()
        async with self._reading:
            while not self._ended:
                message = await self._next()
                if message is not None and self._wanted(event := _event(message)):
                    return event
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """End the watch."""
        self._ended = True
        self._stream.cancel()

    async def _next(self) -> data_pb2.FileWatchEvent | None:
        with os_errors(self._path):
            message = await self._stream.read()
        self._ended = message is None
        return message

    def _wanted(self, event: FileWatchEvent) -> bool:
        return self._filter is None or event.type in self._filter


def _event(message: data_pb2.FileWatchEvent) -> FileWatchEvent:
    paths = [path.decode("utf-8", "surrogateescape") for path in message.paths]
    return FileWatchEvent(paths, FileWatchEventType.Unknown if message.overflow else _TYPES.get(message.type, FileWatchEventType.Unknown))
