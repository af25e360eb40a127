"""Makes the entries of a layer directory, with all their metadata. What it is told may come from an enemy; where it writes may not.

The directory must belong to the caller alone while this works. Of two entries of one name, the later wins.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from cove.exception import InvalidError
from snapshots.layers.directories import Directories, Parts, is_directory, make_over_whiteout, readable
from snapshots.layers.overlay import OPAQUE, WHITEOUT_DEVICE, belongs_to_layer, is_whiteout

_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_ID: Final = 2**32 - 2


class Metadata(NamedTuple):
    """What every kind of entry has. ``xattrs``: only files and directories keep them."""

    mode: int
    uid: int
    gid: int
    mtime_ns: int
    xattrs: Mapping[str, bytes] = MappingProxyType({})


Fill = Callable[[int], None]
"""Writes a file's content to a fresh descriptor."""


class LayerWriter:
    """Writes below the directory ``root``, a descriptor that stays the caller's. :meth:`close` sets the last mtimes."""

    def __init__(self, root: int) -> None:
        self._directories = Directories(root)
        self._sources = Directories(root, keep_mtimes=False)

    def close(self, *, finished: bool = True) -> None:
        """``finished``: all went well, so that the root's mtime is worth setting."""
        self._sources.close(finished=False)
        self._directories.close(finished=finished)

    def directory(self, parts: Parts, metadata: Metadata) -> None:
        """Make a directory, or give the one that is there this metadata. A whiteout there becomes the opaque mark."""
        if parts:
            parent, name = self._parent(parts)
            try:
                os.mkdir(name, 0o700, dir_fd=parent)
            except FileExistsError:
                if is_whiteout(os.stat(name, dir_fd=parent, follow_symlinks=False)):
                    os.close(make_over_whiteout(parent, name))
                elif not is_directory(parent, name):
                    os.unlink(name, dir_fd=parent)
                    os.mkdir(name, 0o700, dir_fd=parent)
        fd = self._directories.enter(parts, create=False)
        for stale in filter(belongs_to_layer, os.listxattr(fd)):
            os.removexattr(fd, stale)
        self._describe(fd, metadata)
        self._directories.set_mtime(metadata.mtime_ns)

    def opaque(self, parts: Parts) -> None:
        """Have the directory hide what lower layers have in it."""
        os.setxattr(self._directories.enter(parts, create=True), OPAQUE, b"y")

    def file(self, parts: Parts, metadata: Metadata, fill: Fill) -> None:
        """Make a regular file."""
        parent, name = self._parent(parts)
        try:
            fd = os.open(name, _CREATE, 0o600, dir_fd=parent)
        except FileExistsError:
            self._clear(parent, name)
            fd = os.open(name, _CREATE, 0o600, dir_fd=parent)
        try:
            fill(fd)
            self._describe(fd, metadata)
            os.utime(fd, ns=(metadata.mtime_ns, metadata.mtime_ns))
        finally:
            os.close(fd)

    def symlink(self, parts: Parts, metadata: Metadata, target: bytes) -> None:
        """Make a symbolic link; its mode is the kernel's affair."""
        parent, name = self._vacant(parts)
        if not target:
            raise InvalidError(f"The symbolic link {readable(parts)} leads nowhere.")
        os.symlink(target, name, dir_fd=parent)
        os.chown(name, *_owner(metadata), dir_fd=parent, follow_symlinks=False)
        os.utime(name, ns=(metadata.mtime_ns, metadata.mtime_ns), dir_fd=parent, follow_symlinks=False)

    def node(self, parts: Parts, metadata: Metadata, device: int = 0) -> None:
        """Make a FIFO or a device; ``metadata.mode`` has the type bits."""
        parent, name = self._vacant(parts)
        os.mknod(name, metadata.mode, device, dir_fd=parent)
        os.chown(name, *_owner(metadata), dir_fd=parent, follow_symlinks=False)
        os.chmod(name, stat.S_IMODE(metadata.mode), dir_fd=parent)
        os.utime(name, ns=(metadata.mtime_ns, metadata.mtime_ns), dir_fd=parent, follow_symlinks=False)

    def hard_link(self, parts: Parts, target: Parts) -> None:
        """Give an entry written earlier another name.

        Raises:  InvalidError: there is none, or it cannot have another.
        """
        if parts == target:
            raise InvalidError(f"{readable(parts)} is a hard link to itself.")
        parent, name = self._vacant(parts)
        try:
            source = self._sources.enter(target[:-1], create=False)
            status = os.stat(target[-1], dir_fd=source, follow_symlinks=False) if target else None
        except FileNotFoundError:
            status = None
        if status is None or is_whiteout(status) or stat.S_ISDIR(status.st_mode):
            raise InvalidError(f"{readable(parts)} is a hard link to {readable(target)}, which is no file before it.")
        os.link(target[-1], name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)

    def whiteout(self, parts: Parts) -> None:
        """Hide what lower layers have of this name; what this layer has of it stays."""
        parent, name = self._parent(parts)
        try:
            os.mknod(name, stat.S_IFCHR, WHITEOUT_DEVICE, dir_fd=parent)
        except FileExistsError:
            if is_directory(parent, name):
                self.opaque(parts)

    def _describe(self, fd: int, metadata: Metadata) -> None:
        """Owner first: a change of owner takes setuid bits and capabilities away."""
        os.fchown(fd, *_owner(metadata))
        os.fchmod(fd, stat.S_IMODE(metadata.mode))
        for attribute, value in metadata.xattrs.items():
            os.setxattr(fd, attribute, value)

    def _parent(self, parts: Parts) -> tuple[int, bytes]:
        if not parts:
            raise InvalidError("The root of a layer can only be a directory.")
        return self._directories.enter(parts[:-1], create=True), parts[-1]

    def _vacant(self, parts: Parts) -> tuple[int, bytes]:
        """The parent of a name that nothing has, any more."""
        parent, name = self._parent(parts)
        self._clear(parent, name)
        return parent, name

    def _clear(self, parent: int, name: bytes) -> None:
        """Remove what has the name. Raises: InvalidError: a directory with something in it."""
        try:
            os.unlink(name, dir_fd=parent)
        except FileNotFoundError:
            return
        except IsADirectoryError:
            try:
                os.rmdir(name, dir_fd=parent)
            except OSError as error:
                raise InvalidError(f"{readable((name,))} comes after the directory of that name, which is not empty.") from error
            self._sources.leave_all()


def _owner(metadata: Metadata) -> tuple[int, int]:
    """Raises: InvalidError: numbers that no file can have."""
    if not (0 <= metadata.uid <= _MAX_ID and 0 <= metadata.gid <= _MAX_ID):
        raise InvalidError(f"A file has the owner {metadata.uid}:{metadata.gid}, which cannot be.")
    return metadata.uid, metadata.gid
