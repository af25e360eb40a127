"""Announcements of what is about to be deleted, so that a put of the same blob cannot lose against the deletion.

No backend deletes "only if still old". So whoever deletes a blob that others may put again at the same time *announces* it first: a record
``sweeps/<id>`` lists the digests. Then, and only then, it decides: it looks at the blob's age and at the leases. Whoever puts a blob or
takes a lease does so first, *settles* then: waits until no announcement lists the digest, and only then looks whether the blob is there.

Either the announcement came before the look at announcements; then the put waits for its end, sees the blob gone and puts it again. Or it
came after; then the sweeper decides after the put and sees a young blob, or a lease, and spares it. Each side writes before it reads, as in
Dekker's algorithm, and nothing but reads that see finished writes is asked of the backend.

A sweeper that died leaves its record; it expires. A living one stops deleting at half of the record's life. What is left is a sweeper that
is suspended in the middle of one deletion for the other half.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import aclosing, asynccontextmanager
from typing import Final

import msgspec

from cove.exception import DataLossError, InternalFailure, NotFoundError
from snapshots.backends.protocol import Backend, get_bytes, put_bytes
from snapshots.digest import Digest
from snapshots.layout import SWEEPS

LIFE_S: Final = 120.0
"""How long a record counts. Clocks of machines that share a store may differ by half of it."""

MAX_DIGESTS: Final = 256
"""Most digests of one announcement: puts wait for all of its deletions."""

POLL_S: Final = 0.02
MAX_POLL_S: Final = 1.0

_MAX_RECORD_BYTES: Final = 1 << 16


class Record(msgspec.Struct, frozen=True):
    """The object ``sweeps/<id>``, as JSON."""

    expires_at: float
    """Unix seconds by the sweeper's clock."""
    digests: list[str]


class Announcement:
    """What the announcer holds while its record stands.

    Attributes:
        announced_at: Unix seconds by the backend's clock, to compare with ``modified_at`` of objects.
    """

    def __init__(self, announced_at: float, stop_at: float, clock: Callable[[], float]) -> None:
        self.announced_at = announced_at
        self._stop_at = stop_at
        self._clock = clock

    def check(self) -> None:
        """Call before each deletion. Raises: InternalFailure: it took so long that puts are about to stop waiting."""
        if self._clock() >= self._stop_at:
            raise InternalFailure("Deleting from the store took too long.", remedy="Try again; check how fast the object store answers.")


class Sweeps:
    """All announcements in one backend.

    Args:
        clock: Unix seconds.
        sleep: waits that many seconds.
    """

    def __init__(
        self, backend: Backend, *, clock: Callable[[], float] = time.time, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._backend = backend
        self._clock = clock
        self._sleep = sleep

    @asynccontextmanager
    async def announce(self, digests: Collection[Digest]) -> AsyncIterator[Announcement]:
        """Announce that these blobs may be deleted inside the context; at most :data:`MAX_DIGESTS`."""
        name = f"{SWEEPS}{secrets.token_hex(16)}"
        begun_at = self._clock()
        try:
            await put_bytes(self._backend, name, msgspec.json.encode(Record(begun_at + LIFE_S, list(digests))))
            info = await self._backend.stat(name)
            yield Announcement(info.modified_at, begun_at + LIFE_S / 2, self._clock)
        finally:
            await self._backend.delete(name)

    async def settle(self, digests: Collection[Digest]) -> None:
        """Wait until no announcement lists any of the digests."""
        wanted, poll_s = frozenset(digests), POLL_S
        while await self._announced(wanted):
            await self._sleep(poll_s)
            poll_s = min(2 * poll_s, MAX_POLL_S)

    async def _announced(self, wanted: frozenset[Digest]) -> bool:
        async with aclosing(self._backend.list_(SWEEPS)) as infos:
            names = [info.name async for info in infos]
        for name in names:
            record = await self._read(name)
            if record and not wanted.isdisjoint(record.digests):
                return True
        return False

    async def _read(self, name: str) -> Record | None:
        """The record; None if it is over. One that expired is removed: its sweeper died."""
        try:
            record = msgspec.json.decode(await get_bytes(self._backend, name, max_bytes=_MAX_RECORD_BYTES), type=Record)
        except NotFoundError:
            return None
        except msgspec.DecodeError as error:
            raise DataLossError(f"The store's object {name} is damaged.", remedy="Delete it if no garbage collection runs.") from error
        if record.expires_at <= self._clock():
            await self._backend.delete(name)
            return None
        return record
