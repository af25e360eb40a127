"""Directories to tar streams and back. Synchronous: runs in a thread. What is unpacked comes from a sandbox and is hostile."""

from __future__ import annotations

import os
import stat
import tarfile
from pathlib import Path
from typing import Final, Protocol

from cove.exception import FilesystemExecutionError, VersionError

PIECE_BYTES: Final = 256 * 1024
MAX_HEADER_BYTES: Final = 64 * 1024
"""Extended headers (long names, times) of one member; tarfile reads them into memory whole."""

MAX_LINKS: Final = 1_000_000


class Writer(Protocol):
    """Takes the next piece of the archive."""

    def write(self, data: bytes, /) -> object: ...


class Reader(Protocol):
    """Gives the next piece of the archive, at most ``size`` bytes; empty at its end."""

    def read(self, size: int, /) -> bytes: ...


def pack(source: Path, into: Writer) -> None:
    """Write what ``source`` (a directory) contains; its files will belong to root.

    Raises:  OSError: a file cannot be read, or is neither file, directory nor link.
    """
    with tarfile.open(fileobj=into, mode="w|", format=tarfile.PAX_FORMAT, bufsize=PIECE_BYTES) as archive:  # type: ignore[call-overload]  # typeshed wants seekable files
        for child in sorted(source.iterdir()):
            archive.add(child, arcname=child.name, filter=_for_sandbox)


def unpack(source: Reader, target: Path) -> None:
    """Extract an archive into the directory ``target``, which is made if it does not exist, and nowhere else.

    Beyond tarfile's own ``data`` filter, links are made last, when there is nothing left to be written through them.

    Raises:
        FilesystemExecutionError: a member does not belong into a directory: it leads out of it, or is a device, or is malformed.
        OSError: a file cannot be written.
    """
    if not hasattr(tarfile, "data_filter"):
        raise VersionError("This Python cannot extract archives safely.", remedy="Use Python 3.11.4 or newer.")
    target.mkdir(exist_ok=True)
    hard_links: list[tarfile.TarInfo] = []
    symbolic_links: list[tarfile.TarInfo] = []
    try:
        with tarfile.open(fileobj=source, mode="r|", tarinfo=_Member, bufsize=PIECE_BYTES, errorlevel=1) as archive:  # type: ignore[call-overload]  # as above
            while (member := archive.next()) is not None:
                archive.members.clear()  # tarfile keeps them all otherwise
                if member.issym() or member.islnk():
                    (symbolic_links if member.issym() else hard_links).append(member)
                    _check(len(symbolic_links) + len(hard_links) <= MAX_LINKS, "has too many links")
                else:
                    archive.extract(member, target, filter="data")
            for link in hard_links + symbolic_links:
                _check(not _through_link(target, link.name), f"makes a link below a link: {link.name[:200]!r}")
                archive.extract(link, target, filter="data")
    except tarfile.TarError as error:
        raise FilesystemExecutionError(f"The sandbox sent an archive that was refused: {error}", remedy="Look at what is there.") from error


def _for_sandbox(member: tarfile.TarInfo) -> tarfile.TarInfo:
    if not (member.isfile() or member.isdir() or member.issym() or member.islnk()):
        raise OSError(f"{member.name!r} is neither a file, a directory nor a link")
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member


def _through_link(root: Path, name: str) -> bool:
    """Whether a directory on the way from ``root`` to ``name`` is a symbolic link."""
    path = root
    for part in Path(os.path.normpath(name.lstrip("/"))).parts[:-1]:
        path /= part
        try:
            if stat.S_ISLNK(path.lstat().st_mode):
                return True
        except OSError:
            return False  # not there yet, so not a link either
    return False


def _check(holds: bool, what: str) -> None:
    if not holds:
        raise tarfile.ReadError(what)


class _Member(tarfile.TarInfo):
    """A member whose headers are bounded. The methods are the ones that TarInfo's source names for overriding."""

    _EXTENDED: Final = (
        tarfile.XHDTYPE,
        tarfile.XGLTYPE,
        tarfile.SOLARIS_XHDTYPE,
        tarfile.GNUTYPE_LONGNAME,
        tarfile.GNUTYPE_LONGLINK,
    )

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        _check(self.type != tarfile.GNUTYPE_SPARSE, "has a sparse file")
        _check(self.type not in self._EXTENDED or self.size <= MAX_HEADER_BYTES, "has a header that is too large")
        return super()._proc_member(archive)  # type: ignore[misc,no-any-return]  # not in typeshed

    def _proc_gnusparse_10(self, *_: object) -> None:
        _check(False, "has a sparse file")
