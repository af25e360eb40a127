"""Loop devices: a file as a block device. Source: loop(4), linux/loop.h."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_CONFIGURE: Final = 0x4C0A
_CTL_GET_FREE: Final = 0x4C82
_AUTOCLEAR: Final = 4
_DIRECT_IO: Final = 16
_BLOCK_BYTES: Final = 4096
_ATTEMPTS: Final = 64


@contextlib.contextmanager
def attached(file: Path) -> Iterator[Path]:
    """A loop device over ``file`` for the block; it lasts for as long as something has it open or mounted, and clears itself after that.

    Never a second device over the same file: two mounts of it would destroy each other's data. Direct I/O keeps the file's pages from being
    cached twice; where the host's file system has none, the kernel goes on without.
    """
    device, fd = _existing(file) or _configure(file)
    try:
        yield device
    finally:
        os.close(fd)


def backing_file(device: str) -> Path | None:
    """The file behind ``/dev/loopN``; None if that is no attached loop device."""
    try:
        return Path(Path("/sys/block", Path(device).name, "loop/backing_file").read_text().rstrip("\n"))
    except OSError:
        return None


def is_attached(file: Path) -> bool:
    """Whether ``file`` has a loop device: one clears itself only some time after the last use has ended."""
    return _device_of(file) is not None


def _existing(file: Path) -> tuple[Path, int] | None:
    device = _device_of(file)
    return (device, os.open(device, os.O_RDWR | os.O_CLOEXEC)) if device else None


def _device_of(file: Path) -> Path | None:
    return next((Path("/dev", entry.name) for entry in Path("/sys/block").glob("loop*") if backing_file(entry.name) == file), None)


def _configure(file: Path) -> tuple[Path, int]:
    backing = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    try:
        for _ in range(_ATTEMPTS):
            device = Path(f"/dev/loop{_free_number()}")
            fd = os.open(device, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.ioctl(fd, _CONFIGURE, _configuration(backing, file))
                return device, fd
            except OSError as error:
                os.close(fd)
                if error.errno != errno.EBUSY:  # EBUSY: another process took that device in between
                    raise
        raise OSError(errno.EBUSY, "no loop device could be had", str(file))
    finally:
        os.close(backing)


def _free_number() -> int:
    fd = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    try:
        return fcntl.ioctl(fd, _CTL_GET_FREE)
    finally:
        os.close(fd)


def _configuration(backing: int, file: Path) -> bytes:
    """``struct loop_config``: descriptor, block size, ``struct loop_info64`` with flags and a name for losetup, reserved words."""
    info = struct.pack("=QQQQQIIII64s64s32s2Q", 0, 0, 0, 0, 0, 0, 0, 0, _AUTOCLEAR | _DIRECT_IO, os.fsencode(file)[-63:], b"", b"", 0, 0)
    return struct.pack("=II", backing, _BLOCK_BYTES) + info + bytes(64)
