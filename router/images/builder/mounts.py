"""What ``RUN --mount`` shows a command: files that are put where the mount would be, and are gone when the command has ended.

Mounting is not a build's to do: a sandbox's processes may not. What a command writes there is dropped, as Docker drops it; that a bind
mount is read-only, root does not notice before.
"""

from __future__ import annotations

import posixpath
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

from cove.dockerfile.copy_rules import WHOLE_CONTEXT, context_path, destination_of
from cove.dockerfile.model import Copy, Mount, MountKind
from cove.exception import InvalidError, UnimplementedError
from router.images.builder.items import Item, temporary_file
from router.images.builder.stage_files import StageFiles
from router.images.builder.transfers import transfer
from router.images.builder.workshop import OpenStage
from router.node_sandbox import NodeSandbox, one_piece

SECRET_MODE: Final = 0o400


class Mounts:
    """Of one command. What it adds is taken away again, with the directories above it that were not there."""

    def __init__(
        self, sandbox: NodeSandbox, items: Mapping[str, Item], stage: OpenStage, secrets: Mapping[str, str], *, workdir: str
    ) -> None:
        """``items``: of the context."""
        self._sandbox, self._items, self._stage, self._secrets, self._workdir = sandbox, items, stage, secrets, workdir
        self._made: list[str] = []
        self._filled: list[str] = []

    @asynccontextmanager
    async def shown(self, mounts: Sequence[Mount]) -> AsyncIterator[None]:
        """For the block, everything that ``mounts`` show.

        Raises:
            InvalidError: a required secret was not given, or a source does not exist.
            UnimplementedError: a target that has something of the image's. Other errors: the node.
        """
        try:
            for mount in mounts:
                await self._show(mount)
            yield
        finally:
            for path in reversed(self._made):
                await self._sandbox.remove(path)
            for directory in self._filled:
                for name in await self._sandbox.list_names(directory):
                    await self._sandbox.remove(posixpath.join(directory, name))

    async def _show(self, mount: Mount) -> None:
        match mount.kind:
            case MountKind.SECRET if not mount.env:
                await self._secret(mount)
            case MountKind.CACHE | MountKind.TMPFS:
                await self._empty_directory(self._target(mount))
            case MountKind.BIND:
                await self._bind(mount)

    async def _secret(self, mount: Mount) -> None:
        if mount.id not in self._secrets:
            if mount.required:
                raise InvalidError(f"The secret {mount.id!r} was not given.", remedy="Pass a Secret with this name.")
            return
        path = self._target(mount) if mount.target else f"/run/secrets/{mount.id}"
        await self._claim(path, mount)
        await self._sandbox.write_file(path, one_piece(self._secrets[mount.id].encode()), mode=mount.mode or SECRET_MODE)

    async def _empty_directory(self, path: str) -> None:
        """Empty for each build, and not in the image: slower than a cache, never wrong. Where the image has files, it is those."""
        if await self._sandbox.is_directory(path):
            if not await self._sandbox.list_names(path):
                self._filled.append(path)
            return
        self._made.append(await self._missing(path))
        await self._sandbox.make_directory(path)

    async def _bind(self, mount: Mount) -> None:
        target, source = self._target(mount), context_path(mount.source or WHOLE_CONTEXT)
        await self._claim(target, mount)
        copy = Copy(line=1, original="", sources=(source,), destination=target)
        if mount.from_ is None:
            await transfer(copy, self._items, self._sandbox, workdir="/")
            return
        with temporary_file() as file:
            files = StageFiles(file)
            await files.fetch(await self._stage(mount.from_), source)
            await transfer(copy, files.items, self._sandbox, workdir="/")

    def _target(self, mount: Mount) -> str:
        return destination_of(mount.target, self._workdir).path

    async def _claim(self, path: str, mount: Mount) -> None:
        """Note what is to be removed once something was put at ``path``."""
        if await self._sandbox.mode(path) is None:
            self._made.append(await self._missing(path))
        elif await self._sandbox.is_directory(path) and not await self._sandbox.list_names(path):
            self._filled.append(path)
        else:
            raise UnimplementedError(
                f"RUN --mount=type={mount.kind} over files of the image, here {path[:80]!r}, is not supported.",
                remedy="Choose a target that does not exist or is an empty directory.",
            )

    async def _missing(self, path: str) -> str:
        """The first of the directories on the way to ``path``, and itself, that is not there."""
        while (parent := posixpath.dirname(path)) != "/" and await self._sandbox.mode(parent) is None:
            path = parent
        return path
