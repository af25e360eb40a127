"""ADD: as COPY, and archives unpacked, files from URLs, repositories of Git."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import replace

from cove.dockerfile.copy_rules import FileKind, Placed, context_path, destination_of, download_target
from cove.dockerfile.git_sources import parse_git
from cove.dockerfile.globs import compile_glob, has_magic
from cove.dockerfile.model import Add
from cove.dockerfile.transfers import Origin, origin_of
from cove.exception import InvalidError
from router.images.builder.archives import is_archive, unpacked
from router.images.builder.downloads import Downloads
from router.images.builder.items import Item
from router.images.builder.ownership import Ownership, ownership_of
from router.images.builder.transfers import deliver, transfer
from router.node_sandbox import NodeSandbox


class Addition:
    """One ADD, its variables replaced.

    Args:
        sandbox: where to.
        items: of the context.
    """

    def __init__(self, add: Add, items: Mapping[str, Item], sandbox: NodeSandbox, downloads: Downloads, *, workdir: str) -> None:
        self._add, self._items, self._sandbox, self._downloads, self._workdir = add, items, sandbox, downloads, workdir
        self._destination = destination_of(add.destination, workdir)

    async def carry_out(self) -> None:
        """Plain files of the context come first, then archives and what is fetched, in the order they are written.

        Raises:
            InvalidError: as for COPY, or an archive is damaged. UnimplementedError: a kind of repository.
            RemoteError: something could not be fetched. DataLossError: it has another checksum. Other errors: the node.
        """
        sources = [found for source in self._add.sources for found in self._matching(source)]
        await self._check_directory(len(sources) + len(self._add.heredocs))
        ownership = await ownership_of(self._add, self._sandbox)
        special = [source for source in sources if origin_of(source) is not Origin.CONTEXT or await self._is_local_archive(source)]
        plain = tuple(source for source in sources if source not in special)
        if plain or self._add.heredocs:
            several = len(sources) + len(self._add.heredocs) > 1
            add = replace(
                self._add, sources=plain, destination=posixpath.join(self._add.destination, "") if several else self._add.destination
            )
            await transfer(add, self._items, self._sandbox, workdir=self._workdir)
        for source in special:
            await self._fetch_or_unpack(source, ownership)

    def _matching(self, source: str) -> list[str]:
        """What ``source`` names; itself where that is not for here to say."""
        if origin_of(source) is not Origin.CONTEXT:
            return [source]
        path = context_path(source)
        if path in self._items or not has_magic(path):
            return [path]
        glob, depth = compile_glob(path), path.count("/")
        return [item for item in sorted(self._items) if item.count("/") == depth and glob.matches(item)] or [source]

    async def _check_directory(self, sources: int) -> None:
        if sources < 2 or self._destination.is_directory or await self._sandbox.is_directory(self._destination.path):
            return
        raise InvalidError(
            f"Several sources need a directory, and {self._destination.path[:80]!r} is none.", remedy="End the destination with a slash."
        )

    async def _is_local_archive(self, path: str) -> bool:
        item = self._items.get(path)
        return self._add.unpack is not False and item is not None and item.entry.kind is FileKind.FILE and await is_archive(item)

    async def _fetch_or_unpack(self, source: str, ownership: Ownership) -> None:
        match origin_of(source):
            case Origin.CONTEXT:
                await self._unpack(self._items[source], ownership)
            case Origin.URL:
                async with self._downloads.file(source, self._add.checksum) as item:
                    if self._add.unpack and await is_archive(item):
                        await self._unpack(item, ownership)
                    else:
                        placed = Placed(item.entry.path, download_target(source, self._destination), FileKind.FILE)
                        await deliver([placed], {item.entry.path: item}, self._sandbox, ownership)
            case Origin.GIT:
                await self._add_repository(source)

    async def _unpack(self, item: Item, ownership: Ownership) -> None:
        await self._sandbox.make_directory(self._destination.path)
        await self._sandbox.unpack("/", unpacked(item, self._destination.path, ownership))

    async def _add_repository(self, source: str) -> None:
        """The content of the repository, or of the directory in it."""
        git = parse_git(source)
        async with self._downloads.repository(git, keep_git_dir=self._add.keep_git_dir, commit=self._add.checksum) as (root, items):
            add = replace(self._add, sources=(root,), heredocs=())
            await transfer(add, items, self._sandbox, workdir=self._workdir)
