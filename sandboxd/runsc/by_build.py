"""The Runtime protocol over several builds of runsc: every command of a sandbox is run by the build that made it.

Each build has a root directory of its own, named after its sha256: so which one a container belongs to is where its state is, whatever
else is lost.
"""

from __future__ import annotations

import contextlib
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import structlog

from cove.types import SandboxId
from sandboxd.runsc.argv import RunscOptions
from sandboxd.runsc.builds import DIGITS, Builds
from sandboxd.runsc.run import RunscRuntime
from sandboxd.runtime import Checkpoint, Container, ContainerStatus

log = structlog.get_logger()


class BuildRuntimes:
    """One RunscRuntime per build.

    Args:    root: the directory that has the root directories.
    """

    def __init__(self, builds: Builds, root: Path, platform: str) -> None:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._builds, self._root, self._platform = builds, root, platform
        self._runtimes: dict[str, RunscRuntime] = {}
        """By root directory's name."""
        self._made: dict[SandboxId, RunscRuntime] = {}
        """Where this object made what; a container that is half made has no state yet."""
        for name in {path.name for path in root.iterdir() if path.is_dir()} | {builds.current[-DIGITS:]}:
            self._runtimes[name] = self._open(name)
        self._rootless = self._open("") if any(not path.is_dir() for path in root.iterdir()) else None
        """Containers of a cove that knew one build only: their state is in ``root`` itself."""

    async def sweep(self) -> None:
        """End what a daemon that died had started ahead; before anything else."""
        for runtime in self._everything:
            await runtime.sweep()

    @property
    def in_use(self) -> frozenset[str]:
        """Builds that have containers."""
        return frozenset(self._builds.find(name) for name, runtime in self._runtimes.items() if runtime.has_containers)

    def forget(self, build_id: str) -> None:
        """A build without containers is gone."""
        name = build_id[-DIGITS:]
        self._runtimes.pop(name, None)
        with contextlib.suppress(OSError):  # not empty: what there is belongs to somebody after all
            (self._root / name).rmdir()

    async def create(self, container: Container, *, stdin: int, stdout: int) -> None:
        name = (container.build or self._builds.current)[-DIGITS:]
        runtime = self._runtimes.get(name) or self._runtimes.setdefault(name, self._open(name))
        self._made[container.sandbox_id] = runtime
        await runtime.create(container, stdin=stdin, stdout=stdout)

    async def start(self, container: Container) -> None:
        await self._of(container.sandbox_id).start(container)

    async def restore(self, container: Container, directory: Path) -> None:
        await self._of(container.sandbox_id).restore(container, directory)

    async def status(self, sandbox_id: SandboxId) -> ContainerStatus | None:
        return await self._of(sandbox_id).status(sandbox_id)

    async def died(self, sandbox_id: SandboxId) -> None:
        await self._of(sandbox_id).died(sandbox_id)

    async def pause(self, sandbox_id: SandboxId) -> None:
        await self._of(sandbox_id).pause(sandbox_id)

    async def resume(self, sandbox_id: SandboxId) -> None:
        await self._of(sandbox_id).resume(sandbox_id)

    def ready_checkpoint(self, sandbox_id: SandboxId, directory: Path) -> AbstractAsyncContextManager[Checkpoint]:
        return self._of(sandbox_id).ready_checkpoint(sandbox_id, directory)

    async def delete(self, sandbox_id: SandboxId) -> None:
        await self._of(sandbox_id).delete(sandbox_id)
        self._made.pop(sandbox_id, None)

    async def list_(self) -> frozenset[SandboxId]:
        return frozenset[SandboxId]().union(*[await runtime.list_() for runtime in self._everything if runtime.has_containers])

    @property
    def _everything(self) -> list[RunscRuntime]:
        return [*self._runtimes.values(), *([self._rootless] if self._rootless else [])]

    def _of(self, sandbox_id: SandboxId) -> RunscRuntime:
        """The current build's, if no other knows the container."""
        if (made := self._made.get(sandbox_id)) is not None:
            return made
        for runtime in self._everything:
            if runtime.knows(sandbox_id):
                return runtime
        return self._runtimes[self._builds.current[-DIGITS:]]

    def _open(self, name: str) -> RunscRuntime:
        build_id = self._builds.find(name)
        if not build_id and name:
            log.error("runsc build missing, the current one takes its place", digits=name)
        program = self._builds.path(build_id or self._builds.current)
        return RunscRuntime(RunscOptions(runsc=program, root=self._root / name, platform=self._platform))
