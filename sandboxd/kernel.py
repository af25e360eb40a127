"""Thin typed wrappers of system calls that Python does not offer: mounts, namespaces, processes, ioctl numbers, the mount table.

Nothing here knows of sandboxes. Failures are OSError with the errno and the path that the call was given. All calls return in well under
a millisecond, except an unmount that has to write a file system back.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
from collections.abc import Iterator
from enum import IntFlag
from pathlib import Path
from typing import Final, NamedTuple

_libc: Final = ctypes.CDLL(None, use_errno=True)


class MountFlag(IntFlag):
    """Flags of mount(2). Source: linux/mount.h."""

    NONE = 0
    NOSUID = 0x2
    NODEV = 0x4
    NOATIME = 0x400
    BIND = 0x1000


class UmountFlag(IntFlag):
    """Flags of umount2(2)."""

    NONE = 0
    DETACH = 0x2
    NOFOLLOW = 0x8


class CloneFlag(IntFlag):
    """Namespaces for unshare(2) and setns(2). Source: linux/sched.h."""

    NEWNET = 0x40000000


class Mount(NamedTuple):
    """One line of the mount table."""

    path: Path
    fstype: str
    source: str
    options: str
    """Of the file system, comma-separated."""


# --- mounts --------------------------------------------------------------------------------------------------------------------------


def mount(source: str, target: Path, fstype: str = "", flags: MountFlag = MountFlag.NONE, data: str = "") -> None:
    """mount(2). ``data`` of a page or more does not fit: the kernel would cut it off, so it is refused here (E2BIG)."""
    options = os.fsencode(data)
    if len(options) >= os.sysconf("SC_PAGE_SIZE"):
        raise OSError(errno.E2BIG, "mount options do not fit a page", str(target))
    result = _libc.mount(os.fsencode(source), os.fsencode(target), fstype.encode() or None, ctypes.c_ulong(flags), options or None)
    _check(result, target)


def umount(target: Path, flags: UmountFlag = UmountFlag.NONE) -> None:
    """umount2(2), never through a symbolic link at the end of ``target``."""
    _check(_libc.umount2(os.fsencode(target), int(flags | UmountFlag.NOFOLLOW)), target)


def unmount_all(target: Path, flags: UmountFlag = UmountFlag.NONE) -> None:
    """Take every mount off ``target``, stacked ones too; no mount point, or nothing there, is fine. Raises: OSError, EBUSY above all."""
    while True:
        try:
            umount(target, flags)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOENT):
                return
            raise


def mounts() -> Iterator[Mount]:
    """The mount table of this process, oldest first. Source: proc_pid_mountinfo(5)."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
        for line in table:
            yield parse_mount(line)


def parse_mount(line: str) -> Mount:
    """One line of ``mountinfo``. Pure."""
    left, right = line.rstrip("\n").split(" - ", 1)
    fstype, source, options = right.split(" ", 2)
    return Mount(Path(_unescape(left.split(" ")[4])), fstype, _unescape(source), _unescape(options))


def mounts_below(directory: Path) -> Iterator[Mount]:
    """Mounts directly in ``directory``."""
    return (entry for entry in mounts() if entry.path.parent == directory)


def _unescape(text: str) -> str:
    """Undo the kernel's octal escapes of white space and backslashes."""
    raw = re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), text.encode("utf-8", "surrogateescape"))
    return raw.decode("utf-8", "surrogateescape")


# --- namespaces ----------------------------------------------------------------------------------------------------------------------

_THREAD_NETNS: Final = Path("/proc/thread-self/ns/net")
"""Not ``/proc/self``: that is the main thread's."""


def setns(fd: int, kind: CloneFlag) -> None:
    """setns(2) for the calling thread alone."""
    _check(_libc.setns(fd, int(kind)), kind.name or "namespace")


@contextlib.contextmanager
def new_netns() -> Iterator[Path]:
    """Run the block in a fresh network namespace; yields the path that refers to it while the block runs.

    Only the calling thread moves. The block must not wait, start threads or run other people's code.
    """
    with _back_home():
        _check(_libc.unshare(int(CloneFlag.NEWNET)), "network namespace")
        yield _THREAD_NETNS


@contextlib.contextmanager
def in_netns(path: Path) -> Iterator[None]:
    """Run the block in the network namespace mounted at ``path``; the same rules as for :func:`new_netns`."""
    with _back_home():
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            setns(fd, CloneFlag.NEWNET)
        finally:
            os.close(fd)
        yield


@contextlib.contextmanager
def _back_home() -> Iterator[None]:
    home = os.open(_THREAD_NETNS, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield
    finally:
        setns(home, CloneFlag.NEWNET)
        os.close(home)


# --- processes -----------------------------------------------------------------------------------------------------------------------

_PR_SET_CHILD_SUBREAPER: Final = 36
"""Source: linux/prctl.h."""


def want_orphans() -> None:
    """Be the parent of processes below this one whose parents exit, instead of init; not handed on to children. Source: prctl(2)."""
    _check(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "child subreaper")


# --- ioctl numbers -------------------------------------------------------------------------------------------------------------------


def sync_filesystem(path: Path) -> None:
    """syncfs(2): all that was written to a directory's file system is on disk, in one call for any number of files. Blocks."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _check(_libc.syncfs(descriptor), path)
    finally:
        os.close(descriptor)


def sync_directory(path: Path) -> None:
    """fsync(2): the names in a directory are on disk. Blocks."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def ioctl_write(magic: int, number: int, size_bytes: int) -> int:
    """The request number of an ioctl that passes a structure in (``_IOW``). Source: asm-generic/ioctl.h."""
    return 1 << 30 | size_bytes << 16 | magic << 8 | number


def ioctl_read(magic: int, number: int, size_bytes: int) -> int:
    """The same for a structure that comes back (``_IOR``)."""
    return 2 << 30 | size_bytes << 16 | magic << 8 | number


def ioctl_both(magic: int, number: int, size_bytes: int) -> int:
    """The same for both ways (``_IOWR``)."""
    return 3 << 30 | size_bytes << 16 | magic << 8 | number


def _check(result: int, subject: str | Path) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(subject))
