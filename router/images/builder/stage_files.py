"""Files of another sandbox (a stage, an image, what was fetched for ADD), brought here for one instruction."""

from __future__ import annotations

import asyncio
import posixpath
import stat
import tarfile
from collections.abc import AsyncIterator
from typing import IO, Final

from cove.dockerfile.copy_rules import WHOLE_CONTEXT, Entry, FileKind, context_path
from cove.dockerfile.globs import compile_glob, has_magic
from cove.exception import InternalFailure, InvalidError, RequestSizeError
from router.images.builder.items import CHUNK_BYTES, MAX_FETCHED_BYTES, Item
from router.node_sandbox import NodeSandbox

MAX_MATCHES: Final = 1_000
"""Paths that one pattern may name."""


class StageFiles:
    """Files in a temporary ``file``, by their path in the sandbox without its first slash."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.items: dict[str, Item] = {}

    async def fetch(self, sandbox: NodeSandbox, source: str) -> None:
        """Take what ``source`` names there, a path or a pattern, with all below it. A pattern may match nothing.

        Raises:  InvalidError: the path leads out of the root. RequestSizeError: too much. Other errors: the node.
        """
        for path in await _matching(sandbox, context_path(source)):
            await self._fetch(sandbox, path)

    async def _fetch(self, sandbox: NodeSandbox, path: str) -> None:
        start = self._file.seek(0, 2)
        total = 0
        async for chunk in sandbox.archive(_absolute(path)):
            total += len(chunk)
            if total > MAX_FETCHED_BYTES:
                raise RequestSizeError(f"{path[:80]!r} has more than {MAX_FETCHED_BYTES >> 30} GiB.", remedy="Copy less.")
            self._file.write(chunk)
        mode = await sandbox.mode(_absolute(path)) or 0
        if stat.S_ISDIR(mode) and path != WHOLE_CONTEXT:  # an archive of a directory does not have the directory itself
            self.items[path] = Item(Entry(path, FileKind.DIRECTORY), stat.S_IMODE(mode), 0, lambda: self._chunks(0, 0))
        try:
            self.items |= await asyncio.to_thread(self._read, start, path, stat.S_ISDIR(mode))
        except (tarfile.TarError, ValueError) as error:
            raise InternalFailure("The files of another stage arrived damaged.", remedy="Build again.") from error

    def _read(self, start: int, root: str, is_directory: bool) -> dict[str, Item]:
        """The members of the archive at ``start``. Blocks. Raises: tarfile.TarError, ValueError: it is none."""
        self._file.seek(start)
        found: dict[str, Item] = {}
        with tarfile.open(fileobj=self._file, mode="r:", encoding="utf-8", errors="surrogateescape") as archive:
            for member in archive:
                path = _joined(root, member.name) if is_directory else root
                # A further name of a file has no content of its own. COPY makes it a file, as Docker does.
                item = found.get(_joined(root, member.linkname)) if member.islnk() else self._item(member, path)
                if item is not None:
                    entry = Entry(path, item.entry.kind, item.entry.link_target)
                    found[path] = Item(entry, item.mode, item.size_bytes, item.content, item.mtime_s)
        return found

    def _item(self, member: tarfile.TarInfo, path: str) -> Item | None:
        """None: the root, or nothing that travels."""
        if path == WHOLE_CONTEXT or not (member.isfile() or member.isdir() or member.issym()):
            return None
        kind = FileKind.DIRECTORY if member.isdir() else FileKind.LINK if member.issym() else FileKind.FILE
        offset, size = member.offset_data, member.size
        entry = Entry(path, kind, member.linkname if member.issym() else "")
        return Item(entry, member.mode, size, lambda: self._chunks(offset, size), int(member.mtime))

    async def _chunks(self, offset: int, size: int) -> AsyncIterator[bytes]:
        while size:
            self._file.seek(offset)
            piece = self._file.read(min(CHUNK_BYTES, size))
            if not piece:
                raise InvalidError("A file of another stage was cut off.")
            yield piece
            offset, size = offset + len(piece), size - len(piece)


async def _matching(sandbox: NodeSandbox, pattern: str) -> list[str]:
    """Paths that ``pattern`` names in the sandbox: itself where it has no wildcards, or where something is called so.

    Raises:  RequestSizeError: more than ``MAX_MATCHES``. IllegalPatternError: it is malformed.
    """
    if not has_magic(pattern) or await sandbox.mode(_absolute(pattern)) is not None:
        return [pattern]
    found = [WHOLE_CONTEXT]
    for part in pattern.split("/"):
        if has_magic(part):
            glob = compile_glob(part)
            named = [(path, name) for path in found for name in await sandbox.list_names(_absolute(path)) if glob.matches(name)]
        else:
            named = [(path, part) for path in found]
        if len(named) > MAX_MATCHES:
            raise RequestSizeError(f"The pattern {pattern[:80]!r} matches more than {MAX_MATCHES} files.", remedy="Copy their directory.")
        found = [posixpath.normpath(posixpath.join(path, name)) for path, name in named]
    return [path for path in found if await sandbox.mode(_absolute(path)) is not None]


def _absolute(path: str) -> str:
    return "/" if path == WHOLE_CONTEXT else f"/{path}"


def _joined(root: str, name: str) -> str:
    """The path of the member ``name`` in an archive of ``root``."""
    return context_path(f"{root}/{context_path(name)}")
