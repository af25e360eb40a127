"""A store that nodes bring blobs to, in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from cove.exception import Error
from sandboxd.layers.blobs import BlobClient
from snapshots.digest import Digest


class MemoryBlobs(BlobClient):
    """Fails, and waits, as it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.content: dict[Digest, bytes] = {}
        self.fetches = 0
        self.broken: Error | None = None
        """Raised in the middle of every transfer."""
        self.gate = asyncio.Event()
        """Fetches stop in the middle until it is set."""
        self.gate.set()
        self.waiting = asyncio.Event()

    async def fetch(self, digest: Digest) -> AsyncIterator[bytes]:
        self.fetches += 1
        content = self.content[digest]
        yield content[: len(content) // 2]
        self.waiting.set()
        await self.gate.wait()
        if self.broken:
            raise self.broken
        yield content[len(content) // 2 :]

    async def bring(self, digest: Digest, file: Path) -> None:
        if self.broken:
            raise self.broken
        self.content[digest] = file.read_bytes()
