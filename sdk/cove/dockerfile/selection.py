"""Choosing the files that a plan needs from all that a context has."""

from __future__ import annotations

from collections.abc import Iterable

from cove.dockerfile.copy_rules import WHOLE_CONTEXT
from cove.dockerfile.globs import Glob, compile_glob, has_magic


class Selection:
    """The files that ``sources`` of a :class:`~cove.dockerfile.plan.Plan` name: each with all below it.

    What a link in the selection leads to is not selected by that.
    """

    def __init__(self, sources: Iterable[str]) -> None:
        """Get ready for ``sources``.

        Raises:  IllegalPatternError: one of them is malformed.
        """
        found = list(sources)
        self._whole = WHOLE_CONTEXT in found
        self._literal = frozenset(found)
        self._globs: dict[int, list[Glob]] = {}
        for source in found:
            if has_magic(source):
                self._globs.setdefault(source.count("/"), []).append(compile_glob(source))

    def selects(self, path: str) -> bool:
        """Whether the file at ``path``, relative and normal, is needed."""
        if self._whole or not path:
            return self._whole
        ends = [index for index, character in enumerate(path) if character == "/"]
        prefixes = [*(path[:end] for end in ends), path]
        return any(
            prefix in self._literal or any(glob.matches(prefix) for glob in self._globs.get(depth, ()))
            for depth, prefix in enumerate(prefixes)
        )
