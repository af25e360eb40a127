"""Local files for a step's context: single ones, trees, and those that a Dockerfile names. Synchronous, for threads.

What looks at directories is loaded on first use: every program that makes a sandbox imports this module, and few copy anything.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cove._image.recipe import LocalFile
from cove.dockerfile.globs import has_magic
from cove.exception import InvalidError, NotFoundError
from cove.file_pattern_matcher import AbstractPatternMatcher, FilePatternMatcher

if TYPE_CHECKING:
    from cove._context_files import ContextFile

Ignore = Callable[[Path], bool]
"""Says of a relative path whether to leave it out."""

IgnoreArgument = Sequence[str] | Callable[[Path], bool]
"""What users pass as ``ignore=``: patterns as in ``.dockerignore``, or a predicate over relative paths."""

WHOLE: Final = "."
"""The source that is all of a context."""

NOTHING_IGNORED: Final = FilePatternMatcher()


def matcher(ignore: IgnoreArgument) -> Ignore:
    """The predicate that ``ignore`` means.

    Raises:  InvalidError: neither patterns nor a predicate.
    """
    if callable(ignore):
        return ignore
    if isinstance(ignore, str) or not all(isinstance(pattern, str) for pattern in ignore):
        raise InvalidError("ignore= is a list of patterns or a predicate over paths.", remedy='Write ignore=["*.log"] for one pattern.')
    return FilePatternMatcher(*ignore)


def local_path(path: str | os.PathLike[str]) -> Path:
    """Where ``path`` is now, whatever the working directory will be later; ``~`` is the user's home."""
    return Path(path).expanduser().absolute()


def file(path: str, local: Path) -> LocalFile:
    """The file ``local`` (of a link: what it leads to) as ``path`` in the context.

    Raises:
        NotFoundError: there is no such file.
        InvalidError: it is no regular file.
    """
    try:
        found = local.stat()
    except OSError as error:
        raise NotFoundError(f"{local} cannot be added: {error.strerror}.", remedy="Check the path.") from error
    if not stat.S_ISREG(found.st_mode):
        raise InvalidError(f"{local} is not a regular file.", remedy="Directories are added with add_local_dir.")
    return LocalFile(path, local, found.st_mode)


def tree(path: str, root: Path, ignore: Ignore) -> list[LocalFile]:
    """The directory ``root`` and everything in it that is not ignored, as ``path`` in the context.

    Raises:
        NotFoundError: there is no such directory.
        InvalidError: something in it cannot be read.
    """
    from cove._context_files import walk_directory

    if not root.is_dir():
        raise NotFoundError(f"{root} is not a directory.", remedy="Check the path; single files are added with add_local_file.")
    top = LocalFile(path, root, root.stat().st_mode)
    return [top, *(_placed(found, f"{path}/{found.path}", root) for found in walk_directory(root, resolving(ignore, root)))]


def selected(root: Path, sources: Iterable[str], ignore: Ignore) -> list[LocalFile]:
    """What the ``sources`` of a plan mean below ``root``, sorted. Only directories that can have some of it are looked into."""
    from cove.dockerfile.selection import Selection

    wanted = set(sources)
    selection = Selection(wanted)
    found: dict[str, LocalFile] = {}
    for start in {_literal_part(source) for source in wanted}:
        for item in _below(root, start, ignore):
            if selection.selects(item.path):
                found[item.path] = item
    return [found[path] for path in sorted(found)]


def _literal_part(source: str) -> str:
    """The part of a glob up to the first component with a wildcard; ``.`` if that is nothing."""
    literal: list[str] = []
    for part in source.split("/"):
        if has_magic(part):
            break
        literal.append(part)
    return "/".join(literal) or WHOLE


def _below(root: Path, start: str, ignore: Ignore) -> Iterator[LocalFile]:
    """``start`` itself, and everything in it if it is a directory, as far as it is not ignored. Nothing if it does not exist."""
    from cove._context_files import walk_directory

    here = root if start == WHOLE else root / start
    try:
        found = here.lstat()
    except OSError:
        return  # the builder tells which source there is none of, with the line
    ignored = start != WHOLE and resolving(ignore, root)(Path(start))
    if stat.S_ISDIR(found.st_mode):
        inside = [_placed(item, _joined(start, item.path), here) for item in walk_directory(here, _shifted(ignore, root, start))]
        if start != WHOLE and (inside or not ignored):
            yield LocalFile(start, here, found.st_mode)
        yield from inside
    elif ignored:
        return
    elif stat.S_ISLNK(found.st_mode):
        yield LocalFile(start, here, found.st_mode, os.fspath(here.readlink()))
    elif stat.S_ISREG(found.st_mode):
        yield LocalFile(start, here, found.st_mode)


def _placed(found: ContextFile, path: str, root: Path) -> LocalFile:
    kind = {"file": stat.S_IFREG, "directory": stat.S_IFDIR, "link": stat.S_IFLNK}[found.kind]
    return LocalFile(path, root / found.path, kind | found.mode, found.link_target or "")


def _joined(start: str, path: str) -> str:
    return path if start == WHOLE else f"{start}/{path}"


class _Shifted(AbstractPatternMatcher):
    """A predicate over paths below ``start``, for paths relative to ``start``."""

    def __init__(self, ignore: Ignore, start: str) -> None:
        self._ignore = ignore
        self._start = start

    def __call__(self, path: Path) -> bool:
        return self._ignore(Path(_joined(self._start, path.as_posix())))

    def can_prune_directories(self) -> bool:
        return isinstance(self._ignore, AbstractPatternMatcher) and self._ignore.can_prune_directories()


def _shifted(ignore: Ignore, root: Path, start: str) -> Ignore:
    return _Shifted(resolving(ignore, root), start)


class _Relative(type(Path())):  # type: ignore[misc]  # mypy knows no base that is computed; Path itself cannot be derived from in 3.11
    """A relative path that can nevertheless be looked at (``path.stat().st_size``), wherever the working directory is."""

    context_root: Path | None = None
    """Paths derived from this one have none."""

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """Of the file below the root."""
        return Path(self.context_root or "", self).stat(follow_symlinks=follow_symlinks)


def resolving(ignore: Ignore, root: Path) -> Ignore:
    """``ignore`` with paths that know their root, where it is the user's own function."""
    if isinstance(ignore, AbstractPatternMatcher):
        return ignore

    def ignores(path: Path) -> bool:
        relative = _Relative(path)
        relative.context_root = root
        return bool(ignore(relative))

    return ignores
