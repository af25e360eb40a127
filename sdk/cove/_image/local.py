"""Steps that add files of this machine: a file, a directory, the source of a Python module. Read when the image is built."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Final

from cove._image import context, text
from cove._image.context import Ignore
from cove._image.recipe import Draft
from cove.exception import InvalidError, ModuleNotMountable
from cove.file_pattern_matcher import AbstractPatternMatcher, FilePatternMatcher

PYTHON_HOME: Final = PurePosixPath("/root")
"""Where modules are put: it is on Python's path."""

_NEVER_SOURCE: Final = FilePatternMatcher("**/.*", "**/*.pyc", "**/__pycache__")
"""Not source, or nobody's business, whatever ``ignore`` says."""


def add_file(local: Path, remote: str) -> Callable[[], Draft]:
    """A file as ``remote``; into it, under its own name, if that ends in a slash."""
    target = absolute(remote, what="add_local_file") + (local.name if remote.endswith("/") else "")
    return lambda: Draft((text.copy("file", target),), (context.file("file", local),))


def add_directory(local: Path, remote: str, ignore: Ignore) -> Callable[[], Draft]:
    """What is in a directory, as what is in ``remote``."""
    target = absolute(remote, what="add_local_dir").rstrip("/") + "/"
    return lambda: Draft((text.copy("tree", target),), tuple(context.tree("tree", local, ignore)))


_IMPORTABLE: Final = "ENV PYTHONPATH=/root${PYTHONPATH:+:$PYTHONPATH}"
"""Modules are found wherever a program starts."""


def add_modules(names: tuple[str, ...], ignore: Ignore) -> Callable[[], Draft]:
    """The source of modules and packages, found as ``import`` finds them.

    Raises:  InvalidError: not names of modules. The draft raises ModuleNotMountable for those that are not found or have no source.
    """
    for name in names:
        if not isinstance(name, str) or not all(part.isidentifier() for part in name.split(".")):
            raise InvalidError(f"{name!r:.80} is not the name of a module.", remedy="Pass names as in import statements.")

    def draft() -> Draft:
        drafts = [_module(name, f"module{index}", ignore) for index, name in enumerate(names)]
        commands = (*(command for one in drafts for command in one.commands), _IMPORTABLE)
        return Draft(commands, tuple(found for one in drafts for found in one.context))

    return draft


def absolute(remote: str | os.PathLike[str], *, what: str) -> str:
    """``remote`` if it is an absolute path in the image.

    Raises:  InvalidError: it is not.
    """
    path = text.check_line(os.fspath(remote), what=f"remote_path of {what}")
    if not path.startswith("/") or ".." in path.split("/"):
        raise InvalidError(f"{path[:200]!r} is not an absolute path.", remedy=f"remote_path of {what} begins with / and has no '..'.")
    return path


class _SourceIgnore(AbstractPatternMatcher):
    """What the user ignores, and what is no source."""

    def __init__(self, ignore: Ignore) -> None:
        self._ignore = ignore

    def __call__(self, path: Path) -> bool:
        return _NEVER_SOURCE(path) or bool(self._ignore(path))

    def can_prune_directories(self) -> bool:
        return isinstance(self._ignore, AbstractPatternMatcher) and self._ignore.can_prune_directories()


def _module(name: str, slot: str, ignore: Ignore) -> Draft:
    spec = _spec_of(name)
    target = PYTHON_HOME.joinpath(*name.split("."))
    places = list(spec.submodule_search_locations or ())
    if places:
        return _package(name, slot, [Path(place) for place in places], str(target), ignore)
    if not isinstance(spec.loader, importlib.machinery.SourceFileLoader) or spec.origin is None:
        raise ModuleNotMountable(f"{name} has no Python source: it is built in, or compiled. Install it in the image instead.")
    return Draft((text.copy(slot, f"{target}.py"),), (context.file(slot, Path(spec.origin).absolute()),))


def _package(name: str, slot: str, places: list[Path], target: str, ignore: Ignore) -> Draft:
    """A package; of a namespace package, every directory that belongs to it."""
    directories = [place.absolute() for place in places if place.is_dir()]
    if not directories:
        raise ModuleNotMountable(f"{name} is not a directory: an archive, perhaps. Install it in the image instead.")
    slots = [(f"{slot}.{index}", directory) for index, directory in enumerate(directories)]
    return Draft(
        tuple(text.copy(path, f"{target}/") for path, _ in slots),
        tuple(
            found
            for path, directory in slots
            for found in context.tree(path, directory, _SourceIgnore(context.resolving(ignore, directory)))
        ),
    )


def _spec_of(name: str) -> importlib.machinery.ModuleSpec:
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError) as error:
        raise ModuleNotMountable(f"{name} cannot be found: {error}.") from error
    if spec is None:
        raise ModuleNotMountable(f"There is no module {name} here: check its name, and Python's path.")
    return spec
