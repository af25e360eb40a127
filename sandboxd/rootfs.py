"""Root file systems: one overlayfs mount a sandbox, read-only layers below and the sandbox's upper on top."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from cove.exception import ConflictError, InvalidError
from cove.types import SandboxId
from sandboxd import kernel
from sandboxd.kernel import MountFlag
from sandboxd.naming import check_instance, check_sandbox_id, sandbox_ids
from sandboxd.storage_pool import Upper

MAX_LOWERS: Final = 128
"""Layers of one mount. The kernel would take 500; this many fit a page of options in their short form with room to spare."""

_FLAGS: Final = MountFlag.NODEV | MountFlag.NOSUID
"""For the host's eyes: no device node and no setuid bit in a sandbox's files means anything here. Inside, the sentry goes by the files'
metadata and a mount table of its own, so what setuid does there is gVisor's affair: older releases ignore it, newer have ``--allow-suid``.
Not noexec: the sentry maps programs from here."""

_OPTIONS: Final = "volatile,redirect_dir=nofollow,metacopy=off,index=off"
"""``volatile``: no fsync of the guest reaches the disk; its files live no longer than the kernel's cache, which a crash of the machine
ends with it. The others, whatever the machine's defaults: an upper holds whole files, whiteouts and opaque directories and nothing else, so
a copy of it is a layer."""

_SPECIAL: Final = frozenset(',:\\"\n')
"""What overlayfs's option syntax would take for its own."""


class RootfsMounts:
    """Root file systems by sandbox id, at ``<run_dir>/rootfs/<id>``. All methods are system calls of under 2 ms; nothing is remembered."""

    def __init__(self, run_dir: Path, *, instance: str) -> None:
        """``instance``: becomes the mounts' source name, so that ``findmnt`` tells whose they are."""
        self._instance = check_instance(instance)
        directory = run_dir / "rootfs"
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._directory = directory.resolve()

    def mount_rootfs(self, sandbox_id: SandboxId, lowers: Sequence[Path], upper: Upper) -> Path:
        """Mount the sandbox's root file system; if it is mounted already, leave it as it is.

        Args:    lowers: read-only layers, the topmost first.
        Returns: the mount point.
        Raises:  InvalidError: no layer, or more than ``MAX_LOWERS``. OSError.
        """
        target = self._directory / check_sandbox_id(sandbox_id)
        if not 1 <= len(lowers) <= MAX_LOWERS:
            raise InvalidError(f"An image of {len(lowers)} layers cannot be mounted.", remedy=f"Use 1 to {MAX_LOWERS} layers.")
        target.mkdir(mode=0o700, exist_ok=True)
        if not os.path.ismount(target):
            _forget_last_mount(upper)
            self._mount(target, [*lowers, upper.upper_dir, upper.work_dir])
        return target

    def unmount_rootfs(self, sandbox_id: SandboxId) -> None:
        """Unmount and remove the mount point. Idempotent; whole or half-made.

        Raises:  ConflictError: something still uses it; it stays as it was. OSError.
        """
        target = self._directory / check_sandbox_id(sandbox_id)
        try:
            kernel.unmount_all(target)
            target.rmdir()
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            remedy = "Kill the sandbox's processes, then remove it again."
            raise ConflictError(f"The root file system of {sandbox_id} is in use.", remedy=remedy, retryable=True) from error

    def list_(self) -> frozenset[SandboxId]:
        """Every sandbox that has a root file system mounted, or a mount point left."""
        mounted = (entry.path.name for entry in kernel.mounts_below(self._directory))
        left = (entry.name for entry in self._directory.iterdir())
        return sandbox_ids([*mounted, *left])

    def _mount(self, target: Path, directories: Sequence[Path]) -> None:
        """Paths as they are where they fit, so that the mount table tells them; else as descriptors: short, and without quoting."""
        names = [str(directory) for directory in directories]
        options = _options(names)
        if len(os.fsencode(options)) < os.sysconf("SC_PAGE_SIZE") and not any(_SPECIAL & set(name) for name in names):
            kernel.mount(self._instance, target, "overlay", _FLAGS, options)
            return
        with _opened(directories) as short_names:
            kernel.mount(self._instance, target, "overlay", _FLAGS, _options(short_names))


def _forget_last_mount(upper: Upper) -> None:
    """Remove the mark of a volatile mount, which forbids another: since the last boot nothing of the upper can have been lost."""
    shutil.rmtree(upper.work_dir / "work/incompat", ignore_errors=True)


def _options(names: Sequence[str]) -> str:
    """``names``: lower directories, then upper and work directory."""
    *lowers, upper, work = names
    return f"lowerdir={':'.join(lowers)},upperdir={upper},workdir={work},{_OPTIONS}"


@contextlib.contextmanager
def _opened(directories: Sequence[Path]) -> Iterator[list[str]]:
    """Names of ``directories`` that are good for the block."""
    with contextlib.ExitStack() as stack:
        fds = []
        for directory in directories:
            fds.append(os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
            stack.callback(os.close, fds[-1])
        yield [f"/proc/self/fd/{fd}" for fd in fds]
