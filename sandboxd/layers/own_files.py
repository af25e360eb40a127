"""What the node itself put into a sandbox is not the sandbox's, though a program that touches it has overlayfs copy it up."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

OWN_DIRECTORY: Final = ".cove"
"""Below the root; all in it is the node's."""

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def remove_own_files(changes: Path, own: Sequence[Path]) -> None:
    """Remove from a sandbox's changes the node's directory, and copies of files in ``own`` that nobody changed. Blocks; milliseconds.

    No link in ``changes``, which are a stranger's, is followed.

    Args:    own: directories between the sandbox's image and its changes. Raises: OSError.
    """
    with _opened(changes, ()) as root:
        if root is not None:
            with _same_times(root):
                _remove_tree(root, OWN_DIRECTORY)
    for top in own:
        for directory, _, names in os.walk(top):
            parts = Path(directory).relative_to(top).parts
            with _opened(changes, parts) as fd:
                if fd is not None:
                    _remove_copies(fd, Path(directory), names)


def _remove_copies(fd: int, own: Path, names: Sequence[str]) -> None:
    with _same_times(fd):
        for name in names:
            if _content(fd, name, (own / name).stat().st_size) == (own / name).read_bytes():
                os.unlink(name, dir_fd=fd)


def _content(directory: int, name: str, size_bytes: int) -> bytes | None:
    """What is in a regular file of this size; None: there is none."""
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if not stat.S_ISREG(status.st_mode) or status.st_size != size_bytes:
            return None
        with open(os.open(name, _FILE, dir_fd=directory), "rb") as file:
            return file.read(size_bytes + 1)
    except FileNotFoundError:
        return None


def _remove_tree(directory: int, name: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            shutil.rmtree(name, dir_fd=directory)
        else:
            os.unlink(name, dir_fd=directory)


@contextlib.contextmanager
def _opened(top: Path, parts: Sequence[str]) -> Iterator[int | None]:
    """A directory below ``top``, reached without following a link; None: there is none."""
    with contextlib.ExitStack() as stack:
        fd = os.open(top, _DIRECTORY)
        stack.callback(os.close, fd)
        for part in parts:
            try:
                fd = os.open(part, _DIRECTORY, dir_fd=fd)
            except OSError:  # not there, a link, or anything else
                yield None
                return
            stack.callback(os.close, fd)
        yield fd


@contextlib.contextmanager
def _same_times(directory: int) -> Iterator[None]:
    """What the block removes does not show in the directory's times."""
    status = os.fstat(directory)
    try:
        yield
    finally:
        os.utime(directory, ns=(status.st_atime_ns, status.st_mtime_ns))
