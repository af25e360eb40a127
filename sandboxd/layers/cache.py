"""The layers this node has, as directories in its storage pool, complete or absent.

``<pool>/layers/<layer id>/upper`` is what overlayfs mounts; ``<layer id>.json`` tells where the store has it. Names with another suffix are
unfinished work, removed when the next daemon starts.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final

from cove.exception import ConflictError, InvalidError, NotFoundError
from cove.types import SandboxId, is_id
from cove.wire.image_pb2 import LayerRef
from sandboxd.layers.blobs import BlobClient
from sandboxd.layers.own_files import remove_own_files
from sandboxd.layers.trees import Stored, StoredTrees
from sandboxd.storage_pool import StoragePool
from snapshots.backends.threads import in_thread
from snapshots.digest import parse_digest
from snapshots.layers.archives import unpack_archive
from snapshots.layers.diff import Change, diff_layers
from snapshots.layers.flatten import flatten_layers
from snapshots.layers.limits import OWN, Expected, Limits

CHANGES_AT_ONCE: Final = 1000

Stopped = Callable[[], AbstractAsyncContextManager[None]]
"""Gives a block during which nothing in the sandbox runs."""


class LayerCache:
    """Layers by id. Calls for one layer take turns."""

    def __init__(self, pool: StoragePool, blobs: BlobClient) -> None:
        self._pool = pool
        self._blobs = blobs
        self._trees = StoredTrees(pool.layers, "ly", pool, blobs)

    async def sweep(self) -> None:
        """Remove what a daemon that died left unfinished; before anything else."""
        await self._trees.sweep()

    def list_(self) -> list[str]:
        """Ids of the layers that are here."""
        return self._trees.list_()

    async def ensure(self, layer: LayerRef, *, below: Path | None = None) -> Path:
        """The directory to mount, fetched from the store first if need be.

        Args:    below: the directory of the layer that it lies on.
        Raises:  NotFoundError: neither here nor in the store. DataLossError, ConnectionError: trying again can help.
                 ResourceExhaustedError: the disk is full.
        """
        layer_id = check_layer_id(layer.layer_id)
        async with self._trees.turn(layer_id):
            if not self._trees.place(layer_id).is_dir():
                await self._fetch(layer, below)
        return self._trees.place(layer_id) / "upper"

    async def take(self, sandbox_id: SandboxId, layer_id: str, merge: Sequence[str], *, own: Sequence[Path], stopped: Stopped) -> float:
        """Make the sandbox's changes, on top of the layers ``merge``, the layer ``layer_id``; if it exists, leave it as it is.

        What is in memory alone is written out before the sandbox is stopped, so that it stands still for the rest only.

        Args:    own: the node's directories in the sandbox's file system; copies of their files are not changes.
        Returns: seconds that the sandbox was stopped.
        Raises:  NotFoundError: one of ``merge``, or the sandbox's files. OSError.
        """
        place = self._trees.place(check_layer_id(layer_id))
        below = [self._upper(check_layer_id(one)) for one in merge]
        async with self._trees.turn(layer_id):
            if place.is_dir():
                return 0.0
            async with self._trees.work(layer_id, "flush") as flush:
                await self._copy(sandbox_id, flush)
            async with self._trees.work(layer_id, "taken") as taken:
                async with stopped():
                    began = time.monotonic()
                    await self._copy(sandbox_id, taken)
                    took_s = time.monotonic() - began
                await in_thread(remove_own_files, taken / "upper", own)
                if below:
                    await self._merge(layer_id, [*below, taken / "upper"], after=taken)
                else:
                    taken.rename(place)
        return took_s

    async def store(self, layer: LayerRef, directory: Path | None = None) -> LayerRef:
        """Bring a layer to the store, if it is not known to be there.

        Args:    directory: of a base, which is no layer of this cache.
        Returns: ``layer`` with digests and size. Raises: NotFoundError: not here. ResourceExhaustedError, ConnectionError.
        """
        name = layer.layer_id or f"base-{layer.base.replace('/', '-')}"
        async with self._trees.turn(name):
            stored = self._trees.stored(name) if directory is None else None
            if stored is None:
                stored = await self._trees.bring(name, directory or self._upper(check_layer_id(name)))
                if directory is None:
                    self._trees.note_stored(name, stored)
        return LayerRef(
            layer_id=layer.layer_id, base=layer.base, digest=stored.digest, diff_id=stored.diff_id, size_bytes=stored.size_bytes
        )

    async def remove(self, layer_id: str) -> None:
        """Forget a layer that nothing uses. Idempotent."""
        async with self._trees.turn(check_layer_id(layer_id)):
            await self._trees.remove(layer_id)

    async def diff(self, old: Sequence[Path], new: Sequence[Path]) -> AsyncIterator[list[Change]]:
        """What differs between two stacks of directories, the lowest first, in batches sorted by path."""
        changes = diff_layers(old, new)
        while batch := await asyncio.to_thread(_some, changes):
            yield batch

    @contextlib.asynccontextmanager
    async def copied(self, sandbox_id: SandboxId, name: str) -> AsyncIterator[Path]:
        """The sandbox's changes as they are now, for the block. ``name``: no other copy may have it at the time."""
        async with self._trees.work(name, "copy") as copy:
            await self._copy(sandbox_id, copy)
            yield copy / "upper"

    async def _fetch(self, layer: LayerRef, below: Path | None) -> None:
        if not layer.digest:
            raise NotFoundError(
                f"The layer {layer.layer_id} is not on this node, and not in the store yet.",
                remedy="Try again in a moment; if it stays so, the node that made it was lost: build the image again.",
            )
        digest, diff_id = parse_digest(layer.digest), parse_digest(layer.diff_id)
        expect = Expected(digest=digest, diff_id=diff_id, size_bytes=layer.size_bytes)
        async with self._trees.work(layer.layer_id, "partial") as work:
            upper = await self._pool.create_tree(work, after=below.parent if below else None)
            limits = Limits() if layer.foreign else OWN
            await unpack_archive(self._blobs.fetch(digest), upper, expect=expect, limits=limits, devices=not layer.foreign)
            self._trees.note_stored(layer.layer_id, Stored(digest, diff_id, layer.size_bytes))
            await self._trees.publish(work, layer.layer_id)

    async def _merge(self, layer_id: str, layers: Sequence[Path], *, after: Path) -> None:
        async with self._trees.work(layer_id, "merged") as work:
            upper = await self._pool.create_tree(work, after=after)
            await in_thread(flatten_layers, layers, upper)
            await self._trees.publish(work, layer_id)

    async def _copy(self, sandbox_id: SandboxId, target: Path) -> None:
        try:
            await self._pool.copy_upper(sandbox_id, target)
        except FileNotFoundError as error:
            raise ConflictError(
                "The sandbox has ended.", code="sandbox_ended", remedy="Snapshots are taken of running sandboxes."
            ) from error

    def _upper(self, layer_id: str) -> Path:
        upper = self._trees.place(layer_id) / "upper"
        if not upper.is_dir():
            raise NotFoundError(f"The layer {layer_id} is not on this node.")
        return upper


def check_layer_id(text: str) -> str:
    """Return ``text`` as an id; it becomes part of paths. Raises: InvalidError."""
    if not is_id(text, "ly"):
        raise InvalidError(f"{text[:80]!r} is not a layer id.")
    return text


def _some(changes: Iterator[Change]) -> list[Change]:
    return list(itertools.islice(changes, CHANGES_AT_ONCE))
