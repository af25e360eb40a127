"""The content-addressed store: blobs named by their sha256, verified on the way in and out.

Here belongs what one blob needs: prepare and commit, view, walk, remove. ``snapshots.lease`` and ``snapshots.gc`` know who needs it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Final

import msgspec

from cove.exception import ConflictError, DataLossError, InternalFailure, InvalidError, NotFoundError, RequestSizeError
from snapshots.backends.protocol import Backend, ObjectInfo, Reader, Staged
from snapshots.backends.threads import in_thread
from snapshots.concurrency import run_bounded
from snapshots.digest import Chunk, Digest, Hasher, hex_of
from snapshots.layout import blob_name, blobs_prefix, digest_in
from snapshots.sweeps import Sweeps

MAX_PUBLISH_ATTEMPTS: Final = 5
"""How often a blob is put again that was deleted under the put. Twice takes two collections within one commit."""


class Blob(msgspec.Struct, frozen=True):
    """A blob that is stored."""

    digest: Digest
    size_bytes: int
    modified_at: float
    """When it was put last: Unix seconds by the backend's clock."""


class Store:
    """Blobs in one backend. Any number of stores, in any number of processes, may share it."""

    def __init__(self, backend: Backend, *, sweeps: Sweeps | None = None) -> None:
        self.backend = backend
        self.sweeps = sweeps or Sweeps(backend)

    @asynccontextmanager
    async def prepare(self, *, max_bytes: int, expect: Digest | None = None) -> AsyncIterator[Writer]:
        """Begin a blob. Nobody sees anything of it before :meth:`Writer.commit`; leaving the context without leaves nothing.

        Args:
            max_bytes: most bytes it may have.
            expect: what its digest must turn out to be.
        """
        async with self.backend.stage() as staged:
            yield Writer(self, staged, max_bytes=max_bytes, expect=expect)

    async def put(self, chunks: AsyncIterable[Chunk], *, max_bytes: int, expect: Digest | None = None) -> Blob:
        """Prepare, write and commit in one call. Raises: as :class:`Writer`."""
        async with self.prepare(max_bytes=max_bytes, expect=expect) as writer:
            async for chunk in chunks:
                await writer.write(chunk)
            return await writer.commit()

    @asynccontextmanager
    async def view(self, digest: Digest) -> AsyncIterator[View]:
        """Open a blob to read all of it. Raises: NotFoundError."""
        async with self.backend.open(blob_name(digest)) as reader:
            yield View(self, digest, reader)

    @asynccontextmanager
    async def view_unverified(self, digest: Digest) -> AsyncIterator[Reader]:
        """Open a blob to read parts of it, which no digest covers: for readers that verify what they read by other means.

        Raises:  NotFoundError.
        """
        async with self.backend.open(blob_name(digest)) as reader:
            yield reader

    async def stat(self, digest: Digest) -> Blob:
        """Raises: NotFoundError."""
        info = await self.backend.stat(blob_name(digest))
        return Blob(digest, info.size_bytes, info.modified_at)

    async def has(self, digest: Digest) -> bool:
        """Whether it is there now. Only a lease, a root or a put within the grace lets it stay; take that first, then ask."""
        try:
            await self.stat(digest)
        except NotFoundError:
            return False
        return True

    async def walk(self, digits: str = "") -> AsyncGenerator[Blob, None]:
        """Every blob whose digest begins with these hexadecimal digits, in no order. Blobs put or removed meanwhile may be in or not."""
        async with aclosing(self.backend.list_(blobs_prefix(digits))) as infos:
            async for info in infos:
                digest = digest_in(info.name)
                if digest and hex_of(digest).startswith(digits):
                    yield Blob(digest, info.size_bytes, info.modified_at)

    async def remove(self, digest: Digest) -> None:
        """Delete a blob, whoever may need it; readers that have it open may fail. Absent is fine."""
        await self.backend.delete(blob_name(digest))

    async def publish(self, staged: Staged, digest: Digest) -> Blob:
        """Give a staged object its name such that no collection that runs takes it away again; see ``snapshots.sweeps``.

        What is there already is replaced by the same bytes: that makes it young for collections, and heals it if it was damaged.
        """
        for _ in range(MAX_PUBLISH_ATTEMPTS):
            await staged.publish(blob_name(digest))
            await self.sweeps.settle({digest})
            with suppress(NotFoundError):
                return await self.stat(digest)
        raise InternalFailure(f"{digest} was removed again each time it was stored.", remedy="See what else deletes from this store.")

    async def discard(self, digest: Digest, seen: ObjectInfo) -> None:
        """Remove a blob that was read as ``seen`` and was not what its digest says, so that it can be fetched again.

        It is read once more first: the fault may have been on the way. One that was replaced since stays.
        """
        with suppress(NotFoundError):
            await self._discard(digest, seen)

    async def _discard(self, digest: Digest, seen: ObjectInfo) -> None:
        """Raises: NotFoundError: somebody else removed it."""
        async with self.backend.open(blob_name(digest)) as reader:
            if reader.info.version == seen.version and await _digest_of(reader, self.backend.chunk_bytes) == digest:
                return
        async with self.sweeps.announce({digest}) as announcement:
            if (await self.backend.stat(blob_name(digest))).version == seen.version:
                announcement.check()
                await self.backend.delete(blob_name(digest))


class Writer:
    """A blob being written. Not for two tasks at a time."""

    def __init__(self, store: Store, staged: Staged, *, max_bytes: int, expect: Digest | None) -> None:
        self._store = store
        self._staged = staged
        self._max_bytes = max_bytes
        self._expect = expect
        self._hasher = Hasher()
        self._pending = bytearray()
        self._size_bytes = 0
        self._over = False

    async def write(self, chunk: Chunk) -> None:
        """Append; small chunks are gathered.

        Raises:
            RequestSizeError: more than ``max_bytes``.
            ResourceExhaustedError: the backend is full.
            ConflictError: it was committed, or failed, before.
        """
        self._check_open()
        self._size_bytes += memoryview(chunk).nbytes
        if self._size_bytes > self._max_bytes:
            self._over = True
            raise RequestSizeError(f"The blob has more than the {self._max_bytes} bytes it may have.")
        if len(self._pending) + memoryview(chunk).nbytes < self._store.backend.chunk_bytes:
            self._pending += chunk
            return
        await self._flush()
        await self._append(chunk)

    async def commit(self) -> Blob:
        """Verify and publish; durable when this returns.

        Raises:
            InvalidError: the digest is not the one that was expected; nothing is stored.
            ResourceExhaustedError: the backend is full.
            ConflictError: it was committed, or failed, before.
        """
        self._check_open()
        await self._flush()
        self._over = True
        digest = self._hasher.digest()
        if self._expect and digest != self._expect:
            raise InvalidError(
                f"The blob is {digest}, not {self._expect}.", remedy="It was damaged on the way, or is another one: fetch it again."
            )
        return await self._store.publish(self._staged, digest)

    def _check_open(self) -> None:
        if self._over:
            raise ConflictError("The blob was committed before, or failed.", remedy="Prepare another one.")

    async def _flush(self) -> None:
        pending, self._pending = self._pending, bytearray()
        if pending:
            await self._append(pending)

    async def _append(self, chunk: Chunk) -> None:
        """A failed write may have left part of the chunk, so no other may follow it."""
        self._over = True
        # Side by side: neither the processor nor the disk waits for the other.
        await run_bounded((job(chunk) for job in (self._hash, self._staged.write)), 2)
        self._over = False

    async def _hash(self, chunk: Chunk) -> None:
        await in_thread(self._hasher.update, chunk)


class View:
    """An open blob."""

    def __init__(self, store: Store, digest: Digest, reader: Reader) -> None:
        self._store = store
        self._reader = reader
        self.digest = digest
        self.size_bytes = reader.info.size_bytes

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """All of the blob. The last chunk comes only after the whole was verified, so whoever got to the end has the right bytes.

        Raises:
            DataLossError: damaged or cut short; it was removed from the store, so that it can be put again.
        """
        hasher, held = Hasher(), b""
        async with aclosing(_read(self._reader, self._store.backend.chunk_bytes)) as chunks:
            async for chunk in chunks:
                if held:
                    yield held
                await in_thread(hasher.update, chunk)
                held = chunk
        if hasher.digest() != self.digest:
            await self._store.discard(self.digest, self._reader.info)
            raise DataLossError(f"The stored blob {self.digest} is damaged.", remedy="Fetch or build it again.")
        if held:
            yield held

    async def read(self, *, max_bytes: int) -> bytes:
        """All of a blob that fits into memory. Raises: DataLossError, and RequestSizeError: it has more than ``max_bytes``."""
        if self.size_bytes > max_bytes:
            raise RequestSizeError(f"The blob {self.digest} has {self.size_bytes} bytes, more than the {max_bytes} that were asked for.")
        return b"".join([chunk async for chunk in self.chunks()])


async def _read(reader: Reader, chunk_bytes: int) -> AsyncGenerator[bytes, None]:
    """Every byte of the object; ends early where the object does."""
    offset = 0
    while offset < reader.info.size_bytes:
        chunk = await reader.read_at(offset, min(chunk_bytes, reader.info.size_bytes - offset))
        if not chunk:
            return
        yield chunk
        offset += len(chunk)


async def _digest_of(reader: Reader, chunk_bytes: int) -> Digest:
    hasher = Hasher()
    async for chunk in _read(reader, chunk_bytes):
        await in_thread(hasher.update, chunk)
    return hasher.digest()
