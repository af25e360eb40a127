"""What tests say about trees: everything that must survive, and overlayfs's merging written down a second time, as naively as can be."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

OPAQUE = "trusted.overlay.opaque"


class Facts(NamedTuple):
    """All that is to be kept of one entry."""

    kind: str
    mode: int
    owner: tuple[int, int]
    mtime_ns: int
    content: object
    """Of a file its bytes, extents and size; of a link its target; of a device its number."""
    xattrs: tuple[tuple[str, bytes], ...]
    first_name: bytes
    """The first of its hard links, in order of names."""


Tree = Mapping[bytes, Facts]


class Layer(NamedTuple):
    """A layer directory, read."""

    entries: Tree
    whiteouts: frozenset[bytes]
    opaque: frozenset[bytes]


def read_layer(root: Path) -> Layer:
    """Everything in the directory ``root``, by path from it."""
    entries: dict[bytes, Facts] = {}
    firsts: dict[int, bytes] = {}
    whiteouts, opaque = set(), set()
    for full in sorted([root, *_walk(root)], key=lambda path: [os.fsencode(part) for part in path.parts]):
        path = b"/".join(os.fsencode(part) for part in full.relative_to(root).parts)
        status = full.lstat()
        if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
            whiteouts.add(path)
            continue
        names = os.listxattr(full, follow_symlinks=False)
        if OPAQUE in names:
            opaque.add(path)
        kept = sorted(name for name in names if name.startswith("user.") or name == "security.capability")
        entries[path] = Facts(
            kind=stat.filemode(status.st_mode)[0],
            mode=stat.S_IMODE(status.st_mode),
            owner=(status.st_uid, status.st_gid),
            mtime_ns=status.st_mtime_ns,
            content=_content(full, status),
            xattrs=tuple((name, os.getxattr(full, name, follow_symlinks=False)) for name in kept),
            first_name=firsts.setdefault(status.st_ino, path),
        )
    return Layer(entries, frozenset(whiteouts), frozenset(opaque))


def read_tree(root: Path) -> Tree:
    """What a mounted tree shows."""
    return read_layer(root).entries


def merge(layers: Sequence[Layer]) -> dict[bytes, Facts]:
    """What overlayfs shows of ``layers``, the bottom first; without hard links, which it may break apart."""
    shown: dict[bytes, Facts] = {}
    for layer in layers:
        for path in sorted(layer.whiteouts | layer.opaque):
            for hidden in [name for name in shown if name.startswith(path + b"/") or (name == path and path in layer.whiteouts)]:
                del shown[hidden]
        for path, facts in layer.entries.items():
            if path in shown and (shown[path].kind == "d") != (facts.kind == "d"):
                for hidden in [name for name in shown if name.startswith(path + b"/")]:
                    del shown[hidden]
            shown[path] = facts._replace(first_name=b"")
    return shown


def without_links(tree: Tree) -> dict[bytes, Facts]:
    """``tree`` for comparison with :func:`merge`."""
    return {path: facts._replace(first_name=b"") for path, facts in tree.items()}


def _walk(directory: Path) -> Iterator[Path]:
    for path in directory.iterdir():
        yield path
        if not path.is_symlink() and path.is_dir():
            yield from _walk(path)


def _content(path: Path, status: os.stat_result) -> object:
    if stat.S_ISLNK(status.st_mode):
        return str(path.readlink())
    if stat.S_ISREG(status.st_mode):
        return (status.st_size, tuple(_extents(path, status.st_size)))
    return status.st_rdev if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode) else None


def _extents(path: Path, size: int) -> Iterator[tuple[int, bytes]]:
    """Data with their offsets; what is between is hole."""
    with path.open("rb") as file:
        end = 0
        while end < size:
            try:
                start = os.lseek(file.fileno(), end, os.SEEK_DATA)
            except OSError:
                return
            end = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            yield start, os.pread(file.fileno(), end - start, start)
