"""What COPY and ADD take: files of the client's context, from the store, and temporary files for those of other origins."""

from __future__ import annotations

import stat
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import IO, Final

from cove.dockerfile.copy_rules import Entry, FileKind
from cove.exception import NotFoundError
from cove.wire import image_pb2
from snapshots.digest import Digest
from snapshots.layers.limits import Limits
from snapshots.store import Store

CHUNK_BYTES: Final = 2**20
MAX_FETCHED_BYTES: Final = 20 * 2**30
"""Of what one instruction takes from another stage, an archive or another server."""

LIMITS: Final = Limits(members=1_000_000, declared_bytes=MAX_FETCHED_BYTES, tar_bytes=MAX_FETCHED_BYTES + 2**30)
"""On archives that the router reads."""


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that can be copied.

    Attributes:
        mtime_s: Unix time of its last change; None: not known.
    """

    entry: Entry
    mode: int
    size_bytes: int
    content: Callable[[], AsyncIterator[bytes]]
    mtime_s: int | None = None


class Context:
    """The files that a client brought, by path."""

    def __init__(self, files: Sequence[image_pb2.ContextFile], store: Store) -> None:
        self._store = store
        self.items = {item.entry.path: item for item in map(self._item, files)}

    def _item(self, file: image_pb2.ContextFile) -> Item:
        path = file.path.decode("utf-8", "surrogateescape")
        target = file.link_target.decode("utf-8", "surrogateescape")
        entry = Entry(path, _kind(file.mode), target)
        digest = Digest(f"sha256:{file.sha256.hex()}")
        return Item(entry, stat.S_IMODE(file.mode), file.size_bytes, lambda: self._chunks(path, digest))

    async def _chunks(self, path: str, digest: Digest) -> AsyncIterator[bytes]:
        try:
            async with self._store.view(digest) as view:
                async for chunk in view.chunks():
                    yield chunk
        except NotFoundError as error:
            raise NotFoundError(f"The content of the context file {path[:80]!r} was not uploaded.", remedy="Build again.") from error


def temporary_file() -> IO[bytes]:
    """For content on its way; without a name, so that no crash leaves it behind."""
    return tempfile.TemporaryFile(prefix="cove-build-")


def _kind(mode: int) -> FileKind:
    if stat.S_ISDIR(mode):
        return FileKind.DIRECTORY
    return FileKind.LINK if stat.S_ISLNK(mode) else FileKind.FILE
