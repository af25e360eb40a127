"""``python -m sandboxd.unpack DIRECTORY < rootfs.tar.zst``: unpack a rootfs tarball from someone we do not trust.

It runs as a child process that changes its root to DIRECTORY before it reads the first header: absolute names, ``..`` and links then lead
nowhere else, in whatever order the archive has them. What it may consume is bounded. Notes go to stdout; an error to stderr, with exit 1.
Standard library only, all of it loaded before the change of root.
"""

from __future__ import annotations

import importlib
import os
import resource
import stat
import subprocess
import sys
import tarfile
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

MAX_MEMBERS: Final = 3_000_000
MAX_BYTES: Final = 128 * 2**30
MAX_MEMORY_BYTES: Final = 2**30
"""Address space of this process: tarfile holds extended headers, whose size the archive gives, in memory."""
RESERVE_BYTES: Final = 2**30
"""Free space that unpacking leaves on the file system."""
MAX_PADDING_BYTES: Final = 2**20
NAMED_DEVICES: Final = 5

_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"


class RefusedError(Exception):
    """The archive is not one we unpack."""


def open_stream() -> tuple[IO[bytes], subprocess.Popen[bytes] | None]:
    """stdin as a stream of plain or gzip, bzip2 or xz bytes; zstd through a process of its own."""
    head = os.pread(0, len(_ZSTD_MAGIC), 0)
    if head != _ZSTD_MAGIC:
        return sys.stdin.buffer, None
    process = subprocess.Popen(["zstd", "-dcq"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    return process.stdout, process


_REFUSALS: Final = (RefusedError, tarfile.TarError, OSError, EOFError, ValueError, KeyError, OverflowError, RecursionError, MemoryError)
"""What tarfile and the system calls under it raise for archives made by hand or by an attacker."""


class Unpacker:
    """Extracts members into the process's root directory and counts what it costs."""

    def __init__(self, archive: tarfile.TarFile) -> None:
        self._archive = archive
        self._bytes = 0
        self.members = 0
        self.devices: list[str] = []

    def run(self) -> None:
        # The change of root confines us; tarfile's own filters would take away owners and setuid bits, which a rootfs needs.
        self._archive.extraction_filter = lambda member, path: member
        while (member := self._archive.next()) is not None:
            self._count(member)
            if member.ischr() or member.isblk():
                self.devices.append(member.name)
            else:
                _make_way(member)
                self._archive.extract(member, "/", numeric_owner=True)
            vars(self._archive)["members"].clear()  # tarfile would remember every one

    def _count(self, member: tarfile.TarInfo) -> None:
        self.members += 1
        self._bytes += member.size
        if self.members > MAX_MEMBERS or self._bytes > MAX_BYTES:
            raise RefusedError(f"it has more than {MAX_MEMBERS} members or {MAX_BYTES >> 30} GiB")
        free = os.statvfs("/")
        if free.f_bavail * free.f_frsize < member.size + RESERVE_BYTES:
            raise RefusedError(f"it does not fit on this disk and leave {RESERVE_BYTES >> 30} GiB free")


def _make_way(member: tarfile.TarInfo) -> None:
    """Remove what a file or link replaces; tarfile would write through an existing link, into its target."""
    if not member.isdir():
        with suppress(FileNotFoundError, NotADirectoryError):
            path = Path("/", member.name)
            if not stat.S_ISDIR(path.lstat().st_mode):
                path.unlink()


def _finish(stream: IO[bytes], decompressor: subprocess.Popen[bytes]) -> None:
    """Let the decompressor come to its end, which is where it checks its sums; an archive has little more than padding left by then."""
    if len(stream.read(MAX_PADDING_BYTES + 1)) > MAX_PADDING_BYTES:
        decompressor.kill()
        raise RefusedError("it goes on after its end")
    if decompressor.wait() != 0:
        raise RefusedError("its compressed data is damaged")


def unpack(directory: str) -> int:
    """Unpack stdin into ``directory``. Returns the exit status."""
    stream, decompressor = open_stream()
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    os.umask(0o022)
    os.chroot(directory)
    os.chdir("/")
    try:
        with tarfile.open(fileobj=stream, mode="r|*") as archive:
            unpacker = Unpacker(archive)
            unpacker.run()
        if decompressor is not None:
            _finish(stream, decompressor)
        if unpacker.members == 0:
            raise RefusedError("it is empty")
    except _REFUSALS as error:
        print(f"not a usable rootfs tarball: {ascii(str(error))[1:-1] or type(error).__name__}", file=sys.stderr)
        return 1
    if unpacker.devices:
        named = ", ".join(ascii(name) for name in unpacker.devices[:NAMED_DEVICES])
        print(f"{len(unpacker.devices)} device nodes left out: {named}{' and more' if len(unpacker.devices) > NAMED_DEVICES else ''}")
    return 0


if __name__ == "__main__":
    for module in ("bz2", "encodings.idna", "gzip", "lzma"):  # tarfile loads them on first use: now, while they can be found
        importlib.import_module(module)
    sys.exit(unpack(sys.argv[1]))
