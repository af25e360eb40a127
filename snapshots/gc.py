"""Mark-and-sweep over the store. Nothing else deletes blobs that may be in use.

A blob stays if a root names it, if a lease counted for it at any time since the collection began, or if it was put within the grace before
that. So whoever makes a root name a blob must have put the blob within the grace, or hold a lease for it, until the root is written.
Races with puts and leases are closed by announcing each deletion first: ``snapshots.sweeps`` has the argument.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Collection
from contextlib import aclosing
from typing import Final

import msgspec

from cove.exception import InvalidError, NotFoundError
from snapshots.digest import Digest
from snapshots.layout import blob_name
from snapshots.lease import Leases
from snapshots.store import Blob, Store
from snapshots.sweeps import MAX_DIGESTS

DEFAULT_GRACE_S: Final = 3600.0
"""An hour between a blob's put and the root that names it: longer than any build step."""


class Report(msgspec.Struct, kw_only=True):
    """What a collection did or, as a dry run, would do now."""

    dry_run: bool
    kept: int = 0
    kept_bytes: int = 0
    removed: int = 0
    removed_bytes: int = 0

    def keep(self, blob: Blob) -> None:
        self.kept += 1
        self.kept_bytes += blob.size_bytes

    def remove(self, blob: Blob) -> None:
        self.removed += 1
        self.removed_bytes += blob.size_bytes


async def collect(
    store: Store,
    roots: AsyncIterable[Digest] | Collection[Digest],
    leases: Leases,
    *,
    grace_s: float = DEFAULT_GRACE_S,
    dry_run: bool = False,
) -> Report:
    """Remove every blob that nobody needs. Several collections at a time do no harm.

    Args:
        roots: every digest that is in use, with what it needs in turn. An error of the iterator ends the collection before it removes any.
        grace_s: how old an unneeded blob must be; 0 only where nobody puts anything meanwhile.
        dry_run: remove nothing.
    Raises:
        InvalidError: a negative grace.
        InternalFailure: the backend is too slow to delete safely; what was removed so far was garbage.
    """
    if not grace_s >= 0:  # so that NaN is refused, too
        raise InvalidError(f"grace_s is {grace_s}.", remedy="Give 0 or more seconds.")
    since = leases.now()
    async with store.sweeps.announce(()) as start:
        young_from = start.announced_at - grace_s
    collection = _Collection(store, leases, await _gathered(roots), since=since, young_from=young_from, dry_run=dry_run)
    await collection.run()
    if not dry_run:
        await leases.forget(before=since)
        await store.backend.sweep()
    return collection.report


async def _gathered(roots: AsyncIterable[Digest] | Collection[Digest]) -> frozenset[Digest]:
    if isinstance(roots, Collection):
        return frozenset(roots)
    return frozenset([digest async for digest in roots])


class _Collection:
    """One run. Times: ``since`` by the leases' clock, ``young_from`` by the backend's."""

    def __init__(self, store: Store, leases: Leases, roots: frozenset[Digest], *, since: float, young_from: float, dry_run: bool) -> None:
        self._store = store
        self._leases = leases
        self._roots = roots
        self._since = since
        self._young_from = young_from
        self.report = Report(dry_run=dry_run)

    async def run(self) -> None:
        """Look at every blob, in batches of one announcement each."""
        leased = await self._leases.needed(since=self._since)
        batch: list[Blob] = []
        async with aclosing(self._store.walk()) as blobs:
            async for blob in blobs:
                if self._is_kept(blob, leased):
                    self.report.keep(blob)
                    continue
                batch.append(blob)
                if len(batch) == MAX_DIGESTS:
                    await self._sweep(batch)
                    batch = []
        await self._sweep(batch)

    def _is_kept(self, blob: Blob, leased: Collection[Digest]) -> bool:
        return blob.digest in self._roots or blob.digest in leased or blob.modified_at > self._young_from

    async def _sweep(self, batch: list[Blob]) -> None:
        if self.report.dry_run:
            for blob in batch:
                self.report.remove(blob)
        elif batch:
            await self._sweep_announced(batch)

    async def _sweep_announced(self, batch: list[Blob]) -> None:
        async with self._store.sweeps.announce([blob.digest for blob in batch]) as announcement:
            leased = await self._leases.needed(since=self._since)
            for listed in batch:
                try:
                    blob = await self._store.stat(listed.digest)
                except NotFoundError:
                    continue
                if self._is_kept(blob, leased):
                    self.report.keep(blob)
                    continue
                announcement.check()
                await self._store.backend.delete(blob_name(blob.digest))
                self.report.remove(blob)
