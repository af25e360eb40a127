"""The storage pool: opening it, and uppers (a sandbox's writable files) in it.

On btrfs the pool is a subvolume of the state directory; elsewhere a sparse file with a btrfs of its own. What exists is read from the file
system each time: a pool object can be thrown away and made again at any moment.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
import stat
from pathlib import Path
from typing import Final, Self

import msgspec

from cove.exception import NotFoundError
from cove.types import SandboxId
from sandboxd.naming import check_instance, check_sandbox_id, sandbox_ids
from sandboxd.storage_pool import btrfs, filesystem
from snapshots.backends.threads import in_thread

RESERVE_BYTES: Final = 2**30
"""Kept free on the file system that holds the pool's file. Were it full, writes of every sandbox would fail inside the pool."""


class Upper(msgspec.Struct, frozen=True):
    """A sandbox's writable directories, for overlayfs."""

    path: Path
    """The subvolume."""
    upper_dir: Path
    work_dir: Path


class StoragePool:
    """Uppers by sandbox id. Make one with :meth:`open`."""

    def __init__(self, path: Path, file: Path | None, reserve_bytes: int) -> None:
        """``file``: what the pool's file system lives in; None if it is the state directory's own."""
        self.path = path
        self._file = file
        self._reserve_bytes = reserve_bytes
        self._sandboxes = path / "sandboxes"
        self._sandboxes.mkdir(mode=0o700, exist_ok=True)
        self.layers = path / "layers"
        """Layers of images, on the file system that can copy an upper in no time; ``sandboxd.layers`` owns what is in it."""
        self.layers.mkdir(mode=0o700, exist_ok=True)
        self.memory = (path if file is None else file.parent) / "memory"
        """Memory snapshots; ``sandboxd.memory`` owns what is in it. Beside the pool's file, where there is one: nothing in there needs
        btrfs, and a sentry writes much of its state byte by byte, for which btrfs takes three times as long while the sandbox stands still.
        """
        self.memory.mkdir(mode=0o700, exist_ok=True)
        self.paused = self.memory.with_name("paused")
        """Memory of paused sandboxes; ``sandboxd.memory`` owns this, too."""
        self.paused.mkdir(mode=0o700, exist_ok=True)
        with self._directory() as fd:
            self._filesystem = filesystem.filesystem_id(fd, path)
            filesystem.ensure_quota(fd, self._filesystem, simple=file is not None)

    @classmethod
    async def open(cls, state_dir: Path, *, instance: str, size_bytes: int = 0, reserve_bytes: int = RESERVE_BYTES) -> Self:
        """The pool of ``state_dir``, made if there is none and mounted if it is not; 50 ms the first time, else a few.

        Args:    size_bytes: of a pool that is made now; 0 = 80 % of the free space. Space is taken only as it is used.
        Raises:  ResourceExhaustedError: no room. InternalFailure: it cannot be made, or something else is mounted there. OSError.
        """
        return await asyncio.to_thread(cls._open, state_dir, check_instance(instance), size_bytes, reserve_bytes)

    @classmethod
    def _open(cls, state_dir: Path, instance: str, size_bytes: int, reserve_bytes: int) -> Self:
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        state_dir = state_dir.resolve()
        path, file = state_dir / "pool", state_dir / "pool.btrfs"
        with filesystem.locked(state_dir / "pool.lock"):
            if filesystem.on_btrfs(state_dir) and not file.exists():
                filesystem.ensure_subvolume(path)
                pool = cls(path, None, 0)
            else:
                filesystem.ensure_mounted(path, file, instance, size_bytes, reserve_bytes)
                pool = cls(path, file, reserve_bytes)
        pool._sweep_quota_groups()
        return pool

    def create_upper(self, sandbox_id: SandboxId, limit_bytes: int, *, after: Path | None = None) -> Upper:
        """The sandbox's upper with room for ``limit_bytes``; one that exists keeps its files and gets the limit. Sub-millisecond, direct.

        A write past the limit fails inside the sandbox with EDQUOT.

        Args:    after: the tree whose files lie below, see :meth:`create_tree`; some milliseconds then. Raises: OSError.
        """
        name = check_sandbox_id(sandbox_id)
        try:
            self._make(self._sandboxes / name, limit_bytes, after)
        except FileExistsError:
            with self._directory() as fd:
                btrfs.set_limit(fd, self._subvolume_id(name), limit_bytes)
        upper = Upper(self._sandboxes / name, self._sandboxes / name / "upper", self._sandboxes / name / "work")
        for directory in (upper.upper_dir, upper.work_dir):
            directory.mkdir(exist_ok=True)
        upper.upper_dir.chmod(0o755)  # becomes the sandbox's "/", whatever our umask
        return upper

    async def create_tree(self, path: Path, *, after: Path | None = None) -> Path:
        """Make ``path``, below :attr:`layers`, a subvolume with an empty directory ``upper``.

        Subvolumes number their files each from the same start, and overlayfs passes the numbers on, so that two files of one mount could be
        taken for the same. A tree made ``after`` another one has none of its numbers, nor of those that it was made after itself: it begins
        as that tree's copy, whose directories are set aside.

        Returns: the directory. Raises: FileExistsError, OSError.
        """
        return await in_thread(self._create_tree, path, after)

    def _create_tree(self, path: Path, after: Path | None) -> Path:
        self._make(path, None, after)
        upper = path / "upper"
        upper.mkdir(mode=0o755)
        upper.chmod(0o755)
        return upper

    def _make(self, path: Path, limit_bytes: int | None, after: Path | None) -> None:
        """A subvolume without ``upper`` and ``work``. Raises: FileExistsError."""
        with filesystem.directory(path.parent) as parent:
            # Where quotas count what is shared, the copy would be charged for what it sets aside.
            if after is None or self._file is None or after.stat().st_ino != btrfs.SUBVOLUME_INODE:
                btrfs.create_subvolume(parent, path.name, limit_bytes)
                return
            with filesystem.directory(after) as source:
                btrfs.snapshot_subvolume(source, parent, path.name, limit_bytes)
        aside = path / f"before-{secrets.token_hex(8)}"
        aside.mkdir(mode=0o700)
        for name in ("upper", "work"):
            with contextlib.suppress(FileNotFoundError):
                (path / name).rename(aside / name)

    async def remove_upper(self, sandbox_id: SandboxId) -> None:
        """Destroy the sandbox's files, in a thread: unwritten data can hold it up. Idempotent; whole or half-made. Raises: OSError."""
        await asyncio.to_thread(self._remove_upper, check_sandbox_id(sandbox_id))

    def _remove_upper(self, name: str) -> None:
        self._remove_tree(self._sandboxes / name)

    def _remove_tree(self, path: Path) -> None:
        try:
            status = path.lstat()
        except FileNotFoundError:
            return
        if not stat.S_ISDIR(status.st_mode):
            path.unlink()
            return
        if status.st_ino != btrfs.SUBVOLUME_INODE or status.st_dev == path.parent.stat().st_dev:
            shutil.rmtree(path)
            return
        with filesystem.directory(path.parent) as fd, contextlib.suppress(FileNotFoundError):
            with filesystem.directory(path) as own:
                subvolume = btrfs.subvolume_id(own)
            btrfs.destroy_subvolume(fd, path.name)
            btrfs.destroy_qgroup(fd, subvolume)

    async def copy_upper(self, sandbox_id: SandboxId, target: Path) -> None:
        """Make ``target``, below :attr:`layers`, a copy of the sandbox's directories as they are now, durable when this returns.

        Blocks are shared, so it takes as long as what is in memory alone takes to be written. Raises: FileExistsError, OSError.
        """
        await in_thread(self._copy_upper, check_sandbox_id(sandbox_id), target)

    def _copy_upper(self, name: str, target: Path) -> None:
        with filesystem.directory(self._sandboxes / name) as source, filesystem.directory(target.parent) as parent:
            btrfs.snapshot_subvolume(source, parent, target.name)

    async def remove_tree(self, path: Path) -> None:
        """Remove a directory below :attr:`layers`, :attr:`memory` or :attr:`paused`, subvolume or not. Idempotent. Raises: OSError."""
        await in_thread(self._remove_tree, path)

    def usage(self, sandbox_id: SandboxId) -> int:
        """Bytes that the sandbox's files take, unwritten ones included. Sub-millisecond. Raises: NotFoundError."""
        try:
            return btrfs.used_bytes(self._filesystem, self._subvolume_id(check_sandbox_id(sandbox_id)))
        except FileNotFoundError as error:
            raise NotFoundError(f"Sandbox {sandbox_id} has no files on this node.") from error

    def list_(self) -> frozenset[SandboxId]:
        """Every sandbox that has an upper, half-made ones included."""
        return sandbox_ids(entry.name for entry in self._sandboxes.iterdir())

    def free_bytes(self) -> int:
        """What can still be written: the least of the pool's own room and its host file system's, less the reserve."""
        free = filesystem.free_bytes(self.path)
        return free if self._file is None else max(0, min(free, filesystem.free_bytes(self._file) - self._reserve_bytes))

    async def close(self) -> None:
        """Unmount the pool; its contents stay. Idempotent.

        Raises:  ConflictError: a sandbox's root file system, an open file or another mount namespace still uses it.
        """
        if self._file is not None:
            await asyncio.to_thread(filesystem.unmount, self.path, self._file)

    def _subvolume_id(self, name: str) -> int:
        with filesystem.directory(self._sandboxes / name) as fd:
            return btrfs.subvolume_id(fd)

    def _directory(self) -> contextlib.AbstractContextManager[int]:
        return filesystem.directory(self._sandboxes)

    def _sweep_quota_groups(self) -> None:
        """Forget groups whose subvolume went while the kernel could not drop them; only in a file system that is ours alone."""
        if self._file is None:
            return
        with self._directory() as fd:
            for subvolume in btrfs.qgroup_ids(self._filesystem):
                if not btrfs.subvolume_exists(fd, subvolume):
                    btrfs.destroy_qgroup(fd, subvolume)
