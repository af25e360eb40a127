"""Layer directories seen as one tree, as overlayfs would show them; nothing is mounted. What is hidden stays visible to who asks.

The directories must not change meanwhile. A layer's root hides nothing, whatever its attributes say: overlayfs does not look there.
Source: kernel documentation, filesystems/overlayfs.rst, "Merged directories".
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from snapshots.layers.directories import OPEN_DIRECTORY, Parts, list_names
from snapshots.layers.overlay import is_opaque, is_whiteout


class MergedDirectory:
    """Directories of one name in several layers, the topmost first. Owns their descriptors until :meth:`close`."""

    def __init__(self, fds: Sequence[int], *, hides_below: bool) -> None:
        """``hides_below``: nothing of further layers would show in it."""
        self.fds = tuple(fds)
        self.hides_below = hides_below
        self._listings = [list_names(fd) for fd in self.fds]

    @property
    def identity(self) -> tuple[tuple[int, int], ...]:
        """The same for two that show the same, whatever stacks they are of."""
        statuses = map(os.fstat, self.fds)
        return tuple((status.st_dev, status.st_ino) for status in statuses)

    def names(self) -> list[bytes]:
        """All names in order, those of whiteouts too."""
        return sorted(frozenset().union(*self._listings))

    def find(self, name: bytes) -> Found | None:
        """The topmost entry of this name, perhaps a whiteout."""
        for fd, listing in zip(self.fds, self._listings, strict=True):
            if name in listing:
                return Found(name, fd, os.stat(name, dir_fd=fd, follow_symlinks=False))
        return None

    def open_directory(self, name: bytes) -> MergedDirectory:
        """The merged directory ``name``, whose topmost entry is a directory."""
        fds: list[int] = []
        hides = self.hides_below
        try:
            for fd, listing in zip(self.fds, self._listings, strict=True):
                if name not in listing:
                    continue
                if not stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
                    hides = True
                    break
                fds.append(os.open(name, OPEN_DIRECTORY, dir_fd=fd))
                if is_opaque(fds[-1]):
                    hides = True
                    break
            return MergedDirectory(fds, hides_below=hides)
        except BaseException:
            _close(fds)
            raise

    def close(self) -> None:
        _close(self.fds)


class Found(NamedTuple):
    """An entry of a merged directory."""

    name: bytes
    parent: int
    """Descriptor of the layer's directory that has it."""
    status: os.stat_result

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def is_whiteout(self) -> bool:
        return is_whiteout(self.status)


class Node(NamedTuple):
    """One step of :func:`walk_merged`."""

    parts: Parts
    found: Found
    above: MergedDirectory | None
    """The directory that it is in; None for the root."""
    directory: MergedDirectory | None
    """Itself, where it is one; good until the walk goes on."""


@contextlib.contextmanager
def opened_stack(layers: Sequence[Path]) -> Iterator[MergedDirectory]:
    """The root of ``layers``, the bottom first, during the block."""
    fds: list[int] = []
    try:
        for layer in reversed(layers):
            fds.append(os.open(layer, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        yield MergedDirectory(fds, hides_below=False)
    finally:
        _close(fds)


def walk_merged(root: MergedDirectory) -> Iterator[Node]:
    """Everything that ``root`` shows, and the whiteouts that count: a directory before what is in it, names in order.

    ``root`` must have a layer, and stays the caller's.
    """
    yield Node((), Found(b"", root.fds[0], os.fstat(root.fds[0])), None, root)
    yield from walk_below(root, ())


def walk_below(top: MergedDirectory, parts: Parts) -> Iterator[Node]:
    """What is in ``top``, which is at ``parts``, and below."""
    stack: list[tuple[MergedDirectory, Parts, Iterator[bytes]]] = [(top, parts, iter(top.names()))]
    try:
        while stack:
            above, here, names = stack[-1]
            name = next(names, None)
            if name is None:
                stack.pop()
                if stack:
                    above.close()
                continue
            if (found := above.find(name)) is None:
                continue
            directory = above.open_directory(name) if found.is_directory else None
            if directory is not None:
                stack.append((directory, (*here, name), iter(directory.names())))
            yield Node((*here, name), found, above, directory)
    finally:
        for directory, _, _ in stack[1:]:
            directory.close()


def _close(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)
