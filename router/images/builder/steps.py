"""One stage's instructions, one after the other, in a workshop."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from cove.dockerfile import model
from cove.dockerfile.model import MountKind
from cove.dockerfile.problems import at_line
from cove.dockerfile.run_script import Script, script_of
from cove.exception import UnimplementedError
from router.images.builder.account import Account
from router.images.builder.additions import Addition
from router.images.builder.downloads import Downloads
from router.images.builder.items import Item, temporary_file
from router.images.builder.mounts import Mounts
from router.images.builder.stage_files import StageFiles
from router.images.builder.transfers import transfer
from router.images.builder.workshop import OpenStage, Workshop
from router.node_sandbox import one_piece

SCRATCH_DIR: Final = "/.cove/step"
"""Where a step's own files are while it runs; gone before the snapshot."""

SCRIPT: Final = f"{SCRATCH_DIR}/script"

SHOWN_CHARACTERS: Final = 100
"""Of an instruction, in errors."""


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
        stage: OpenStage,
        downloads: Downloads,
        *,
        env: Mapping[str, str],
        secrets: Mapping[str, str],
        say: Callable[[str], None],
    ) -> None:
        self._workshop, self._account, self._items, self._stage, self._downloads = workshop, account, items, stage, downloads
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
                addition = Addition(instruction, self._items, self._workshop.sandbox, self._downloads, workdir=self._workdir)
                await addition.carry_out()
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
        mounts = Mounts(self._workshop.sandbox, self._items, self._stage, self._secrets, workdir=self._workdir)
        async with mounts.shown(run.mounts):
            argv = await self._argv(run)
            try:
                what = f"The step `{run.original.strip().splitlines()[0][:SHOWN_CHARACTERS]}`"
                await self._workshop.run(what, argv, env=env, workdir=self._workdir, user=self._account.config.user)
            finally:
                if argv[0] == SCRIPT:
                    await self._workshop.sandbox.remove(SCRATCH_DIR)

    async def _argv(self, run: model.Run) -> Sequence[str]:
        script = script_of(run)
        if not isinstance(script, Script):
            return script
        if not script.is_program:
            return [*self._account.shell, script.text]
        await self._workshop.sandbox.write_file(SCRIPT, one_piece(script.text.encode()), mode=0o755)
        return [SCRIPT]

    async def _copy(self, copy: model.Copy) -> None:
        if copy.from_ is None:
            await transfer(copy, self._items, self._workshop.sandbox, workdir=self._workdir)
            return
        with temporary_file() as file:
            files = StageFiles(file)
            sandbox = await self._stage(copy.from_)
            for source in copy.sources:
                await files.fetch(sandbox, source)
            await transfer(copy, files.items, self._workshop.sandbox, workdir=self._workdir)
