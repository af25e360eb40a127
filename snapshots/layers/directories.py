"""Ways into a tree by directory descriptors: no step ever follows a link, whoever made the tree and whatever it becomes meanwhile."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from itertools import takewhile
from typing import Final, NamedTuple

from cove.exception import InvalidError
from snapshots.layers.limits import MAX_DEPTH
from snapshots.layers.overlay import OPAQUE, is_whiteout

OPEN_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NOT_A_DIRECTORY: Final = frozenset({errno.ENOTDIR, errno.ELOOP})

Parts = tuple[bytes, ...]
"""The names on the way from the root; empty: the root itself."""


class _Step(NamedTuple):
    fd: int
    mtime_ns: int
    """What the directory's mtime is to be, whatever is put into it."""


class Directories:
    """The directory being worked in, with all above it held open: neighbours in an archive mostly share it.

    A directory's mtime is set back when it is left, so that what was put into it does not show; nothing is remembered of it afterwards.
    """

    def __init__(self, root: int, *, keep_mtimes: bool = True) -> None:
        """``root``: stays the caller's. ``keep_mtimes``: False for one that only looks, lest it set back what another one set."""
        self._keep_mtimes = keep_mtimes
        self._root = _Step(root, os.fstat(root).st_mtime_ns)
        self._steps: list[_Step] = []
        self._parts: Parts = ()

    def enter(self, parts: Parts, *, create: bool) -> int:
        """A descriptor of the directory ``parts``, good until the next call.

        With ``create``, what is missing on the way is made, and a whiteout becomes a directory that hides what the whiteout hid.
        Raises:  InvalidError: something on the way is no directory, or it is too long. FileNotFoundError.
        """
        if parts == self._parts:
            return self._last.fd
        if len(parts) > MAX_DEPTH:
            raise InvalidError(f"There is a directory below more than {MAX_DEPTH} others.")
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(self._parts, parts, strict=False)))
        self._leave(same)
        for name in parts[same:]:
            fd = self._open(name, create=create)
            self._steps.append(_Step(fd, os.fstat(fd).st_mtime_ns))
            self._parts = (*self._parts, name)
        return self._last.fd

    def set_mtime(self, mtime_ns: int) -> None:
        """Give the directory last entered this mtime in the end."""
        if self._steps:
            self._steps[-1] = self._steps[-1]._replace(mtime_ns=mtime_ns)
        else:
            self._root = self._root._replace(mtime_ns=mtime_ns)

    def leave_all(self) -> None:
        """Close everything but the root."""
        self._leave(0)

    def close(self, *, finished: bool = True) -> None:
        """Leave the root, too. ``finished``: its mtime is worth setting."""
        self._leave(0)
        if finished:
            _set_mtime(self._root)

    @property
    def _last(self) -> _Step:
        return self._steps[-1] if self._steps else self._root

    def _leave(self, depth: int) -> None:
        self._parts = self._parts[:depth]
        while len(self._steps) > depth:
            step = self._steps.pop()
            try:
                if self._keep_mtimes:
                    _set_mtime(step)
            finally:
                os.close(step.fd)

    def _open(self, name: bytes, *, create: bool) -> int:
        parent = self._last.fd
        try:
            return os.open(name, OPEN_DIRECTORY, dir_fd=parent)
        except FileNotFoundError:
            if not create:
                raise
            os.mkdir(name, 0o755, dir_fd=parent)
            return os.open(name, OPEN_DIRECTORY, dir_fd=parent)
        except OSError as error:
            if error.errno not in _NOT_A_DIRECTORY:
                raise
            if create and is_whiteout(os.stat(name, dir_fd=parent, follow_symlinks=False)):
                return make_over_whiteout(parent, name)
            raise InvalidError(f"{ascii(name)[1:]} is on the way to a file, but it is no directory.") from error


def make_over_whiteout(parent: int, name: bytes) -> int:
    """Replace a whiteout by an opaque directory. Returns: its descriptor."""
    os.unlink(name, dir_fd=parent)
    os.mkdir(name, 0o755, dir_fd=parent)
    fd = os.open(name, OPEN_DIRECTORY, dir_fd=parent)
    try:
        os.setxattr(fd, OPAQUE, b"y")
    except BaseException:
        os.close(fd)
        raise
    return fd


def is_directory(parent: int, name: bytes) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)


def list_names(fd: int) -> frozenset[bytes]:
    """All names in the directory ``fd``, bytes as they are."""
    return frozenset(os.fsencode(name) for name in os.listdir(fd))


def clean_parts(path: bytes) -> Parts:
    """The steps of a name in an archive: relative to the root, ``..`` taken back by name alone, never above the root."""
    parts: list[bytes] = []
    for part in path.split(b"/"):
        if part == b"..":
            del parts[-1:]
        elif part not in (b"", b"."):
            parts.append(part)
    return tuple(parts)


def readable(parts: Sequence[bytes]) -> str:
    """A name for messages: ASCII, and cut."""
    return ascii(b"/".join(parts)[:200])[2:-1] or "/"


def _set_mtime(step: _Step) -> None:
    os.utime(step.fd, ns=(step.mtime_ns, step.mtime_ns))
