"""btrfs by ioctl: subvolumes, and quota groups that limit them. No process is started, nothing is remembered.

Source: linux/btrfs.h (structures and numbers), linux/btrfs_tree.h (ids); Documentation/ABI of /sys/fs/btrfs/<uuid>/qgroups.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
import uuid
from pathlib import Path
from typing import Final

from sandboxd.kernel import ioctl_both, ioctl_read, ioctl_write

_MAGIC: Final = 0x94
_SNAP_DESTROY: Final = ioctl_write(_MAGIC, 15, 4096)
_TREE_SEARCH: Final = ioctl_both(_MAGIC, 17, 4096)
_INO_LOOKUP: Final = ioctl_both(_MAGIC, 18, 4096)
_SNAP_CREATE_V2: Final = ioctl_write(_MAGIC, 23, 4096)
_SUBVOL_CREATE_V2: Final = ioctl_write(_MAGIC, 24, 4096)
_FS_INFO: Final = ioctl_read(_MAGIC, 31, 1024)
_QUOTA_CTL: Final = ioctl_both(_MAGIC, 40, 16)
_QGROUP_CREATE: Final = ioctl_write(_MAGIC, 42, 16)
_QGROUP_LIMIT: Final = ioctl_read(_MAGIC, 43, 48)

_ROOT_TREE: Final = 1
_ROOT_BACKREF: Final = 144
_SEARCH_COUNT_OFFSET: Final = 64
_QUOTA_ENABLE: Final = 1
_QUOTA_ENABLE_SIMPLE: Final = 4
_SUBVOL_QGROUP_INHERIT: Final = 1 << 2
_INHERIT_SET_LIMITS: Final = 1
_INHERIT_BYTES: Final = 72
_LIMIT_REFERENCED: Final = 1
_FIRST_SUBVOLUME: Final = 256
SUBVOLUME_INODE: Final = 256
"""Inode number of every subvolume's root directory, and of nothing else on btrfs."""


def filesystem_id(fd: int) -> uuid.UUID | None:
    """The id of the btrfs that ``fd`` lies on; None on any other file system."""
    info = bytearray(1024)
    try:
        fcntl.ioctl(fd, _FS_INFO, info)
    except OSError as error:
        if error.errno in (errno.ENOTTY, errno.EINVAL):
            return None
        raise
    return uuid.UUID(bytes=bytes(info[16:32]))


def create_subvolume(parent_fd: int, name: str, limit_bytes: int | None = None) -> None:
    """Make a subvolume that can hold ``limit_bytes``, in one step: it never exists without its limit. Raises: FileExistsError, OSError."""
    _make_subvolume(_SUBVOL_CREATE_V2, 0, parent_fd, name, limit_bytes)


def snapshot_subvolume(source_fd: int, parent_fd: int, name: str, limit_bytes: int | None = None) -> None:
    """Make ``name`` a writable copy of the subvolume at ``source_fd`` that shares its blocks, as it is now and durable.

    What the source has in memory alone is written out first: that takes as long as the disk does. New files in the copy get inode numbers
    above those of the source.

    Args:    limit_bytes: what the copy can hold of its own. Raises: FileExistsError, OSError.
    """
    _make_subvolume(_SNAP_CREATE_V2, source_fd, parent_fd, name, limit_bytes)


def _make_subvolume(request: int, source_fd: int, parent_fd: int, name: str, limit_bytes: int | None) -> None:
    inherit = ctypes.create_string_buffer(_inherit(limit_bytes or 0), _INHERIT_BYTES)
    flags, size, address = (0, 0, 0) if limit_bytes is None else (_SUBVOL_QGROUP_INHERIT, _INHERIT_BYTES, ctypes.addressof(inherit))
    head = struct.pack("=qQQQQQQ", source_fd, 0, flags, size, address, 0, 0)
    fcntl.ioctl(parent_fd, request, bytearray(head + os.fsencode(name).ljust(4040, b"\0")))


def _inherit(limit_bytes: int) -> bytes:
    """``struct btrfs_qgroup_inherit`` with a limit and no groups."""
    return struct.pack("=QQQQ", _INHERIT_SET_LIMITS, 0, 0, 0) + struct.pack("=QQQQQ", _LIMIT_REFERENCED, limit_bytes, 0, 0, 0)


def destroy_subvolume(parent_fd: int, name: str) -> None:
    """Remove a subvolume with everything in it; its blocks come back in the background. Can take 100 ms while it holds unwritten data."""
    fcntl.ioctl(parent_fd, _SNAP_DESTROY, bytearray(struct.pack("=q", 0) + os.fsencode(name).ljust(4088, b"\0")))


def subvolume_id(fd: int) -> int:
    """The id of the subvolume that ``fd`` lies in; ids are never used twice."""
    answer = bytearray(struct.pack("=QQ", 0, SUBVOLUME_INODE) + bytes(4080))
    fcntl.ioctl(fd, _INO_LOOKUP, answer)
    return int(struct.unpack_from("=Q", answer)[0])


def subvolume_exists(fd: int, subvolume: int) -> bool:
    """Whether a directory entry leads to ``subvolume``; a destroyed one, whose blocks are still being freed, has none."""
    anything = 2**64 - 1
    key = struct.pack("=7Q4I4Q", _ROOT_TREE, subvolume, subvolume, 0, anything, 0, anything, _ROOT_BACKREF, _ROOT_BACKREF, 1, 0, 0, 0, 0, 0)
    answer = bytearray(key.ljust(4096, b"\0"))
    fcntl.ioctl(fd, _TREE_SEARCH, answer)
    (found,) = struct.unpack_from("=I", answer, _SEARCH_COUNT_OFFSET)
    return bool(found)


def set_limit(fd: int, subvolume: int, limit_bytes: int) -> None:
    """Change what ``subvolume`` can hold; less than it holds stops further writes."""
    fcntl.ioctl(fd, _QGROUP_LIMIT, bytearray(struct.pack("=QQQQQQ", subvolume, _LIMIT_REFERENCED, limit_bytes, 0, 0, 0)))


def enable_quota(fd: int, *, simple: bool) -> None:
    """Switch quota accounting on.

    Simple quotas (kernel 6.7) charge an extent to the subvolume that wrote it first and cost next to nothing; full ones follow sharing
    exactly. Raises: OSError: not supported.
    """
    fcntl.ioctl(fd, _QUOTA_CTL, bytearray(struct.pack("=QQ", _QUOTA_ENABLE_SIMPLE if simple else _QUOTA_ENABLE, 0)))


def quota_enabled(filesystem: uuid.UUID) -> bool:
    return _qgroups(filesystem).exists()


def used_bytes(filesystem: uuid.UUID, subvolume: int) -> int:
    """Bytes charged to ``subvolume``, written or still in memory. Raises: FileNotFoundError."""
    group = _qgroups(filesystem) / f"0_{subvolume}"
    return int((group / "referenced").read_text()) + int((group / "rsv_data").read_text())


def qgroup_ids(filesystem: uuid.UUID) -> frozenset[int]:
    """Numbers of subvolumes that have a quota group; the subvolume may be gone. The file system's own root, 5, is not among them."""
    try:
        names = [entry.name for entry in _qgroups(filesystem).iterdir()]
    except FileNotFoundError:
        return frozenset()
    numbers = (int(name[2:]) for name in names if name.startswith("0_"))
    return frozenset(number for number in numbers if number >= _FIRST_SUBVOLUME)


def destroy_qgroup(fd: int, subvolume: int) -> bool:
    """Forget the quota group of a destroyed subvolume; False while the kernel still frees its blocks (newer ones then do it themselves)."""
    try:
        fcntl.ioctl(fd, _QGROUP_CREATE, bytearray(struct.pack("=QQ", 0, subvolume)))
    except OSError as error:
        if error.errno == errno.EBUSY:
            return False
        if error.errno != errno.ENOENT:
            raise
    return True


def _qgroups(filesystem: uuid.UUID) -> Path:
    return Path("/sys/fs/btrfs", str(filesystem), "qgroups")
