"""The memory snapshots this node has, as directories beside its storage pool, complete or absent.

``<state>/memory/<snapshot id>/`` (in the pool itself where that is the host's own btrfs):

- ``image/``: what runsc wrote: the sentry's state, and the pages that are not zero, as they are.
- ``guest/``: the lower directory with ``cove-init`` that the sandbox has mounted; another build of it would not fit its memory.
- ``state/``: see ``memory.state``.
- ``manifest.json``: see ``memory.manifest``.

Every byte is verified before its first use by this daemon, and again when a file looks touched.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from cove.exception import DataLossError, InvalidError, NotFoundError
from cove.types import is_id
from sandboxd.journal import MemoryRef
from sandboxd.layers.blobs import BlobClient
from sandboxd.layers.trees import Stored, StoredTrees
from sandboxd.memory.machine import Machines
from sandboxd.memory.manifest import Manifest, check_files, look_of, read_manifest
from sandboxd.storage_pool import StoragePool
from snapshots.backends.threads import in_thread
from snapshots.digest import Hasher, parse_digest
from snapshots.layers.archives import unpack_archive
from snapshots.layers.limits import OWN, Expected

Look = tuple[tuple[str, int, int, int, int], ...]


class MemoryCache:
    """Memory snapshots by id. Calls for one take turns."""

    def __init__(self, pool: StoragePool, blobs: BlobClient, machines: Machines) -> None:
        """``machines``: this one; snapshots of others are refused."""
        self.machines = machines
        self._blobs = blobs
        self._trees = StoredTrees(pool.memory, "sn", pool, blobs)
        self._verified: dict[str, Look] = {}

    async def sweep(self) -> None:
        """Remove what a daemon that died left unfinished; before anything else."""
        await self._trees.sweep()

    def list_(self) -> list[str]:
        """Ids of the snapshots that are here."""
        return self._trees.list_()

    def builds(self) -> frozenset[str]:
        """Builds of runsc that what is here goes on with. Blocking. What is damaged needs none."""
        found = set()
        for snapshot_id in self.list_():
            with contextlib.suppress(DataLossError):
                found.add(self.machines.build_of(read_manifest(self._trees.place(snapshot_id)).machine))
        return frozenset(found)

    def taken(self, snapshot_id: str) -> Manifest | None:
        """The manifest of a snapshot that is here. Raises: DataLossError: damaged."""
        place = self._trees.place(check_snapshot_id(snapshot_id))
        return read_manifest(place) if place.is_dir() else None

    @contextlib.asynccontextmanager
    async def taking(self, snapshot_id: str) -> AsyncIterator[Path]:
        """An empty directory for the block; published as the snapshot when the block is left without an error.

        The block hashes every byte for the manifest, just as a verification would: the first restore here need not do it again.
        """
        async with self._trees.work(check_snapshot_id(snapshot_id), "taken") as work:
            work.mkdir(mode=0o700)
            yield work
            look = await in_thread(look_of, work)
            await self._trees.publish(work, snapshot_id)
            self._verified[snapshot_id] = look

    @contextlib.asynccontextmanager
    async def turn(self, snapshot_id: str) -> AsyncIterator[None]:
        """The block is alone with this snapshot."""
        async with self._trees.turn(check_snapshot_id(snapshot_id)):
            yield

    async def ensure(self, memory: MemoryRef) -> Path:
        """The snapshot's directory, fetched from the store first if need be, every byte of it verified.

        Raises:  NotFoundError: neither here nor in the store. DataLossError: damaged. VersionError: not for this machine.
                 ConnectionError: trying again can help. ResourceExhaustedError: the disk is full.
        """
        snapshot_id = check_snapshot_id(memory.snapshot_id)
        async with self._trees.turn(snapshot_id):
            place = self._trees.place(snapshot_id)
            if not place.is_dir():
                await self._fetch(memory)
            await self._verify(snapshot_id, place)
            self.machines.restoring(read_manifest(place).machine)
        return place

    async def store(self, snapshot_id: str) -> Stored:
        """Bring a snapshot to the store, if it is not known to be there. Raises: NotFoundError, ResourceExhaustedError, ConnectionError."""
        async with self._trees.turn(check_snapshot_id(snapshot_id)):
            stored = self._trees.stored(snapshot_id)
            if stored is None:
                place = self._here(snapshot_id)
                await self._verify(snapshot_id, place)
                stored = await self._trees.bring(snapshot_id, place)
                self._trees.note_stored(snapshot_id, stored)
        return stored

    async def verify(self, memory: MemoryRef) -> None:
        """Read every byte that is here, and in the store. Raises: DataLossError, NotFoundError, ConnectionError."""
        snapshot_id = check_snapshot_id(memory.snapshot_id)
        async with self._trees.turn(snapshot_id):
            place = self._trees.place(snapshot_id)
            if place.is_dir():
                self._verified.pop(snapshot_id, None)
                await self._verify(snapshot_id, place)
            elif not memory.digest:
                raise self._missing(snapshot_id)
            if memory.digest:
                hasher = Hasher()
                async for chunk in self._blobs.fetch(parse_digest(memory.digest)):
                    hasher.update(chunk)
                if hasher.digest() != memory.digest:
                    raise DataLossError(f"The store's archive of {snapshot_id} is damaged.", remedy="Delete the snapshot; take another.")

    async def remove(self, snapshot_id: str) -> None:
        """Forget a snapshot that no sandbox runs on. Idempotent."""
        async with self._trees.turn(check_snapshot_id(snapshot_id)):
            self._verified.pop(snapshot_id, None)
            await self._trees.remove(snapshot_id)

    async def _fetch(self, memory: MemoryRef) -> None:
        if not memory.digest:
            raise self._missing(memory.snapshot_id)
        digest, diff_id = parse_digest(memory.digest), parse_digest(memory.diff_id)
        expect = Expected(digest=digest, diff_id=diff_id, size_bytes=memory.size_bytes)
        async with self._trees.work(memory.snapshot_id, "partial") as work:
            work.mkdir(mode=0o700)
            await unpack_archive(self._blobs.fetch(digest), work, expect=expect, limits=OWN, devices=False)
            self._trees.note_stored(memory.snapshot_id, Stored(digest, diff_id, memory.size_bytes))
            await self._trees.publish(work, memory.snapshot_id)

    async def _verify(self, snapshot_id: str, place: Path) -> None:
        manifest = read_manifest(place)
        look = await in_thread(look_of, place)
        if self._verified.get(snapshot_id) != look:
            await in_thread(check_files, place, manifest)
            self._verified[snapshot_id] = look

    def _here(self, snapshot_id: str) -> Path:
        place = self._trees.place(snapshot_id)
        if not place.is_dir():
            raise self._missing(snapshot_id)
        return place

    def _missing(self, snapshot_id: str) -> NotFoundError:
        return NotFoundError(
            f"The memory of {snapshot_id} is not on this node, and not in the store yet.",
            remedy="Try again in a moment; if it stays so, the node that took it was lost.",
        )


def check_snapshot_id(text: str) -> str:
    """Return ``text`` as an id; it becomes part of paths. Raises: InvalidError."""
    if not is_id(text, "sn"):
        raise InvalidError(f"{text[:80]!r} is not a snapshot id.")
    return text
