"""One stage's instructions, one after the other, in a workshop."""

from __future__ import annotations

import posixpath
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Final

from cove.dockerfile import model
from cove.dockerfile.copy_rules import context_path, destination_of
from cove.dockerfile.globs import compile_glob, has_magic
from cove.dockerfile.model import MountKind
from cove.dockerfile.problems import at_line
from cove.dockerfile.run_script import Script, script_of
from cove.dockerfile.transfers import Origin, origin_of
from cove.exception import InvalidError, UnimplementedError
from router.images.builder.account import Account
from router.images.builder.transfers import Item, StageFiles, is_archive, temporary_file, transfer, wanted_sources
from router.images.builder.workshop import Workshop
from router.node_sandbox import NodeSandbox

SCRATCH_DIR: Final = "/.cove/step"
"""Where a step's own files are while it runs; gone before the snapshot."""

SHOWN_CHARACTERS: Final = 100
"""Of an instruction, in errors."""

Stage = Callable[[str], Awaitable[NodeSandbox]]
"""Opens the stage or image that a ``--from`` names."""


class Steps:
    """Carries instructions out and keeps account of what they mean for later ones.

    Args:
        account: of the stage, as its base leaves it.
        env, secrets: of the commands, not of the image.
    """

    def __init__(
        self,
        workshop: Workshop,
        account: Account,
        items: Mapping[str, Item],
        stage: Stage,
        *,
        env: Mapping[str, str],
        secrets: Mapping[str, str],
        say: Callable[[str], None],
    ) -> None:
        self._workshop, self._account, self._items, self._stage = workshop, account, items, stage
        self._env, self._secrets, self._say = env, secrets, say

    async def perform(self, instruction: model.Instruction) -> None:
        """Raises: RemoteError: a command failed. InvalidError, UnimplementedError: with the line. Other errors: the node."""
        self._say(f"{instruction.original.strip().splitlines()[0][:200]}")
        instruction = self._account.scope.expanded(instruction)
        with at_line(instruction.line, instruction.original):
            if not self._account.enter(instruction):
                await self._act(instruction)

    @property
    def _workdir(self) -> str:
        return self._account.config.workdir or "/"

    async def _act(self, instruction: model.Instruction) -> None:
        match instruction:
            case model.Run():
                await self._run(instruction)
            case model.Copy():
                await self._copy(instruction)
            case model.Add():
                await self._add(instruction)
            case model.Workdir(path=path):
                self._account.config.workdir = posixpath.normpath(posixpath.join(self._workdir, path))
                await self._workshop.sandbox.make_directory(self._account.config.workdir)
            case _:
                raise UnimplementedError(f"{type(instruction).__name__.upper()} is not supported yet.")

    async def _run(self, run: model.Run) -> None:
        if run.network != "default":
            raise UnimplementedError("RUN --network is not supported yet.", remedy="Leave it out.")
        env = {**self._account.scope.run_environment, **self._env}
        # Without a mount that asks for them, all secrets of the layer are in the environment, as the documentation has it.
        if any(mount.kind is MountKind.SECRET for mount in run.mounts):
            env |= {mount.env: self._secrets[mount.id] for mount in run.mounts if mount.env and mount.id in self._secrets}
        else:
            env |= self._secrets
        placed = [path for mount in run.mounts if (path := await self._mount(mount))]
        argv = await self._argv(run)
        try:
            what = f"The step `{run.original.strip().splitlines()[0][:SHOWN_CHARACTERS]}`"
            await self._workshop.run(what, argv, env=env, workdir=self._workdir, user=self._account.config.user)
        finally:
            if placed or argv[0] == f"{SCRATCH_DIR}/script":
                await self._workshop.run("Tidying up", ["/bin/rm", "-rf", SCRATCH_DIR, *placed], env={})

    async def _argv(self, run: model.Run) -> Sequence[str]:
        script = script_of(run)
        if not isinstance(script, Script):
            return script
        if not script.is_program:
            return [*self._account.shell, script.text]
        path = f"{SCRATCH_DIR}/script"
        await self._workshop.sandbox.write_file(path, _bytes(script.text.encode()), mode=0o755)
        return [path]

    async def _mount(self, mount: model.Mount) -> str:
        """Give the command what the mount would show it. Returns: what to remove afterwards; empty: nothing."""
        sandbox = self._workshop.sandbox
        match mount.kind:
            case MountKind.SECRET if not mount.env:
                if mount.id not in self._secrets:
                    if mount.required:
                        raise InvalidError(f"The secret {mount.id!r} was not given.", remedy="Pass a Secret with this name.")
                    return ""
                path = mount.target or f"/run/secrets/{mount.id}"
                await sandbox.write_file(path, _bytes(self._secrets[mount.id].encode()), mode=mount.mode or 0o400)
                return path
            case MountKind.CACHE | MountKind.TMPFS:
                # Empty for each build, and not in the image: slower than a cache, never wrong.
                if await sandbox.is_directory(mount.target):
                    return ""
                await sandbox.make_directory(mount.target)
                return mount.target
            case MountKind.BIND:
                raise UnimplementedError("RUN --mount=type=bind is not supported yet.", remedy="COPY the files, and remove them after.")
        return ""

    async def _copy(self, copy: model.Copy) -> None:
        if copy.from_ is None:
            await transfer(copy, self._items, self._workshop.sandbox, workdir=self._workdir)
            return
        with temporary_file() as file:
            files = StageFiles(file)
            sandbox = await self._stage(copy.from_)
            for source in wanted_sources(copy):
                await files.fetch(sandbox, source)
            await transfer(copy, files.items, self._workshop.sandbox, workdir=self._workdir)

    async def _add(self, add: model.Add) -> None:
        if any(origin_of(source) is Origin.URL for source in add.sources):
            raise UnimplementedError("ADD of a URL is not supported yet.", remedy="Download it in a RUN, with curl for one.")
        archives = [source for source in add.sources if add.unpack is not False and await self._names_archive(source)]
        if not archives:
            await transfer(add, self._items, self._workshop.sandbox, workdir=self._workdir)
            return
        if len(add.sources) > 1 or add.heredocs or has_magic(archives[0]):
            raise UnimplementedError(
                "ADD of an archive by a pattern, or beside other sources, is not supported yet.",
                remedy="Use one ADD for each, with its name.",
            )
        if add.chown or add.chmod:
            raise UnimplementedError("ADD of an archive with --chown or --chmod is not supported yet.", remedy="Change them in a RUN.")
        item = self._items[context_path(archives[0])]
        target = destination_of(add.destination, self._workdir).path
        sandbox = self._workshop.sandbox
        await sandbox.make_directory(target)
        await sandbox.write_file(f"{SCRATCH_DIR}/archive", item.content(), mode=0o600)
        try:
            argv = ["tar", "-xf", f"{SCRATCH_DIR}/archive", "-C", target]
            await self._workshop.run(f"Unpacking {archives[0][:80]}", argv, env=self._account.scope.env)
        finally:
            await self._workshop.run("Tidying up", ["/bin/rm", "-rf", SCRATCH_DIR], env={})

    async def _names_archive(self, source: str) -> bool:
        """Whether a source, which may be a pattern, names an archive."""
        path = context_path(source)
        if path in self._items or not has_magic(path):
            return await self._is_archive(path)
        glob = compile_glob(path)
        return any([await self._is_archive(item) for item in self._items if item.count("/") == path.count("/") and glob.matches(item)])

    async def _is_archive(self, path: str) -> bool:
        item = self._items.get(path)
        return item is not None and item.size_bytes > 0 and await is_archive(item)


async def _bytes(data: bytes) -> AsyncIterator[bytes]:
    yield data
