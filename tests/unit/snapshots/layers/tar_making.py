"""Archives for tests, made by tarfile or by hand, and unpacking in this process: nothing may rely on the change of root."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

from snapshots.layers.child_result import Result
from snapshots.layers.compressed import CompressedInput
from snapshots.layers.limits import Expected, Limits, Order
from snapshots.layers.unpack import unpack

Member = tuple[tarfile.TarInfo, bytes]

UNKNOWN = Expected()
LIMITS = Limits(reserve_bytes=0)


def file(name: str, content: bytes = b"x", *, mode: int = 0o644, uid: int = 0, pax: dict[str, str] | None = None) -> Member:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.uid, info.gid, info.pax_headers = len(content), mode, uid, uid, pax or {}
    return info, content


def special(name: str, kind: bytes, target: str = "", *, mode: int = 0o755, mtime: float = 0, device: tuple[int, int] = (0, 0)) -> Member:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode, info.mtime = kind, target, mode, mtime
    info.devmajor, info.devminor = device
    return info, b""


def directory(name: str, *, mode: int = 0o755, mtime: float = 0) -> Member:
    return special(name, tarfile.DIRTYPE, mode=mode, mtime=mtime)


def symlink(name: str, target: str) -> Member:
    return special(name, tarfile.SYMTYPE, target, mode=0o777)


def hard_link(name: str, target: str) -> Member:
    return special(name, tarfile.LNKTYPE, target)


def tar(*members: Member, form: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def unpack_here(archive: bytes, into: Path, *, expect: Expected = UNKNOWN, limits: Limits = LIMITS, devices: bool = False) -> Result:
    """Unpack into the directory ``into``, made if need be. Raises: as the child reports."""
    into.mkdir(exist_ok=True)
    umask = os.umask(0)
    root = os.open(into, os.O_RDONLY | os.O_DIRECTORY)
    source = os.memfd_create("archive")
    try:
        with open(source, "wb", closefd=False) as file:
            file.write(archive)
        os.lseek(source, 0, os.SEEK_SET)
        return unpack(root, CompressedInput(source, expect.size_bytes), Order(expect, limits, devices))
    finally:
        os.umask(umask)
        os.close(root)
        os.close(source)
