"""Objects in this process's memory: for tests, and for trying cove without leaving a trace.

Every operation lets other tasks run first, as one that waits for a disk does: a loop over it starves nobody, and tests see races.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from cove.exception import AlreadyExistsError, NotFoundError, ResourceExhaustedError
from snapshots.backends.protocol import ObjectInfo, check_conditional, check_name, check_prefix
from snapshots.digest import Chunk

CHUNK_BYTES: Final = 1 << 20


class MemoryBackend:
    """A dictionary of objects.

    Args:
        capacity_bytes: most bytes of all objects together; None for no bound.
        clock: Unix seconds.
    """

    def __init__(self, *, capacity_bytes: int | None = None, clock: Callable[[], float] = time.time) -> None:
        self._objects: dict[str, tuple[ObjectInfo, bytes]] = {}
        self._versions = itertools.count()
        self._capacity_bytes = capacity_bytes
        self._clock = clock

    @property
    def chunk_bytes(self) -> int:
        return CHUNK_BYTES

    @asynccontextmanager
    async def stage(self) -> AsyncIterator[MemoryStaged]:
        yield MemoryStaged(self)

    @asynccontextmanager
    async def open(self, name: str) -> AsyncIterator[MemoryReader]:
        await asyncio.sleep(0)
        yield MemoryReader(*self._get(name))

    async def stat(self, name: str) -> ObjectInfo:
        await asyncio.sleep(0)
        return self._get(name)[0]

    async def delete(self, name: str) -> None:
        await asyncio.sleep(0)
        self._objects.pop(check_name(name), None)

    async def list_(self, prefix: str) -> AsyncGenerator[ObjectInfo, None]:
        await asyncio.sleep(0)
        check_prefix(prefix)
        for info, _ in list(self._objects.values()):
            if info.name.startswith(prefix):
                yield info

    async def sweep(self) -> int:
        return 0

    def put(self, name: str, data: bytes, *, if_absent: bool) -> None:
        """What publishing does. Raises: AlreadyExistsError, RequestSizeError."""
        if if_absent:
            check_conditional(len(data))
        if check_name(name) in self._objects and if_absent:
            raise AlreadyExistsError(f"There is an object {name} already.")
        self._objects[name] = (ObjectInfo(name, len(data), self._clock(), str(next(self._versions))), data)

    def check_space(self, size_bytes: int) -> None:
        """Raises: ResourceExhaustedError: ``size_bytes`` more would be too many."""
        used = sum(info.size_bytes for info, _ in self._objects.values())
        if self._capacity_bytes is not None and used + size_bytes > self._capacity_bytes:
            raise ResourceExhaustedError("The store in memory is full.", remedy="Remove what is not needed, or use a directory.")

    def _get(self, name: str) -> tuple[ObjectInfo, bytes]:
        try:
            return self._objects[check_name(name)]
        except KeyError:
            raise NotFoundError(f"The store has no {name}.") from None


class MemoryStaged:
    """:class:`snapshots.backends.protocol.Staged`."""

    def __init__(self, backend: MemoryBackend) -> None:
        self._backend = backend
        self._data = bytearray()

    async def write(self, chunk: Chunk) -> None:
        await asyncio.sleep(0)
        self._backend.check_space(len(self._data) + memoryview(chunk).nbytes)
        self._data += chunk

    async def publish(self, name: str, *, if_absent: bool = False) -> None:
        await asyncio.sleep(0)
        self._backend.put(name, bytes(self._data), if_absent=if_absent)


class MemoryReader:
    """:class:`snapshots.backends.protocol.Reader`."""

    def __init__(self, info: ObjectInfo, data: bytes) -> None:
        self.info = info
        self._data = data

    async def read_at(self, offset_bytes: int, size_bytes: int) -> bytes:
        await asyncio.sleep(0)
        return self._data[offset_bytes : offset_bytes + size_bytes]
