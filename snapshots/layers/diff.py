"""What differs between two stacks of layer directories, as a sandbox would see them. What they share is not even looked into."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Generator, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple

from snapshots.layers.content import same_content
from snapshots.layers.directories import Parts
from snapshots.layers.merge import Found, MergedDirectory, opened_stack, walk_below
from snapshots.layers.overlay import read_attributes

_OPEN: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Kind(StrEnum):
    """How a path changed."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    """Its content, where it leads, or what kind of file it is."""
    METADATA = "metadata"
    """Only mode, owner, extended attributes or mtime; of a directory the mtime does not count: it says what its entries say."""


class Change(NamedTuple):
    """One path that differs."""

    path: bytes
    """From the root, without a slash at either end; empty: the root itself."""
    kind: Kind


def diff_layers(old: Sequence[Path], new: Sequence[Path]) -> Generator[Change, None, None]:
    """What one would have to do to ``old`` to get ``new``, both the bottom first; blocks while it reads, and needs root.

    Sorted by the paths' components. Of what was added or removed every entry is told. Memory: the names in the directories on the way to
    one entry. The layers must not change meanwhile.

    Raises:  OSError.
    """
    with opened_stack(old) as before, opened_stack(new) as after:
        if _described(before.fds[0], os.fstat(before.fds[0])) != _described(after.fds[0], os.fstat(after.fds[0])):
            yield Change(b"", Kind.METADATA)
        yield from _differ(before, after)


def _differ(old: MergedDirectory, new: MergedDirectory) -> Iterator[Change]:
    """Compare what is in two directories of one path, and below. A stack, not recursion: a sandbox nests as deep as it likes."""
    stack = [_Pair(old, new, ())]
    try:
        while stack:
            pair = stack[-1]
            name = next(pair.names, None)
            if name is None:
                stack.pop()
                if stack:
                    pair.close()
                continue
            parts = (*pair.parts, name)
            before, after = pair.find(name)
            if before and after and before.is_directory and after.is_directory:
                if not _same(before, after):
                    yield Change(b"/".join(parts), Kind.METADATA)
                stack.append(pair.open(name))
            elif before or after:
                yield from _told(pair, parts, before, after)
    finally:
        for pair in stack[1:]:
            pair.close()


class _Pair:
    """Two directories of one path that are being compared."""

    def __init__(self, old: MergedDirectory, new: MergedDirectory, parts: Parts) -> None:
        self.old, self.new, self.parts = old, new, parts
        same = old.identity == new.identity
        self.names: Iterator[bytes] = iter(() if same else sorted({*old.names(), *new.names()}))

    def find(self, name: bytes) -> tuple[Found | None, Found | None]:
        """What each side shows under the name."""
        found = self.old.find(name), self.new.find(name)
        before, after = (None if side is None or side.is_whiteout else side for side in found)
        return before, after

    def open(self, name: bytes) -> _Pair:
        """The pair of directories under the name."""
        with contextlib.ExitStack() as stack:
            old = self.old.open_directory(name)
            stack.callback(old.close)
            new = self.new.open_directory(name)
            stack.callback(new.close)
            pair = _Pair(old, new, (*self.parts, name))
            stack.pop_all()
            return pair

    def close(self) -> None:
        self.old.close()
        self.new.close()


def _told(pair: _Pair, parts: Parts, before: Found | None, after: Found | None) -> Iterator[Change]:
    """Changes of one path that is not a directory on both sides, and of what is below on the one where it is."""
    path = b"/".join(parts)
    if before is None:
        yield Change(path, Kind.ADDED)
    elif after is None:
        yield Change(path, Kind.REMOVED)
    elif not _same_content(before, after):
        yield Change(path, Kind.CHANGED)
    elif not _same(before, after):
        yield Change(path, Kind.METADATA)
    if before and before.is_directory:
        yield from _all_below(pair.old, parts, Kind.REMOVED)
    if after and after.is_directory:
        yield from _all_below(pair.new, parts, Kind.ADDED)


def _all_below(above: MergedDirectory, parts: Parts, kind: Kind) -> Iterator[Change]:
    directory = above.open_directory(parts[-1])
    try:
        for node in walk_below(directory, parts):
            if not node.found.is_whiteout:
                yield Change(b"/".join(node.parts), kind)
    finally:
        directory.close()


def _same_content(before: Found, after: Found) -> bool:
    old, new = before.status, after.status
    if stat.S_IFMT(old.st_mode) != stat.S_IFMT(new.st_mode):
        return False
    if _is_one(before, after):
        return True
    if stat.S_ISLNK(old.st_mode):
        return os.readlink(before.name, dir_fd=before.parent) == os.readlink(after.name, dir_fd=after.parent)
    if stat.S_ISREG(old.st_mode):
        with _opened(before) as first, _opened(after) as second:
            return old.st_size == new.st_size and same_content(first, second)
    return old.st_rdev == new.st_rdev


def _same(before: Found, after: Found) -> bool:
    """Whether all but the content of two entries of one type is the same."""
    if _is_one(before, after):
        return True
    if not stat.S_ISREG(before.status.st_mode) and not before.is_directory:
        return _described(None, before.status) == _described(None, after.status)
    with _opened(before) as first, _opened(after) as second:
        return _described(first, before.status) == _described(second, after.status)


def _is_one(before: Found, after: Found) -> bool:
    return os.path.samestat(before.status, after.status)


def _described(fd: int | None, status: os.stat_result) -> tuple[object, ...]:
    mtime_ns = None if stat.S_ISDIR(status.st_mode) else status.st_mtime_ns
    return (status.st_mode, status.st_uid, status.st_gid, mtime_ns, {} if fd is None else read_attributes(fd))


@contextlib.contextmanager
def _opened(found: Found) -> Iterator[int]:
    fd = os.open(found.name, _OPEN, dir_fd=found.parent)
    try:
        yield fd
    finally:
        os.close(fd)
