"""runsc containers without a daemon: the base image under an overlay, a guest, nothing more."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from cove.types import SandboxId
from cove.wire.common_pb2 import ImageRef
from sandboxd import settings
from sandboxd.assembly import INIT_PATH
from sandboxd.base_image import BaseImages
from sandboxd.rootfs import RootfsMounts
from sandboxd.runsc.argv import PID_FILE, RunscOptions
from sandboxd.runsc.run import RunscRuntime
from sandboxd.runtime import Container
from sandboxd.storage_pool import Upper

REMOVE_S: Final = 10.0


class BareRunsc:
    """One runsc root directory and what its containers need."""

    def __init__(self, directory: Path, image: Path, runsc: Path) -> None:
        self._directory = directory
        self._image = image
        self._cgroup = f"/cove-bare-{secrets.token_hex(4)}"
        self._options = RunscOptions(runsc=runsc, root=directory / "runsc")
        self._mounts = RootfsMounts(directory, instance="cove-bare")
        self._guest_layer = directory / "guest"
        (self._guest_layer / ".cove").mkdir(parents=True)
        shutil.copy(settings.GUEST_BUILD, self._guest_layer / INIT_PATH[1:])

    @classmethod
    @contextlib.asynccontextmanager
    async def in_directory(cls, directory: Path) -> AsyncIterator[BareRunsc]:
        """Everything made is removed at the end of the block."""
        configured = settings.load()
        image = await BaseImages(configured.images_dir).ensure(ImageRef(debian="3.11"))
        bare = cls(directory, image.path, configured.runsc_path)
        try:
            yield bare
        finally:
            await bare._clean()

    @property
    def options(self) -> RunscOptions:
        """How runsc is called."""
        return self._options

    def runtime(self) -> RunscRuntime:
        return RunscRuntime(self._options)

    def prepare(self, sandbox_id: SandboxId) -> Container:
        directory = self._directory / sandbox_id
        directory.mkdir()
        upper = Upper(directory, directory / "upper", directory / "work")
        upper.upper_dir.mkdir()
        upper.work_dir.mkdir()
        return Container(
            sandbox_id=sandbox_id,
            directory=directory,
            rootfs=self._mounts.mount_rootfs(sandbox_id, [self._guest_layer, self._image], upper),
            init=INIT_PATH,
            hostname="bare",
            env={},
            resources={},
            cgroups_path=f"{self._cgroup}/{sandbox_id}",
            netns=None,
        )

    async def kill(self, sandbox_id: SandboxId) -> None:
        """SIGKILL to the sentry."""
        os.kill(self.sentry_pid(sandbox_id), signal.SIGKILL)

    def sentry_pid(self, sandbox_id: SandboxId) -> int:
        """Of a container that was created."""
        return int((self._directory / sandbox_id / PID_FILE).read_text())

    async def _clean(self) -> None:
        runtime = self.runtime()
        for sandbox_id in await runtime.list_():
            await runtime.delete(sandbox_id)
        for sandbox_id in self._mounts.list_():
            self._mounts.unmount_rootfs(sandbox_id)
        async with asyncio.timeout(REMOVE_S):
            groups = [hierarchy / self._cgroup[1:] for hierarchy in Path("/sys/fs/cgroup").iterdir()]
            while not all(map(_removed, groups)):  # noqa: ASYNC110  # the kernel has no event for an emptied group
                await asyncio.sleep(0.02)


def _removed(top: Path) -> bool:
    """Whether a tree of control groups is gone; one whose processes are still dying is not."""
    with contextlib.suppress(OSError):
        for group in sorted(top.glob("**/"), reverse=True):
            group.rmdir()
    return not top.exists()
