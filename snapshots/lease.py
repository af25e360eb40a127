"""Leases: who needs which blobs until when, kept in the backend so that every process that shares the store sees them.

A lease is for blobs that no root names yet: an image that is being built, a layer that a node is about to mount. Take the lease, then look
whether the blob is there; give it back once a root names the blob.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection
from contextlib import aclosing, asynccontextmanager
from typing import Final

import msgspec

from cove.exception import ConflictError, DataLossError, InvalidError, NotFoundError
from snapshots.backends.protocol import Backend, get_bytes, put_bytes
from snapshots.digest import Digest, parse_digest
from snapshots.layout import LEASES
from snapshots.sweeps import Sweeps

SKEW_S: Final = 60.0
"""How far clocks of machines that share a store may lie apart: a lease counts for this long after its end."""

MAX_DIGESTS: Final = 10_000
"""Most blobs of one lease: an image has some hundred layers at most, a volume's commit some thousand blocks."""

MAX_TTL_S: Final = 7 * 86_400.0
"""Longest time between two renewals: what a crash leaves behind is free after a week."""

MAX_OWNER: Final = 200

_MAX_RECORD_BYTES: Final = 1 << 20


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """The object ``leases/<id>``, as JSON."""

    lease_id: str
    owner: str
    """Who took it, for people: ``build im-…``, ``node a``."""
    expires_at: float
    """Unix seconds by the owner's clock. A lease given back keeps its record with the time of that: see :func:`Leases.needed`."""
    digests: list[Digest]


class Leases:
    """All leases in one backend.

    Args:
        sweeps: the announcements of the same backend.
        clock: Unix seconds.
    """

    def __init__(self, backend: Backend, *, sweeps: Sweeps | None = None, clock: Callable[[], float] = time.time) -> None:
        self._backend = backend
        self._sweeps = sweeps or Sweeps(backend)
        self._clock = clock

    async def acquire(self, owner: str, digests: Collection[Digest], *, ttl_s: float) -> Lease:
        """Take a lease; its blobs need not exist yet. A blob that is there after this returned stays until the lease ends.

        Raises:  InvalidError: no or too much time, too many digests, or too long an owner.
        """
        lease_id = secrets.token_hex(16)
        return await self._store(Lease(lease_id=lease_id, owner=owner, expires_at=self._end(ttl_s), digests=sorted(set(digests))))

    async def renew(self, lease: Lease, *, ttl_s: float, add: Collection[Digest] = ()) -> Lease:
        """Let it last ``ttl_s`` from now, for the blobs in ``add``, too. Use the returned lease from then on.

        Raises:  ConflictError: it ended; its blobs may be gone.
        """
        current = await self._current(lease)
        digests = sorted({*current.digests, *add})
        return await self._store(Lease(lease_id=lease.lease_id, owner=lease.owner, expires_at=self._end(ttl_s), digests=digests))

    async def release(self, lease: Lease) -> None:
        """End it now. One that ended is fine."""
        try:
            current = await self._current(lease)
        except ConflictError:
            return
        await self._write(msgspec.structs.replace(current, expires_at=self._clock()))

    @asynccontextmanager
    async def hold(self, owner: str, digests: Collection[Digest], *, ttl_s: float) -> AsyncIterator[Lease]:
        """A lease for the length of the context, which must be shorter than ``ttl_s``."""
        lease = await self.acquire(owner, digests, ttl_s=ttl_s)
        try:
            yield lease
        finally:
            await self.release(lease)

    async def list_(self) -> AsyncGenerator[Lease, None]:
        """Leases that have not ended."""
        async with aclosing(self._records()) as leases:
            async for lease in leases:
                if lease.expires_at > self._clock():
                    yield lease

    async def needed(self, *, since: float) -> set[Digest]:
        """Blobs of leases that counted at any time from ``since`` on.

        A collection passes the time at which it began to read the roots: a blob may have moved from a lease to a root that had been read.
        """
        async with aclosing(self._records()) as leases:
            return {digest async for lease in leases if lease.expires_at > since - SKEW_S for digest in lease.digests}

    async def forget(self, *, before: float) -> None:
        """Delete the records of leases that :meth:`needed` with ``since=before`` does not count."""
        async with aclosing(self._records()) as leases:
            ended = [lease for lease in [lease async for lease in leases] if lease.expires_at <= before - SKEW_S]
        for lease in ended:
            await self._backend.delete(LEASES + lease.lease_id)

    def now(self) -> float:
        """Unix seconds by the clock that leases run by."""
        return self._clock()

    def _end(self, ttl_s: float) -> float:
        if not 0 < ttl_s <= MAX_TTL_S:
            raise InvalidError(f"A lease cannot last {ttl_s} s.", remedy=f"Give more than 0 and at most {MAX_TTL_S:.0f} s.")
        return self._clock() + ttl_s

    async def _current(self, lease: Lease) -> Lease:
        """What is stored of it. Raises: ConflictError: it ended."""
        try:
            current = await self._read(LEASES + lease.lease_id)
        except NotFoundError:
            current = None
        if current is None or current.expires_at <= self._clock():
            raise ConflictError("The lease ended.", remedy="Take another one, and look which of its blobs are still there.")
        return current

    async def _store(self, lease: Lease) -> Lease:
        """First the record, then the wait: the order that ``snapshots.sweeps`` asks for."""
        if len(lease.owner) > MAX_OWNER:
            raise InvalidError(f"A lease's owner has {len(lease.owner)} characters.", remedy=f"Say it in {MAX_OWNER}.")
        if len(lease.digests) > MAX_DIGESTS:
            raise InvalidError(f"A lease cannot hold {len(lease.digests)} blobs.", remedy=f"Take several, of at most {MAX_DIGESTS} each.")
        await self._write(lease)
        await self._sweeps.settle(lease.digests)
        return lease

    async def _write(self, lease: Lease) -> None:
        await put_bytes(self._backend, LEASES + lease.lease_id, msgspec.json.encode(lease))

    async def _records(self) -> AsyncGenerator[Lease, None]:
        async with aclosing(self._backend.list_(LEASES)) as infos:
            async for info in infos:
                lease = await self._read_if_there(info.name)
                if lease:
                    yield lease

    async def _read_if_there(self, name: str) -> Lease | None:
        try:
            return await self._read(name)
        except NotFoundError:
            return None

    async def _read(self, name: str) -> Lease:
        """Raises: NotFoundError; DataLossError: no lease that we wrote: a collection must not go on without it."""
        data = await get_bytes(self._backend, name, max_bytes=_MAX_RECORD_BYTES)
        try:
            lease = msgspec.json.decode(data, type=Lease)
            return msgspec.structs.replace(lease, digests=[parse_digest(digest) for digest in lease.digests])
        except (msgspec.DecodeError, InvalidError) as error:
            raise DataLossError(f"The store's object {name} is damaged.", remedy="Delete it once its owner is known to be gone.") from error
