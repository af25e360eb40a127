"""What one caller asks to be built, and turns among callers that ask for the same."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec

from cove.wire import image_pb2
from router.auth import Caller

Emit = Callable[[image_pb2.ImageBuildLog], None]


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What one caller asks to be built. Layers are numbered from 1; 0 is the base."""

    caller: Caller
    request: image_pb2.ImageBuildRequest
    emit: Emit

    def is_fresh(self, layer: int) -> bool:
        """Whether the cache must not give it: from the first that is forced on."""
        if self.request.force_build or self.request.ignore_cache:
            return True
        return any(earlier.force_build for earlier in self.request.definition.layers[:layer])

    def kept(self, key: bytes) -> bytes:
        """``key``, or none where the cache shall stay as it is."""
        return b"" if self.request.ignore_cache else key

    def say(self, layer: int) -> Callable[[str], None]:
        """Puts a line of text into the log of the layer."""
        return lambda status: self.emit(image_pb2.ImageBuildLog(layer=layer, status=status))


class Turns:
    """Builds of one layer take turns: the second finds what the first has made."""

    def __init__(self) -> None:
        self._locks: weakref.WeakValueDictionary[tuple[str, bytes], asyncio.Lock] = weakref.WeakValueDictionary()

    @asynccontextmanager
    async def turn(self, workspace: str, key: bytes) -> AsyncIterator[None]:
        """Until the block is left, nobody else has a turn at the key."""
        async with self._locks.setdefault((workspace, key), asyncio.Lock()):
            yield
