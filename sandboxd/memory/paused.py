"""The memory of this node's paused sandboxes: ``paused/<sandbox id>/`` beside ``memory/``, complete or absent.

``image/``, ``guest/`` and ``manifest.json`` are as in a memory snapshot; see ``memory.cache``. Records and files stay where a sandbox that
runs has them.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from cove.exception import DataLossError
from cove.types import SandboxId
from sandboxd.kernel import sync_directory, sync_filesystem
from sandboxd.layers.trees import Trees
from sandboxd.memory.machine import Machine, Machines
from sandboxd.memory.manifest import Manifest, check_files, hash_files, read_manifest, write_manifest
from sandboxd.naming import check_sandbox_id, sandbox_ids
from sandboxd.storage_pool import StoragePool
from snapshots.backends.threads import in_thread


class PausedMemory:
    """By sandbox id."""

    def __init__(self, pool: StoragePool, machines: Machines) -> None:
        """``machines``: this one."""
        self._directory, self._files, self._machines = pool.paused, pool.path, machines
        self._trees = Trees(pool.paused, "sb", pool)

    async def sweep(self) -> None:
        """Remove what a daemon that died left unfinished; before anything else."""
        await self._trees.sweep()

    def list_(self) -> frozenset[SandboxId]:
        """Every sandbox whose memory is here."""
        return sandbox_ids(self._trees.list_())

    @contextlib.asynccontextmanager
    async def writing(self, sandbox_id: SandboxId, build_id: str) -> AsyncIterator[Path]:
        """An empty directory for the block. Left without an error, it is the sandbox's memory; that and its files are on disk for good.

        Args:    build_id: the build of runsc that made the sandbox.
        """
        await self.remove(sandbox_id)
        async with self._trees.work(sandbox_id, "taken") as work:
            work.mkdir(mode=0o700)
            yield work
            await in_thread(self._seal, sandbox_id, work, self._machines.with_build(build_id))
            await in_thread(sync_filesystem, self._files)
            await self._trees.publish(work, sandbox_id)
            await in_thread(sync_directory, self._directory)

    def _seal(self, sandbox_id: SandboxId, work: Path, machine: Machine) -> None:
        manifest = Manifest(snapshot_id=sandbox_id, layer_id="", machine=machine, stopped_s=0.0, processes=(), files=hash_files(work))
        write_manifest(work, manifest)

    async def ensure(self, sandbox_id: SandboxId) -> Path:
        """The directory, every byte of it verified.

        Raises:  DataLossError: damaged, or gone. VersionError: not for this machine any more.
        """
        place = self._trees.place(check_sandbox_id(sandbox_id))
        try:
            manifest = read_manifest(place)
            self._machines.restoring(manifest.machine)
            await in_thread(check_files, place, manifest)
        except DataLossError as error:
            remedy = "Terminate it; snapshots that were taken of it may be whole."
            raise DataLossError(f"The paused sandbox cannot go on. {error.cause}", remedy=remedy, context=error.context) from error
        return place

    async def remove(self, sandbox_id: SandboxId) -> None:
        """Forget it. Idempotent."""
        await self._trees.remove(check_sandbox_id(sandbox_id))
