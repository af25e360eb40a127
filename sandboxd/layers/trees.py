"""Directories by id that a node keeps, whole or not there, removed in one step; and such that the store has, too, as archives."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from cove.types import is_id
from sandboxd.kernel import sync_filesystem
from sandboxd.layers.blobs import BlobClient
from sandboxd.storage_pool import StoragePool
from snapshots.backends.threads import in_thread
from snapshots.digest import Digest
from snapshots.layers.archives import pack_layer


class Stored(msgspec.Struct, frozen=True):
    """``<id>.json``: a directory's archive in the store."""

    digest: Digest
    diff_id: Digest
    size_bytes: int


class Trees:
    """What is in one directory of the pool, by ids of one kind. Work on one id takes turns.

    Args:
        directory: below the pool; holds nothing else.
        prefix: of the ids.
    """

    def __init__(self, directory: Path, prefix: str, pool: StoragePool) -> None:
        self._directory, self._prefix, self._pool = directory, prefix, pool
        self._locks: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()

    async def sweep(self) -> None:
        """Remove what a daemon that died left unfinished; before anything else."""
        for path in self._directory.iterdir():
            name = path.name.removesuffix(".json")
            if not (is_id(name, self._prefix) and self.place(name).is_dir()):
                await self._pool.remove_tree(path)

    def list_(self) -> list[str]:
        """Ids of what is here."""
        return sorted(path.name for path in self._directory.iterdir() if is_id(path.name, self._prefix))

    def place(self, name: str) -> Path:
        """Where the directory of this id is, or would be."""
        return self._directory / name

    @contextlib.asynccontextmanager
    async def turn(self, name: str) -> AsyncIterator[None]:
        """The block is alone with this id."""
        async with self._locks.setdefault(name, asyncio.Lock()):
            yield

    @contextlib.asynccontextmanager
    async def work(self, name: str, suffix: str) -> AsyncIterator[Path]:
        """A path for the block; whatever then has it is removed."""
        path = self._directory / f"{name}.{suffix}"
        await self._pool.remove_tree(path)
        try:
            yield path
        finally:
            await self._pool.remove_tree(path)  # to its end, also where this is cancelled

    async def publish(self, work: Path, name: str) -> None:
        """Give a finished directory its id, its files on disk before: one that is there after a power cut is whole."""
        await in_thread(sync_filesystem, work)
        work.rename(self.place(name))

    async def remove(self, name: str) -> None:
        """Forget a directory; the caller has its turn. Idempotent."""
        with contextlib.suppress(FileNotFoundError):
            # Renamed first: half of it must never look like it.
            gone = self.place(name).rename(self._directory / f"{name}.gone")
            await self._pool.remove_tree(gone)


class StoredTrees(Trees):
    """Those that are packed once and brought to the store."""

    def __init__(self, directory: Path, prefix: str, pool: StoragePool, blobs: BlobClient) -> None:
        super().__init__(directory, prefix, pool)
        self._blobs = blobs

    async def bring(self, name: str, directory: Path) -> Stored:
        """Pack a directory and put it into the store. Raises: ResourceExhaustedError, ConnectionError."""
        async with self.work(name, "pack") as archive:
            packed = await pack_layer(directory, archive)
            await self._blobs.bring(packed.digest, archive)
        return Stored(packed.digest, packed.diff_id, packed.size_bytes)

    def stored(self, name: str) -> Stored | None:
        """What is known to be in the store."""
        try:
            return msgspec.json.decode(self._record(name).read_bytes(), type=Stored)
        except (FileNotFoundError, msgspec.MsgspecError):
            return None

    def note_stored(self, name: str, stored: Stored) -> None:
        """Remember what is in the store."""
        path = self._record(name)
        fresh = path.with_suffix(".new")
        fresh.write_bytes(msgspec.json.encode(stored))
        fresh.replace(path)

    async def remove(self, name: str) -> None:
        self._record(name).unlink(missing_ok=True)
        await super().remove(name)

    def _record(self, name: str) -> Path:
        return self._directory / f"{name}.json"
