"""One layer directory that is worth several: what a long chain of snapshots becomes, so that mounting it stays quick."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

from snapshots.layers.content import copy_content
from snapshots.layers.directories import Parts
from snapshots.layers.layer_writer import LayerWriter, Metadata
from snapshots.layers.merge import Found, Node, opened_stack, walk_merged
from snapshots.layers.overlay import read_attributes

_OPEN: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def flatten_layers(layers: Sequence[Path], into: Path, *, base: bool = False) -> None:
    """Merge ``layers``, the bottom first, into the empty directory ``into``; needs root and blocks while it copies.

    What lies below the layers shows through the result exactly as through them. Content is shared with the layers where the file system
    can (reflink), holes stay, and names that were hard links of one file in one layer still are.

    Args:    base: nothing will lie below; whiteouts and opaque marks are left out.
    Raises:  FileExistsError: ``into`` is not empty. InvalidError: a directory is no whole layer. OSError.
    """
    if next(into.iterdir(), None) is not None:
        raise FileExistsError(f"{into} is not empty")
    with contextlib.ExitStack() as stack:
        root = stack.enter_context(opened_stack(layers))
        target = os.open(into, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        stack.callback(os.close, target)
        flattener = _Flattener(LayerWriter(target), base=base)
        finished = False
        try:
            for node in walk_merged(root):
                flattener.add(node)
            finished = True
        finally:
            flattener.writer.close(finished=finished)


class _Flattener:
    def __init__(self, writer: LayerWriter, *, base: bool) -> None:
        self.writer = writer
        self._base = base
        self._links: dict[tuple[int, int], Parts] = {}
        """Files of several names to the first that was written."""

    def add(self, node: Node) -> None:
        status = node.found.status
        key = (status.st_dev, status.st_ino)
        if node.found.is_whiteout:
            if not (self._base or (node.above and node.above.hides_below)):
                self.writer.whiteout(node.parts)
        elif node.directory is not None:
            self._add_directory(node, node.directory.fds[0])
        elif key in self._links:
            self.writer.hard_link(node.parts, self._links[key])
        else:
            self._add_other(node.parts, node.found)
            if status.st_nlink > 1:
                self._links[key] = node.parts

    def _add_directory(self, node: Node, fd: int) -> None:
        self.writer.directory(node.parts, _metadata(node.found.status, fd))
        newly_hidden = node.directory and node.directory.hides_below and node.above and not node.above.hides_below
        if newly_hidden and not self._base:
            self.writer.opaque(node.parts)

    def _add_other(self, parts: Parts, found: Found) -> None:
        status = found.status
        if stat.S_ISREG(status.st_mode):
            fd = os.open(found.name, _OPEN, dir_fd=found.parent)
            try:
                self.writer.file(parts, _metadata(status, fd), partial(copy_content, fd))
            finally:
                os.close(fd)
        elif stat.S_ISLNK(status.st_mode):
            self.writer.symlink(parts, _metadata(status), os.readlink(found.name, dir_fd=found.parent))
        else:
            self.writer.node(parts, _metadata(status), status.st_rdev)


def _metadata(status: os.stat_result, fd: int | None = None) -> Metadata:
    """``fd``: of a file or directory, which may have extended attributes."""
    metadata = Metadata(status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns)
    return metadata if fd is None else metadata._replace(xattrs=read_attributes(fd))
