"""The file system under the storage pool: a subvolume of the state directory, or a file with a btrfs of its own, mounted.

Idempotent: each function makes what is missing. A crash between two steps leaves nothing that the next run trips over.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cove.exception import ConflictError, InternalFailure, ResourceExhaustedError
from sandboxd import kernel
from sandboxd.storage_pool import btrfs, loop

MINIMUM_BYTES: Final = 2**30
"""Smallest pool that is made unasked."""

_SHARE: Final = 0.8
"""Of the free space, for a pool whose size nobody gave."""

_MKFS_TIMEOUT_S: Final = 120
_RELEASE_TIMEOUT_S: Final = 10.0
_RELEASE_POLL_S: Final = 0.01
_OPTIONS: Final = "nodatasum,discard=async"
"""No checksums of contents: faster, and no file outlives its sandbox here. Freed blocks go back to the host in the background."""


def ensure_mounted(path: Path, file: Path, instance: str, size_bytes: int, reserve_bytes: int) -> None:
    """Mount the pool at ``path``, making its file first if there is none. Raises: ResourceExhaustedError, InternalFailure, OSError."""
    path.mkdir(mode=0o700, exist_ok=True)
    found = [entry for entry in kernel.mounts() if entry.path == path]
    if found:
        if found[-1].fstype != "btrfs" or loop.backing_file(found[-1].source) != file:
            raise InternalFailure(f"{path} is a mount point of something else than {file}.", remedy="Unmount it.")
        return
    if not file.exists():
        _make_file(file, instance, size_bytes or _default_size(file.parent, reserve_bytes))
    flags = kernel.MountFlag.NODEV | kernel.MountFlag.NOSUID | kernel.MountFlag.NOATIME
    with loop.attached(file) as device:
        kernel.mount(str(device), path, "btrfs", flags, _OPTIONS)
    path.chmod(0o700)


def _default_size(parent: Path, reserve_bytes: int) -> int:
    free = free_bytes(parent) - reserve_bytes
    if free < MINIMUM_BYTES:
        raise ResourceExhaustedError(
            f"{parent} has no room for a storage pool: {max(0, free) >> 20} MiB free beyond the reserve of {reserve_bytes >> 20} MiB.",
            remedy=f"Free at least {MINIMUM_BYTES >> 20} MiB, or move state_dir to a larger file system.",
        )
    return max(MINIMUM_BYTES, int(free * _SHARE) // MINIMUM_BYTES * MINIMUM_BYTES)


def _make_file(file: Path, instance: str, size_bytes: int) -> None:
    """Make the pool's file under another name first, so that a crash leaves none or a whole one."""
    new = file.with_suffix(".new")
    with new.open("wb") as handle:
        os.fchmod(handle.fileno(), 0o600)
        handle.truncate(size_bytes)
    argv = ["mkfs.btrfs", "--quiet", "--data", "single", "--metadata", "single", "--label", instance, str(new)]
    try:
        subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=_MKFS_TIMEOUT_S)
    except FileNotFoundError:
        raise InternalFailure("mkfs.btrfs is not installed.", remedy="Install the package btrfs-progs.", retryable=False) from None
    except subprocess.CalledProcessError as error:
        text = bytes(error.stderr).decode(errors="replace").strip()
        raise InternalFailure(f"mkfs.btrfs failed: {text}", remedy=f"Check the file system below {file.parent}.") from error
    new.rename(file)


def ensure_subvolume(path: Path) -> None:
    """Make the pool a subvolume. Raises: OSError."""
    if not path.exists():
        with directory(path.parent) as fd:
            btrfs.create_subvolume(fd, path.name)
        path.chmod(0o700)


def ensure_quota(fd: int, filesystem: uuid.UUID, *, simple: bool) -> None:
    """Switch quotas on if they are off.

    Simple quotas only in our own file system: they set a feature bit without which older kernels do not mount it any more.
    """
    if btrfs.quota_enabled(filesystem):
        return
    if simple:
        with contextlib.suppress(OSError):
            btrfs.enable_quota(fd, simple=True)
            return
    btrfs.enable_quota(fd, simple=False)


def unmount(path: Path, file: Path) -> None:
    """Unmount the pool and wait until ``file`` is let go of. Idempotent.

    Programs that start just then in mount namespaces of their own (runsc does) hold a copy of every mount for some milliseconds.

    Raises:  ConflictError: something in it is open or mounted, or a process elsewhere still holds it after ``_RELEASE_TIMEOUT_S``.
    """
    try:
        kernel.unmount_all(path)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        raise ConflictError("The storage pool is in use.", remedy="Remove the sandboxes first.", retryable=True) from error
    deadline = time.monotonic() + _RELEASE_TIMEOUT_S
    while loop.is_attached(file):
        if time.monotonic() > deadline:
            remedy = "Look for it in /proc/*/mountinfo."
            raise ConflictError(f"{path} is unmounted here, but another mount namespace holds it.", remedy=remedy, retryable=True)
        time.sleep(_RELEASE_POLL_S)


def filesystem_id(fd: int, path: Path) -> uuid.UUID:
    """The id of the btrfs at ``path``, open as ``fd``. Raises: InternalFailure: it is none."""
    filesystem = btrfs.filesystem_id(fd)
    if filesystem is None:
        raise InternalFailure(f"{path} is not on btrfs.", remedy="Remove what is mounted over it.")
    return filesystem


def on_btrfs(path: Path) -> bool:
    """Whether ``path`` lies on btrfs."""
    with directory(path) as fd:
        return btrfs.filesystem_id(fd) is not None


def free_bytes(path: Path) -> int:
    """What anybody but root may still write below ``path``."""
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


@contextlib.contextmanager
def directory(path: Path) -> Iterator[int]:
    """A directory, open for the block; never through a symbolic link."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def locked(file: Path) -> Iterator[None]:
    """One opener at a time; another one waits."""
    fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
