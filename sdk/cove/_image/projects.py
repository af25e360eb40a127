"""Steps that install what a project's files say: requirements.txt, pyproject.toml, lock files of uv and Poetry.

The files are read when the image is built.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from cove._image import context, packages, text
from cove._image.packages import Indexes
from cove._image.recipe import Draft, LocalFile
from cove.exception import InvalidError, NotFoundError

REMOTE: Final = "/.cove"
"""Where requirements and specifications are put in the image."""

UV_PROJECT: Final = f"{packages.UV_HOME}/project"
POETRY_PROJECT: Final = f"{REMOTE}/poetry"


def pip_requirements(requirements: Path, indexes: Indexes) -> Draft:
    """pip install -r."""
    target = f"{REMOTE}/requirements.txt"
    install = text.run(f"{packages.PIP}{indexes.options()} --requirement {target}")
    return Draft((text.copy("requirements.txt", target), install), (context.file("requirements.txt", requirements),))


def uv_requirements(names: Sequence[str], requirements: Sequence[Path], indexes: Indexes, version: str | None) -> Draft:
    """uv pip install of packages and of requirements files."""
    slots = [f"requirements.{index}.txt" for index in range(len(requirements))]
    targets = [f"{packages.UV_HOME}/{slot}" for slot in slots]
    copies = [text.copy(slot, target) for slot, target in zip(slots, targets, strict=True)]
    files = tuple(context.file(slot, path) for slot, path in zip(slots, requirements, strict=True))
    return Draft((*copies, *packages.uv(names, indexes, requirements=targets, version=version)), files)


def pyproject_dependencies(pyproject: Path, groups: Sequence[str]) -> list[str]:
    """``project.dependencies`` of a pyproject.toml, and those of the optional ``groups``.

    Raises:
        NotFoundError: there is no such file.
        InvalidError: it is not valid, or does not have one of these.
    """
    project = _table(_toml(pyproject), "project", pyproject)
    if "dependencies" not in project:
        raise InvalidError(f"{pyproject} has no project.dependencies.", remedy="Add them, or use the method for your project's tool.")
    optional = _table(project, "optional-dependencies", pyproject) if groups else {}
    missing = [group for group in groups if group not in optional]
    if missing:
        known = ", ".join(optional) or "none"
        raise InvalidError(f"{pyproject} has no optional dependencies {', '.join(map(repr, missing))}.", remedy=f"It has: {known}.")
    lists = [project["dependencies"], *(optional[group] for group in groups)]
    if not all(isinstance(names, list) for names in lists):
        raise InvalidError(f"Dependencies in {pyproject} are not lists.", remedy="Write them as lists of strings.")
    return packages.flatten(lists, what=pyproject.name)


def pip_pyproject(pyproject: Path, groups: Sequence[str], indexes: Indexes) -> Draft:
    """pip install of what :func:`pyproject_dependencies` finds."""
    names = pyproject_dependencies(pyproject, groups)
    return Draft(packages.pip(names, indexes) if names else ())


def uv_sync(
    directory: Path, *, groups: Sequence[str], extras: Sequence[str], frozen: bool, extra_options: str, version: str | None
) -> Draft:
    """A virtual environment with what uv's lock file says, first on the PATH.

    Raises:  InvalidError: a workspace.
    """
    pyproject = directory / "pyproject.toml"
    tool = _toml(pyproject).get("tool", {})
    if isinstance(tool, dict) and isinstance(tool.get("uv"), dict) and "workspace" in tool["uv"]:
        raise InvalidError(f"{pyproject} is a uv workspace.", remedy="Workspaces are not supported: use uv_pip_install.")
    lock = directory / "uv.lock"
    files = [context.file("pyproject.toml", pyproject), *([context.file("uv.lock", lock)] if lock.is_file() else [])]
    words = ["--project", UV_PROJECT, "--no-install-project", "--compile-bytecode", "--no-cache"]
    words += ["--frozen"] if frozen and lock.is_file() else []
    words += [word for group in groups for word in ("--group", group)] + [word for extra in extras for word in ("--extra", extra)]
    options = f" {text.check_line(extra_options, what='extra_options')}" if extra_options else ""
    return Draft(
        (
            packages.uv_itself(version),
            *(text.copy(file.path, f"{UV_PROJECT}/{file.path}") for file in files),
            text.run(f"{packages.UV} sync {text.shell_words(words)}{options}"),
            text.env("PATH", f"{UV_PROJECT}/.venv/bin:$PATH"),
        ),
        tuple(files),
    )


class PoetryGroups(NamedTuple):
    """Dependency groups: to add, to leave out, to have alone."""

    with_: Sequence[str] = ()
    without: Sequence[str] = ()
    only: Sequence[str] = ()

    def words(self) -> list[str]:
        """The options for it."""
        named = (("--with", self.with_), ("--without", self.without), ("--only", self.only))
        return [word for option, names in named if names for word in (option, ",".join(names))]


def poetry(
    pyproject: Path, lock: Path | None, groups: PoetryGroups, *, lock_ignored: bool, install: str | None, old_installer: bool
) -> Draft:
    """The dependencies of a Poetry project, into the image's Python.

    Args:
        lock: ``poetry.lock`` beside ``pyproject`` when left out.
        install: what pip installs Poetry from; None where the image has it.
    Raises:
        NotFoundError: there is no lock file, and ``lock_ignored`` is not set.
    """
    _toml(pyproject)
    files = [context.file("pyproject.toml", pyproject)]
    if not lock_ignored:
        files.append(_poetry_lock(lock or pyproject.with_name("poetry.lock")))
    words = ["poetry", "install", "--no-root", "--no-interaction", *groups.words()]
    setup = [text.run(f"{packages.PIP} {text.shell_words([install])}")] if install is not None else []
    setup += [text.run("poetry config experimental.new-installer false")] if old_installer else []
    command = f"cd {POETRY_PROJECT} && POETRY_VIRTUALENVS_CREATE=false {text.shell_words(words)}"
    copies = [text.copy(file.path, f"{POETRY_PROJECT}/{file.path}") for file in files]
    return Draft((*setup, *copies, text.run(command)), tuple(files))


def poetry_package(version: str) -> str:
    """What pip installs Poetry from, for its ``version`` or ``latest``.

    Raises:  InvalidError: not a version.
    """
    return "poetry" if version == "latest" else f"poetry=={packages.tool_version(version, what='poetry_version')}"


def _poetry_lock(lock: Path) -> LocalFile:
    if not lock.is_file():
        raise NotFoundError(f"There is no lock file {lock}.", remedy="Run `poetry lock`, or pass ignore_lockfile=True.")
    return context.file("poetry.lock", lock)


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise NotFoundError(f"{path} cannot be read: {error.strerror}.", remedy="Check the path.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidError(f"{path} is not valid TOML: {error}.", remedy="Correct it.") from error


def _table(parent: Mapping[str, Any], name: str, path: Path) -> dict[str, Any]:
    found = parent.get(name, {})
    if not isinstance(found, dict):
        raise InvalidError(f"{name} in {path} is not a table.", remedy="Correct it.")
    return found
