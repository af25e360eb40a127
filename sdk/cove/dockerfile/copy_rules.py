"""What COPY and ADD do: from sources, destination and what there is, to which file goes where. Pure.

Source: Dockerfile reference, "COPY": "Source", "Destination", ``--parents`` and ``--exclude``. Errors are Docker's, but for sources
that lead out of the context: Docker drops the ``..`` silently, here it is an error.
"""

from __future__ import annotations

import posixpath
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import unquote, urlsplit

from cove.dockerfile.globs import compile_glob, has_magic
from cove.dockerfile.ignore import IgnorePatterns
from cove.dockerfile.model import Copy, Heredoc, Transfer
from cove.dockerfile.problems import at_line, cut
from cove.dockerfile.transfers import Origin, origin_of
from cove.exception import InvalidError, RequestSizeError

WHOLE_CONTEXT: Final = "."
MAX_SOURCES: Final = 1_000
"""Of one instruction."""

MAX_PLACED: Final = 1_000_000
MAX_COMPARISONS: Final = 20_000_000
"""Patterns times paths: some twenty seconds at worst."""

MAX_PATH_CHARACTERS: Final = 4096
MAX_LINK_STEPS: Final = 40
"""Symbolic links that are followed one after the other, as on Linux."""

_PIVOT: Final = "/./"
"""Where ``--parents`` begins to keep directories."""


class FileKind(StrEnum):
    """What something in a directory is. Sockets, pipes and devices do not travel."""

    FILE = "file"
    DIRECTORY = "directory"
    LINK = "link"


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that can be copied.

    Attributes:
        path: relative to the root of context or stage, normal, with slashes.
        link_target: what a link says.
    Raises:  InvalidError: the path is not like that.
    """

    path: str
    kind: FileKind
    link_target: str = ""

    def __post_init__(self) -> None:
        if self.path == WHOLE_CONTEXT or context_path(self.path) != self.path:
            raise InvalidError(f"{cut(self.path)!r} is not a path in a context.", remedy="Give relative paths without . and ..")


@dataclass(frozen=True, slots=True)
class Placed:
    """One thing and where it goes.

    Attributes:
        source: path of the entry; empty for a heredoc.
        target: absolute path in the image. What comes later in the list replaces what came before, but directories join.
        kind: as what it arrives.
        heredoc: the content, if it was given in place.
    """

    source: str
    target: str
    kind: FileKind
    heredoc: Heredoc | None = None


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a COPY leads.

    Attributes:
        path: absolute and normal.
        is_directory: it says so by its end; a directory need not exist.
    """

    path: str
    is_directory: bool


def context_path(source: str) -> str:
    """``source`` relative to the root of the context, in its shortest form; ``.`` is the root.

    Raises:  InvalidError: it leads out of the context, or is longer than a path can be.
    """
    if len(source) > MAX_PATH_CHARACTERS:
        raise InvalidError(f"The source {cut(source)!r} is too long.", remedy=f"At most {MAX_PATH_CHARACTERS} characters.")
    path = posixpath.normpath(source.lstrip("/")) if source.strip("/") else WHOLE_CONTEXT
    if path == ".." or path.startswith("../"):
        raise InvalidError(f"The source {cut(source)!r} is outside the context.", remedy="Use a context directory that contains it.")
    return path


def destination_of(text: str, workdir: str) -> Destination:
    """Where ``text`` leads from ``workdir``, which is absolute.

    Raises:  InvalidError: longer than a path can be.
    """
    if len(text) > MAX_PATH_CHARACTERS:
        raise InvalidError(f"The destination {cut(text)!r} is too long.", remedy=f"At most {MAX_PATH_CHARACTERS} characters.")
    path = posixpath.normpath(posixpath.join("/", workdir, text)).replace("//", "/", 1)
    return Destination(path, text in ("", ".") or text.endswith(("/", "/.")))


def download_target(url: str, destination: Destination) -> str:
    """The absolute path that ADD writes ``url`` to.

    Raises:  InvalidError: the destination is a directory, and the URL has no name for the file in it.
    """
    if not destination.is_directory:
        return destination.path
    try:
        path = urlsplit(url).path
    except ValueError as error:
        raise InvalidError(f"{cut(url)!r} is not a URL.", remedy="Check its host.") from error
    return posixpath.join(destination.path, _file_name(unquote(path)))


def place(transfer: Transfer, entries: Iterable[Entry], *, workdir: str, is_directory: Callable[[str], bool]) -> list[Placed]:
    """What ``transfer``, a COPY or ADD with its variables replaced, copies of ``entries``. URLs and repositories in an ADD are left out.

    Args:
        entries: all that context or stage have, links included; what is ignored is not there.
        workdir: the absolute working directory at this point.
        is_directory: whether a directory is at an absolute path in the image, as it is before.
    Raises:
        InvalidError: a source does not exist or leads out of the context; several sources and no directory to put them in.
        RequestSizeError: more than ``MAX_SOURCES``, ``MAX_PLACED`` or ``MAX_COMPARISONS``.
    """
    with at_line(transfer.line, transfer.original):
        return _Placement(transfer, entries, destination_of(transfer.destination, workdir), is_directory).run()


class _Placement:
    def __init__(self, transfer: Transfer, entries: Iterable[Entry], destination: Destination, is_directory: Callable[[str], bool]) -> None:
        self._transfer = transfer
        self._entries = {entry.path: entry for entry in entries}
        self._paths = sorted(self._entries)
        self._excluded = IgnorePatterns(transfer.exclude)
        self._parents = isinstance(transfer, Copy) and transfer.parents
        self._destination = destination
        self._into = destination.is_directory or self._parents or is_directory(destination.path)
        self._placed: list[Placed] = []

    def run(self) -> list[Placed]:
        sources = [source for source in self._transfer.sources if not self._is_download(source)]
        if len(sources) > MAX_SOURCES:
            raise RequestSizeError(f"There are more than {MAX_SOURCES} sources.", remedy="Copy their directory.")
        if sum(map(has_magic, sources)) * len(self._paths) > MAX_COMPARISONS:
            raise RequestSizeError(
                "There are too many patterns for so many files.", remedy="Copy directories, or use several instructions."
            )
        found = [(source, path) for source in sources for path in self._matches(source)]
        if sources and not found:
            raise InvalidError(f"Nothing matches {cut(' '.join(sources))!r}.", remedy="Check the pattern, and what is ignored.")
        count = len(found) + len(self._transfer.sources) - len(sources) + len(self._transfer.heredocs)
        if count > 1 and not self._into:
            cause = f"Several sources need a directory, and {cut(self._transfer.destination)!r} is none."
            raise InvalidError(cause, remedy="End the destination with a slash.")
        for source, path in found:
            self._place(source, path)
        for heredoc in self._transfer.heredocs:
            self._add(Placed("", self._file_target(_file_name(heredoc.name)), FileKind.FILE, heredoc))
        return self._placed

    def _is_download(self, source: str) -> bool:
        return not isinstance(self._transfer, Copy) and origin_of(source) is not Origin.CONTEXT

    def _matches(self, source: str) -> Sequence[str]:
        """Paths that ``source`` names; ``.`` is the root."""
        path = context_path(source)
        if path == WHOLE_CONTEXT or path in self._entries:
            return [path]
        if not has_magic(path):
            raise InvalidError(f"The source {cut(source)!r} does not exist.", remedy="Check the path, and what is ignored.")
        glob = compile_glob(path)
        depth = path.count("/")
        return [candidate for candidate in self._paths if candidate.count("/") == depth and glob.matches(candidate)]

    def _place(self, source: str, path: str) -> None:
        if self._parents:
            self._place_with_parents(source, path)
            return
        real = self._followed(path)
        if self._is_tree(real):
            self._place_tree(real, self._destination.path)
        elif not (self._excluded.ignores(path) or self._excluded.ignores(posixpath.basename(path))):
            self._add(Placed(real, self._file_target(posixpath.basename(path)), FileKind.FILE))

    def _place_tree(self, path: str, target: str) -> None:
        """The directory ``path`` as ``target``, and what it contains. Patterns of ``--exclude`` are relative to it."""
        self._add(Placed(path, target, FileKind.DIRECTORY))
        for entry in self._below(path):
            relative = entry.path if path == WHOLE_CONTEXT else entry.path[len(path) + 1 :]
            if not self._excluded.ignores(relative):
                self._add(Placed(entry.path, posixpath.join(target, relative), entry.kind))

    def _place_with_parents(self, source: str, path: str) -> None:
        """``path`` under its directories, from the pivot on."""
        parts, pivot = path.split("/") if path != WHOLE_CONTEXT else [], _pivot_depth(source)
        dropped, kept = parts[:pivot], parts[pivot:]
        for depth in range(1, len(kept)):
            parent = "/".join(dropped + kept[:depth])
            self._add(Placed(parent, posixpath.join(self._destination.path, *kept[:depth]), FileKind.DIRECTORY))
        target = posixpath.join(self._destination.path, *kept)
        if self._is_tree(path):
            self._place_tree(path, target)
        elif not (self._excluded.ignores(path) or self._excluded.ignores(posixpath.basename(path))):
            self._add(Placed(path, target, self._entries[path].kind))

    def _file_target(self, name: str) -> str:
        return posixpath.join(self._destination.path, name) if self._into else self._destination.path

    def _is_tree(self, path: str) -> bool:
        return path == WHOLE_CONTEXT or self._entries[path].kind is FileKind.DIRECTORY

    def _followed(self, path: str) -> str:
        """The path that ``path``, which is a source itself, leads to through links. Links below a source stay links."""
        first = path
        for _ in range(MAX_LINK_STEPS):
            entry = self._entries.get(path)
            if path == WHOLE_CONTEXT or (entry is not None and entry.kind is not FileKind.LINK):
                return path
            if entry is None:
                break
            path = context_path(posixpath.join(posixpath.dirname(path), entry.link_target))
        raise InvalidError(f"The source {cut(first)!r} is a link to nothing in the context.", remedy="Copy what it leads to.")

    def _below(self, path: str) -> Iterator[Entry]:
        """What the directory ``path`` contains: in the sorted paths, those with its name and a slash stand together."""
        prefix = "" if path == WHOLE_CONTEXT else f"{path}/"
        for index in range(bisect_left(self._paths, prefix), len(self._paths)):
            if not self._paths[index].startswith(prefix):
                return
            yield self._entries[self._paths[index]]

    def _add(self, placed: Placed) -> None:
        self._placed.append(placed)
        if len(self._placed) > MAX_PLACED:
            raise RequestSizeError(f"More than {MAX_PLACED} files would be copied.", remedy="Ignore what is not needed.")


def _file_name(path: str) -> str:
    """The last component of ``path``, which comes from a URL or a heredoc's delimiter.

    Raises:  InvalidError: no file can have that name.
    """
    name = posixpath.basename(path)
    if name in ("", ".", "..") or "\0" in name:
        raise InvalidError(f"{cut(path)!r} does not say how to name the file.", remedy="End the destination with a file's name.")
    return name


def _pivot_depth(source: str) -> int:
    """How many of the source's first components ``--parents`` drops: those before ``/./``."""
    before, pivot, _ = source.partition(_PIVOT)
    path = context_path(before) if pivot else WHOLE_CONTEXT
    return 0 if path == WHOLE_CONTEXT else path.count("/") + 1
