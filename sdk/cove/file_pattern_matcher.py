"""Choosing files by patterns, in the syntax of ``.dockerignore``, where a predicate over relative paths is asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Final

from cove.dockerfile.ignore import IgnorePatterns, read_patterns
from cove.exception import InvalidError, RequestSizeError

MAX_FILE_BYTES: Final = 1024 * 1024


class AbstractPatternMatcher(ABC):
    """A predicate over relative paths that can be inverted with ``~``."""

    @abstractmethod
    def __call__(self, path: Path) -> bool:
        """Whether ``path`` matches."""

    @abstractmethod
    def can_prune_directories(self) -> bool:
        """Whether nothing below a directory that matches can fail to match."""

    def __invert__(self) -> AbstractPatternMatcher:
        """The matcher of everything that this one does not match."""
        return _Inverted(self)


class _Inverted(AbstractPatternMatcher):
    def __init__(self, matcher: AbstractPatternMatcher) -> None:
        self._matcher = matcher

    def __call__(self, path: Path) -> bool:
        return not self._matcher(path)

    def can_prune_directories(self) -> bool:
        # ~FilePatternMatcher("**/*.py") matches every directory, and not the files in it that matter.
        return False

    def __invert__(self) -> AbstractPatternMatcher:
        return self._matcher

    def __repr__(self) -> str:
        return f"~{self._matcher!r}"


class FilePatternMatcher(AbstractPatternMatcher):
    """Matches paths against patterns as ``.dockerignore`` does.

    ::

        matcher = FilePatternMatcher("**/*.pyc", "data", "!data/small.csv")
        assert matcher(Path("data/large.csv")) and not matcher(Path("data/small.csv"))

    ``*``, ``?`` and ``[a-z]`` match within a component, ``**`` any number of them. What matches a directory matches all below it, and
    after a ``!`` follows what does not match in spite of the patterns before.
    """

    _load: Callable[[], list[str]]
    _patterns: IgnorePatterns | None
    _label: str

    def __init__(self, *pattern: str) -> None:
        """Match any of ``pattern``.

        Raises:  ValueError: one of them is malformed (an InvalidError as well).
        """
        self._load = lambda: list(pattern)
        self._patterns = IgnorePatterns(pattern)
        self._label = ", ".join(map(repr, pattern))

    @classmethod
    def from_file(cls, file_path: str | Path) -> FilePatternMatcher:
        """Match the patterns in a file, one a line; lines that begin with ``#`` are comments.

        The file is read when the matcher is first used; that raises OSError if it cannot be read, and ValueError for malformed patterns.
        """
        matcher = cls.__new__(cls)
        path = Path(file_path)
        matcher._load = lambda: read_patterns(_text_of(path))
        matcher._patterns = None
        matcher._label = f"file {str(path)!r}"
        return matcher

    def __call__(self, path: Path) -> bool:
        """Whether ``path``, relative to the directory that the patterns are about, matches."""
        return self._ready().ignores(Path(path).as_posix())

    def can_prune_directories(self) -> bool:
        """Whether a directory that matches can be skipped whole: false with patterns that begin with ``!``."""
        return not self._ready().has_exceptions

    def _ready(self) -> IgnorePatterns:
        if self._patterns is None:
            self._patterns = IgnorePatterns(self._load())
        return self._patterns

    def __repr__(self) -> str:
        return f"FilePatternMatcher({self._label})"


def _text_of(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise RequestSizeError(f"{path} is larger than an ignore file can be.", remedy=f"At most {MAX_FILE_BYTES} bytes.")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidError(f"{path} is not a text file.", remedy="Save it as UTF-8.") from error


NON_PYTHON_FILES: Final = ~FilePatternMatcher("**/*.py")
"""Everything but Python source."""
