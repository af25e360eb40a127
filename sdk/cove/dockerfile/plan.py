"""Which stages a build needs, in which order, and which files of the context they copy.

A name in ``FROM`` means an earlier stage, else an image; in ``--from`` any stage by name or number, else an image.
Source: Dockerfile reference, "FROM" and "COPY --from"; docs of multi-stage builds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from cove.dockerfile.model import Copy, Dockerfile, From, Run, Stage
from cove.dockerfile.partial import PartialScope
from cove.dockerfile.problems import at_line, cut
from cove.dockerfile.scope import Scope, global_scope
from cove.exception import InvalidError

SCRATCH: Final = "scratch"
"""The base without any files."""

MAX_SOURCES: Final = 10_000
"""Different ones that a stage may copy."""

_NUMBER: Final = re.compile(r"[0-9]{1,6}")


@dataclass(frozen=True, slots=True)
class PlannedStage:
    """A stage that has to be built.

    Attributes:
        index: its number in the file.
        base: number of the stage that it continues, or the image: a reference, ``scratch``, or None for the image that
            commands are added to.
        platform: as its FROM asks for, variables replaced.
        uses: numbers of the stages that must be built before it, ``base`` included.
        images: references that its ``--from`` name, beside ``base``.
        sources: globs of what it takes from the context, relative, sorted; ``.`` is all of it.
    """

    index: int
    stage: Stage
    base: int | str | None
    platform: str | None
    uses: frozenset[int]
    images: frozenset[str]
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be built.

    Attributes:
        stages: each after those it uses; the last one is the target.
        scope: the variables of FROM lines; stages begin with its ``given`` and its ``args`` as their ``global_args``.
    """

    stages: tuple[PlannedStage, ...]
    scope: Scope

    @property
    def sources(self) -> tuple[str, ...]:
        """Globs of all files that are needed from the context, sorted."""
        return tuple(sorted({source for stage in self.stages for source in stage.sources}))

    def stage_scope(self, env: Mapping[str, str]) -> Scope:
        """The variables at the start of a stage whose base has the environment ``env``."""
        return Scope(env=env, given=self.scope.given, global_args=self.scope.args, escape=self.scope.escape)


def make_plan(dockerfile: Dockerfile, *, build_args: Mapping[str, str], target: str | None = None) -> Plan:
    """What must be built for ``target``, a stage's name or number; the last stage when left out.

    Args:    build_args: by name; those about platforms (:func:`~cove.dockerfile.scope.platform_args`) belong here too.
    Raises:
        InvalidError: no such stage, stages that use each other, a FROM that comes out empty, or a source outside the context.
        UnimplementedError: a variable's modifier or a source that cove does not have.
    """
    scope = global_scope(dockerfile.global_args, given=build_args, escape=dockerfile.escape)
    planner = _Planner(dockerfile.stages, scope)
    return Plan(tuple(planner.planned(index) for index in planner.order(planner.target(target))), scope)


class _Planner:
    """All stages with their relations. Whatever is asked for, all FROM and --from must make sense, as with Docker."""

    def __init__(self, stages: Sequence[Stage], scope: Scope) -> None:
        self._stages = stages
        self._scope = scope
        self._names: dict[str, int] = {}
        self._bases: list[int | str | None] = []
        self._platforms: list[str | None] = []
        for index, stage in enumerate(stages):
            self._begin(index, stage)
        self._references = [[self._reference(name) for name in _froms(stage)] for stage in stages]
        self._uses = [
            [used for used in [base, *others] if isinstance(used, int)] for base, others in zip(self._bases, self._references, strict=True)
        ]
        self._ends: dict[int, tuple[Mapping[str, str], bool]] = {}

    def _begin(self, index: int, stage: Stage) -> None:
        """Find out what a stage is based on: an earlier stage, where there is one of that name."""
        base, platform = self._base(stage)
        self._bases.append(self._names.get(base.lower(), base) if base is not None else None)
        self._platforms.append(platform)
        if stage.name is not None:
            self._names[stage.name] = index

    def _base(self, stage: Stage) -> tuple[str | None, str | None]:
        """Base and platform of a stage, variables replaced."""
        if stage.base is None:
            return None, None
        original = f"FROM {stage.base}"
        head = self._scope.expanded(From(line=stage.line, original=original, base=stage.base, platform=stage.platform))
        with at_line(stage.line, original):
            if not head.base:
                raise InvalidError("The FROM names nothing once its variables are replaced.", remedy="Declare them with ARG before it.")
        return head.base, head.platform or None

    def target(self, name: str | None) -> int:
        """The number of the stage called ``name``.

        Raises:  InvalidError: there is none.
        """
        if name is None:
            return len(self._stages) - 1
        found = self._names.get(name.lower())
        if found is None and _NUMBER.fullmatch(name) and int(name) < len(self._stages):
            found = int(name)
        if found is None:
            known = ", ".join(self._names) or f"0 to {len(self._stages) - 1}"
            raise InvalidError(f"The Dockerfile has no stage {cut(name)!r}.", remedy=f"Stages: {known}.")
        return found

    def _reference(self, name: str) -> int | str:
        """The stage that a ``--from`` means, or the image."""
        return self.target(name) if _NUMBER.fullmatch(name) else self._names.get(name.lower(), name)

    def order(self, target: int) -> list[int]:
        """``target`` and all stages that it uses, each after those it uses itself. Without recursion: there may be thousands.

        Raises:  InvalidError: a stage uses itself.
        """
        done: dict[int, None] = {}
        path: dict[int, Iterator[int]] = {target: iter(self._uses[target])}
        while path:
            index = next(reversed(path))
            following = next((used for used in path[index] if used not in done), None)
            if following is None:
                del path[index]
                done[index] = None
            elif following in path:
                stage = self._stages[following]
                with at_line(stage.line, f"FROM {stage.base}"):
                    raise InvalidError("The stage uses itself, or one that uses it.", remedy="Copy from stages that do not need this one.")
            else:
                path[following] = iter(self._uses[following])
        return list(done)

    def planned(self, index: int) -> PlannedStage:
        """The stage with all that is known of it. Those that it uses have been planned before."""
        return PlannedStage(
            index=index,
            stage=self._stages[index],
            base=self._bases[index],
            platform=self._platforms[index],
            uses=frozenset(self._uses[index]),
            images=frozenset(other for other in self._references[index] if isinstance(other, str) and other != SCRATCH),
            sources=tuple(sorted(self._sources(index))),
        )

    def _sources(self, index: int) -> set[str]:
        """Globs of what a stage takes from the context."""
        base = self._bases[index]
        env, is_whole = self._ends[base] if isinstance(base, int) else ({}, base == SCRATCH)
        scope = Scope(env=env, given=self._scope.given, global_args=self._scope.args, escape=self._scope.escape)
        partial = PartialScope(scope, is_whole)
        sources: set[str] = set()
        for instruction in self._stages[index].instructions:
            sources.update(partial.sources(instruction))
            if len(sources) > MAX_SOURCES:
                raise InvalidError(f"A stage copies from more than {MAX_SOURCES} sources.", remedy="Copy their directory.")
            partial = partial.after(instruction)
        self._ends[index] = partial.scope.env, is_whole
        return sources


def _froms(stage: Stage) -> Iterator[str]:
    """What the ``--from`` of a stage name."""
    for instruction in stage.instructions:
        if isinstance(instruction, Copy) and instruction.from_:
            yield instruction.from_
        elif isinstance(instruction, Run):
            yield from (mount.from_ for mount in instruction.mounts if mount.from_)
