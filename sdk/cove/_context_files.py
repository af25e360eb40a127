"""What lies below a local directory, as far as it is not ignored. Synchronous: runs in a thread."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cove.dockerfile.copy_rules import FileKind
from cove.exception import InvalidError, RequestSizeError
from cove.file_pattern_matcher import AbstractPatternMatcher

MAX_FILES: Final = 1_000_000

Ignore = Callable[[Path], bool]
"""Says of a relative path whether to leave it out."""


@dataclass(frozen=True, slots=True)
class ContextFile:
    """A file, directory or symbolic link below the root.

    Attributes:
        path: relative to the root, with slashes.
        mode: permissions.
        size_bytes: of a file; else 0.
        link_target: where a link leads, as it says; None for everything else.
    """

    path: str
    kind: FileKind
    mode: int
    size_bytes: int = 0
    link_target: str | None = None


def walk_directory(root: Path, ignore: Ignore, *, max_files: int = MAX_FILES) -> Iterator[ContextFile]:
    """What lies below ``root``, sorted within each directory, directories before what they contain. Links are not followed.
    Sockets, pipes and devices are left out.

    A directory that is ignored, and yet has something in it that is not, comes along.

    Raises:
        InvalidError: something cannot be read, or its name is not UTF-8, or ``root`` is no directory.
        RequestSizeError: more than ``max_files``.
    """
    stack = [_listed(root, "")]
    pending: list[ContextFile] = []  # ignored directories on the way to where we are, not given out yet
    count = 0
    while stack:
        if not stack[-1]:
            stack.pop()
            continue
        found = _look(root, stack[-1].pop())
        if found is None:
            continue
        ignored = ignore(Path(found.path))
        stack.append(_below(root, found, ignore if ignored else None))
        pending = [directory for directory in pending if found.path.startswith(f"{directory.path}/")]
        if ignored:
            pending += [found] if found.kind is FileKind.DIRECTORY else []
            continue
        yield from pending
        yield _readable(root, found)
        count += len(pending) + 1
        if count > max_files:
            raise RequestSizeError(f"There are more than {max_files} files in {root}.", remedy="Ignore what is not needed.")
        pending = []


def _below(root: Path, found: ContextFile, ignored_by: Ignore | None) -> list[str]:
    """What to look at in ``found``. An ignored directory can hold exceptions, unless its matcher says that there are none."""
    if found.kind is not FileKind.DIRECTORY:
        return []
    if isinstance(ignored_by, AbstractPatternMatcher) and ignored_by.can_prune_directories():
        return []
    try:
        return _listed(root, found.path)
    except InvalidError:
        if ignored_by is None:
            raise
        return []


def _listed(root: Path, directory: str) -> list[str]:
    """Relative paths of what is in ``directory``, last name first."""
    try:
        names = sorted((entry.name for entry in (root / directory).iterdir()), reverse=True)
    except OSError as error:
        raise _unreadable(root / directory, error) from error
    return [f"{directory}/{name}" if directory else name for name in names]


def _look(root: Path, path: str) -> ContextFile | None:
    """What is at ``path``; None for what is left out."""
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise InvalidError(f"The name {path!r} below {root} is not UTF-8.", remedy="Rename it.") from error
    try:
        found = (root / path).lstat()
        mode = stat.S_IMODE(found.st_mode)
        if stat.S_ISLNK(found.st_mode):
            return ContextFile(path, FileKind.LINK, mode, link_target=os.fspath((root / path).readlink()))
    except OSError as error:
        raise _unreadable(root / path, error) from error
    if stat.S_ISDIR(found.st_mode):
        return ContextFile(path, FileKind.DIRECTORY, mode)
    return ContextFile(path, FileKind.FILE, mode, found.st_size) if stat.S_ISREG(found.st_mode) else None


def _readable(root: Path, found: ContextFile) -> ContextFile:
    """``found``, of which the content can be read later: better to know before the upload begins."""
    if found.kind is FileKind.FILE and not os.access(root / found.path, os.R_OK):
        raise _unreadable(root / found.path, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))
    return found


def _unreadable(path: Path, error: OSError) -> InvalidError:
    remedies = {errno.EACCES: "Change its permissions, or ignore it.", errno.ENOENT: "Check the path; files must not change meanwhile."}
    return InvalidError(f"{path} cannot be read: {error.strerror}.", remedy=remedies.get(error.errno or 0, "Check the path, or ignore it."))
