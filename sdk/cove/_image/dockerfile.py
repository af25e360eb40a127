"""Steps of Dockerfile text: a whole file, or instructions on top of an image. The context has the files that they copy, and no others.

The parser is loaded on first use: every program that makes a sandbox imports this module, and few have Dockerfiles.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from cove._image import context
from cove._image.context import Ignore
from cove._image.recipe import Draft, LocalFile
from cove.exception import InvalidError, NotFoundError, RequestSizeError
from cove.file_pattern_matcher import FilePatternMatcher

if TYPE_CHECKING:
    from cove.dockerfile.plan import Plan

MAX_FILE_BYTES: Final = 1024 * 1024
AUTO_DOCKERIGNORE: Final = FilePatternMatcher()
"""Stands for: a ``.dockerignore`` decides, where there is one."""

_STAGE_NAME: Final = re.compile(r"[a-z][a-z0-9_.-]*")


def context_of(
    directory: str | os.PathLike[str] | None, ignore: context.IgnoreArgument, extra: Mapping[str, str] = MappingProxyType({})
) -> Context:
    """Files below ``directory``, which is the working directory when left out, and ``extra`` ones."""
    return Context(
        context.local_path(directory or "."),
        None if ignore is AUTO_DOCKERIGNORE else context.matcher(ignore),
        {name: context.local_path(path) for name, path in extra.items()},
    )


@dataclass(frozen=True, slots=True)
class Context:
    """Where files come from.

    Attributes:
        root: the context directory.
        ignore: None: a ``.dockerignore`` decides, where there is one.
        extra: path in the context to a local file that comes along in any case.
    """

    root: Path
    ignore: Ignore | None = None
    extra: Mapping[str, Path] = field(default_factory=dict)

    def files(self, plan: Plan, *, dockerfile: Path | None) -> tuple[LocalFile, ...]:
        """What ``plan`` copies."""
        from cove.dockerfile.copy_rules import context_path

        ignore = self.ignore if self.ignore is not None else _ignore_file(self.root, dockerfile)
        found = {one.path: one for one in context.selected(self.root, plan.sources, ignore)}
        for path, local in self.extra.items():
            name = context_path(path)
            found[name] = context.file(name, local)
        return tuple(found[path] for path in sorted(found))


def commands(lines: Sequence[str], where: Context) -> Draft:
    """Instructions on top of an image.

    Raises:  InvalidError, UnimplementedError: what they say is wrong, or not supported; names the line.
    """
    from cove.dockerfile import parse_commands, stages_of_commands
    from cove.dockerfile.plan import make_plan
    from cove.dockerfile.scope import platform_args

    plan = make_plan(stages_of_commands(parse_commands(lines)), build_args=platform_args())
    return Draft(tuple(lines), where.files(plan, dockerfile=None))


def whole_file(path: Path, where: Context, *, build_args: Mapping[str, str], target: str | None = None) -> Draft:
    """A Dockerfile.

    Args:
        target: name of the stage to build; the last one when left out.
    Raises:
        NotFoundError: there is no such file.
        InvalidError, UnimplementedError: as :func:`commands`.
    """
    from cove.dockerfile import parse_dockerfile
    from cove.dockerfile.plan import make_plan
    from cove.dockerfile.scope import platform_args

    text = _read(path) if target is None else _ending_with(_read(path), target)
    plan = make_plan(parse_dockerfile(text), build_args={**platform_args(), **build_args})
    return Draft((text,), where.files(plan, dockerfile=path), dict(build_args))


def check_build_args(build_args: Mapping[str, str]) -> dict[str, str]:
    """``build_args`` if all of it is text.

    Raises:  InvalidError: it is not.
    """
    if not all(isinstance(name, str) and isinstance(value, str) for name, value in build_args.items()):
        raise InvalidError("Names and values of build_args are strings.", remedy="Convert other values with str().")
    return dict(build_args)


def _ending_with(text: str, target: str) -> str:
    """``text`` with a last stage that is ``target``: the last one is what is built."""
    from cove.dockerfile import parse_dockerfile

    name = target.lower()
    stages = parse_dockerfile(text).stages
    if not _STAGE_NAME.fullmatch(name) or name not in [stage.name for stage in stages]:
        known = ", ".join(stage.name for stage in stages if stage.name) or "none has a name"
        raise InvalidError(f"The Dockerfile has no stage {target[:80]!r}.", remedy=f"Stages: {known}.")
    return f"{text}\nFROM {name}\n"


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise NotFoundError(f"The Dockerfile {path} cannot be read: {error.strerror}.", remedy="Check the path.") from error
    if len(data) > MAX_FILE_BYTES:
        raise RequestSizeError(f"{path} is larger than a Dockerfile can be.", remedy=f"At most {MAX_FILE_BYTES} bytes.")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidError(f"{path} is not a text file.", remedy="Save it as UTF-8.") from error


def _ignore_file(root: Path, dockerfile: Path | None) -> Ignore:
    """The patterns beside the Dockerfile, else those of the context."""
    beside = [dockerfile.with_name(f"{dockerfile.name}.dockerignore")] if dockerfile is not None else []
    for candidate in [*beside, root / ".dockerignore"]:
        if candidate.is_file():
            return FilePatternMatcher.from_file(candidate)
    return context.NOTHING_IGNORED
