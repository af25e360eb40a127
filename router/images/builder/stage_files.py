"""Files of another sandbox (a stage, an image, what was fetched for ADD), brought here for one instruction."""

from __future__ import annotations

import asyncio
import posixpath
import stat
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import IO, Final

from cove.dockerfile.copy_rules import WHOLE_CONTEXT, Entry, FileKind, context_path
from cove.dockerfile.globs import compile_glob, has_magic
from cove.exception import InternalFailure, InvalidError, RequestSizeError
from router.images.builder.items import CHUNK_BYTES, LIMITS, MAX_FETCHED_BYTES, Item
from router.node_sandbox import NodeSandbox
from snapshots.layers.tar_header import Type
from snapshots.layers.tar_reader import Member, TarReader, TarStream

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
        except InvalidError as error:
            raise InternalFailure("The files of another stage arrived damaged.", remedy="Build again.") from error

    def _read(self, start: int, root: str, is_directory: bool) -> dict[str, Item]:
        """The members of the archive at ``start``. Blocks. Raises: InvalidError: it is none. RequestSizeError: too many members."""
        self._file.seek(start)
        stream = TarStream(iter(lambda: self._file.read(CHUNK_BYTES), b""))
        found: dict[str, Item] = {}
        for member in TarReader(stream, LIMITS):
            path = _joined(root, member.name) if is_directory else root
            if member.type is Type.HARD_LINK:  # a further name has no content of its own; COPY makes it a file, as Docker does
                item = found.get(_joined(root, member.linkname))
                found |= {path: replace(item, entry=replace(item.entry, path=path))} if item is not None else {}
            elif (kind := _kind(member)) and path != WHOLE_CONTEXT:
                found[path] = self._item(member, Entry(path, kind, _text(member.linkname)), start + stream.position_bytes)
        return found

    def _item(self, member: Member, entry: Entry, offset: int) -> Item:
        size = member.stored_bytes
        return Item(entry, member.mode, size, lambda: self._chunks(offset, size), member.mtime_ns // 1_000_000_000)

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


def _joined(root: str, name: bytes) -> str:
    """The path of the member ``name`` in an archive of ``root``."""
    return context_path(f"{root}/{context_path(_text(name))}")


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _kind(member: Member) -> FileKind | None:
    """None: nothing that travels. Raises: InvalidError: a sparse file, which no guest sends."""
    if member.extents is not None:
        raise InvalidError("There is a sparse file in the archive.")
    if member.is_file:
        return FileKind.FILE
    return {Type.DIRECTORY: FileKind.DIRECTORY, Type.SYMLINK: FileKind.LINK}.get(member.type)
