"""Walks a layer directory that a sandbox made, by descriptors and in an order that depends on names alone.

Whoever walks must not see two states of the tree: what changes meanwhile ends the walk.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import Final, NamedTuple, NoReturn

from cove.exception import ConflictError, InvalidError
from snapshots.layers.directories import OPEN_DIRECTORY, Parts, list_names, readable
from snapshots.layers.limits import MAX_DEPTH, MAX_PATH_BYTES

_OPEN_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOATIME | os.O_CLOEXEC


class Entry(NamedTuple):
    """One entry of a directory, as the walk found it."""

    parts: Parts
    parent: int
    """Descriptor of the directory that it is in; good until the walk goes on."""
    status: os.stat_result
    fd: int = -1
    """Descriptor of a directory, good until the walk goes on; others have none."""

    @property
    def name(self) -> bytes:
        return self.parts[-1]


class _Open(NamedTuple):
    entry: Entry
    names: Iterator[bytes]


def walk(root: int) -> Iterator[Entry]:
    """All of the tree below the descriptor ``root``, the root first, each directory before what is in it, names sorted as bytes.

    Raises:  ConflictError: the tree changed. InvalidError: it is too deep, or goes on in another file system.
    """
    status = os.fstat(root)
    top = Entry((), root, status, root)
    yield top
    stack = [_Open(top, _names(root))]
    try:
        while stack:
            current = stack[-1].entry
            name = next(stack[-1].names, None)
            if name is None:
                check_unchanged(current.fd, current)
                stack.pop()
                _close(current)
                continue
            entry = _entry(current, name, status.st_dev)
            if entry.fd >= 0:
                stack.append(_Open(entry, _names(entry.fd)))
            yield entry
    finally:
        for opened in stack:
            _close(opened.entry)


def open_file(entry: Entry) -> int:
    """A descriptor of the regular file ``entry``. Raises: ConflictError: it is no more what it was."""
    try:
        fd = os.open(entry.name, _OPEN_FILE, dir_fd=entry.parent)
    except OSError as error:
        _changed(entry.parts, error)
    try:
        check_unchanged(fd, entry)
    except BaseException:
        os.close(fd)
        raise
    return fd


def check_unchanged(fd: int, entry: Entry) -> None:
    """Raises: ConflictError: ``fd`` is not what ``entry`` was, or has changed since."""
    if _identity(os.fstat(fd)) != _identity(entry.status):
        _changed(entry.parts)


def read_link(entry: Entry) -> bytes:
    """Where the symbolic link ``entry`` leads. Raises: ConflictError: it is none any more."""
    try:
        return os.readlink(entry.name, dir_fd=entry.parent)
    except OSError as error:
        _changed(entry.parts, error)


def _entry(directory: Entry, name: bytes, device: int) -> Entry:
    parts = (*directory.parts, name)
    if len(parts) > MAX_DEPTH or sum(map(len, parts)) + len(parts) > MAX_PATH_BYTES:
        raise InvalidError(f"{readable(parts)} is too deep in the tree: {MAX_DEPTH} directories and {MAX_PATH_BYTES} bytes are the most.")
    try:
        status = os.stat(name, dir_fd=directory.fd, follow_symlinks=False)
        if status.st_dev != device:
            raise InvalidError(f"{readable(parts)} is on another file system than the layer.")
        entry = Entry(parts, directory.fd, status)
        if not stat.S_ISDIR(status.st_mode):
            return entry
        entry = entry._replace(fd=os.open(name, OPEN_DIRECTORY | os.O_NOATIME, dir_fd=directory.fd))
    except OSError as error:
        _changed(parts, error)
    try:
        check_unchanged(entry.fd, entry)
    except BaseException:
        os.close(entry.fd)
        raise
    return entry


def _names(fd: int) -> Iterator[bytes]:
    return iter(sorted(list_names(fd)))


def _close(entry: Entry) -> None:
    if entry.parts:
        os.close(entry.fd)


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_dev, status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _changed(parts: Parts, error: OSError | None = None) -> NoReturn:
    remedy = "Pause what writes to it, or use a copy."
    raise ConflictError(f"{readable(parts)} changed while the layer was read.", remedy=remedy, retryable=True) from error
