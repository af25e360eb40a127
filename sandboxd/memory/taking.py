"""The moment at which a memory snapshot is taken: the sandbox stands still, its memory is written, its files are copied, it goes on."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

from sandboxd.assembly import MemoryOrder, Subject
from sandboxd.memory.layout import STATE
from sandboxd.memory.machine import Machine
from sandboxd.memory.manifest import Manifest, SeenProcess, hash_files, write_manifest
from sandboxd.memory.seen import Census
from sandboxd.runtime import Checkpoint


class Moment:
    """One snapshot's; thrown away afterwards.

    Args:
        checkpoint: made ready already, into ``image`` of the work.
        work: the directory that becomes the snapshot.
        subject: the sandbox, as its actor knows it.
    """

    def __init__(self, checkpoint: Checkpoint, work: Path, subject: Subject) -> None:
        self._checkpoint, self._work, self._subject = checkpoint, work, subject
        self._stopped_s = 0.0
        self._processes: tuple[SeenProcess, ...] = ()
        self._census = Census(children=None, ports=None)

    @contextlib.asynccontextmanager
    async def stopped(self) -> AsyncIterator[None]:
        """The sandbox stands still for the block, its memory written before it: what is dirty in there goes to its files first.

        Raises: ConflictError: something in there cannot be kept. RuntimeFailed, OSError: it could not be stopped, or its memory not be
                written. It goes on in any case.
        """
        self._census = await self._subject.census()  # the guest tells, so it has to be before
        began = time.monotonic()
        await self._checkpoint.pause()
        try:
            await self._keep_memory()
            yield
        finally:
            await self._checkpoint.resume()
            self._stopped_s = time.monotonic() - began

    async def _keep_memory(self) -> None:
        saving = asyncio.create_task(self._subject.save_state(self._work / STATE), name="state of a snapshot")
        try:
            await self._checkpoint.write()
        finally:
            await asyncio.wait({saving})
        self._processes = saving.result()

    def write_manifest(self, order: MemoryOrder, machine: Machine) -> Manifest:
        """Complete the snapshot; blocking. Raises: OSError."""
        manifest = Manifest(
            snapshot_id=order.snapshot_id,
            layer_id=order.layer_id,
            machine=machine,
            stopped_s=self._stopped_s,
            processes=self._processes,
            children=self._census.children,
            ports=self._census.ports,
            files=hash_files(self._work),
        )
        write_manifest(self._work, manifest)
        return manifest
