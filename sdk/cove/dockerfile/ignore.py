"""The syntax of ``.dockerignore``: patterns, of which the last one that matches decides. Pure.

Source: Docker documentation, ".dockerignore files"; matching as in BuildKit, where a pattern that matches a directory matches all below it.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cove.dockerfile.globs import Glob, IllegalPatternError, compile_glob
from cove.dockerfile.words import WHITESPACE
from cove.exception import RequestSizeError

MAX_PATTERNS: Final = 10_000


@dataclass(frozen=True, slots=True)
class _Rule:
    glob: Glob
    includes: bool
    """It began with ``!``: what it matches is not ignored after all."""


class IgnorePatterns:
    """Says which relative paths are ignored."""

    def __init__(self, patterns: Iterable[str]) -> None:
        """Get ``patterns`` ready; slashes at their ends and spaces around them do not count, empty ones neither.

        Raises:
            IllegalPatternError: one of them is malformed, or a lone ``!``.
            RequestSizeError: more than ``MAX_PATTERNS``.
        """
        given = list(patterns)
        if len(given) > MAX_PATTERNS:
            raise RequestSizeError(f"There are more than {MAX_PATTERNS} ignore patterns.", remedy="Use patterns that match more.")
        self._rules = tuple(rule for pattern in given if (rule := _rule(pattern)) is not None)

    @property
    def has_exceptions(self) -> bool:
        """Whether something below an ignored directory may not be ignored."""
        return any(rule.includes for rule in self._rules)

    def ignores(self, path: str) -> bool:
        """Whether ``path`` is ignored, itself or with a directory that it lies in. The root itself never is."""
        path = posixpath.normpath(path)
        if path == "." or not self._rules:
            return False
        ignored = False
        for rule in self._rules:
            # A rule that would change nothing needs no look.
            if rule.includes == ignored and rule.glob.matches_with_parents(path):
                ignored = not rule.includes
        return ignored


def read_patterns(text: str) -> list[str]:
    """The patterns in ``text``, the content of an ignore file: a line each, without comments."""
    lines = text.removeprefix("\ufeff").split("\n")
    return [pattern for line in lines if not line.startswith("#") and (pattern := line.strip(WHITESPACE))]


def _rule(pattern: str) -> _Rule | None:
    text = pattern.strip(WHITESPACE)
    includes = text.startswith("!")
    if includes:
        text = text[1:].strip(WHITESPACE)
        if not text:
            raise IllegalPatternError('The exclusion pattern "!" is illegal.', remedy="Write what is not to be ignored after the !.")
    text = posixpath.normpath(text).strip("/") if text else ""
    return _Rule(compile_glob(text, deep=True), includes) if text else None
