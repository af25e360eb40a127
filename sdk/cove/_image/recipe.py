"""An image as a value: a base and steps, one for each method call. What a step does is found out when the image is built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from cove.exception import InvalidError
from cove.wire import image_pb2


@dataclass(frozen=True, slots=True)
class LocalFile:
    """Something of this machine in a step's context.

    Attributes:
        path: in the context: relative, with slashes.
        local: where it is here.
        mode: type (regular file, directory or symbolic link) and permissions, as ``os.lstat`` has them.
        link_target: where a symbolic link leads.
    """

    path: str
    local: Path
    mode: int
    link_target: str = ""


@dataclass(frozen=True, slots=True)
class Draft:
    """What a step comes to: instructions, and the files that they copy."""

    commands: tuple[str, ...]
    context: tuple[LocalFile, ...] = ()
    build_args: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Step:
    """One method call.

    Attributes:
        method: its name.
        draft: what it comes to; may read files, and raises what is wrong with them.
        env: environment of its commands, not of the image.
        secrets: the same, of which only the names decide whether the step has to be done again.
        force_build: do it, and all later ones, again each time.
        at_start: it adds files that belong on top of all else: no step of another kind can follow.
    """

    method: str
    draft: Callable[[], Draft]
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    force_build: bool = False
    at_start: bool = False


@dataclass(frozen=True, slots=True)
class Recipe:
    """An image.

    Attributes:
        base: a definition without layers. ``debian`` may be empty: the Python that suits the client best. Without a base, the first
            step is a whole Dockerfile.
        force_build: build all of it again each time.
    """

    base: image_pb2.ImageDefinition = field(repr=False)  # it may have a secret
    steps: tuple[Step, ...] = ()
    force_build: bool = False

    def then(self, step: Step) -> Recipe:
        """This and another step.

        Raises:  InvalidError: files that are added at the start would no longer be on top.
        """
        if self.steps and self.steps[-1].at_start and not step.at_start:
            raise InvalidError(
                f"{step.method} is a build step, and cannot follow {self.steps[-1].method}, whose files are added after all build steps.",
                remedy=f"Call {self.steps[-1].method} last, or with copy=True to make its files part of the build.",
            )
        return replace(self, steps=(*self.steps, step))


def fixed(*commands: str) -> Callable[[], Draft]:
    """A draft that needs nothing of this machine."""
    draft = Draft(commands)
    return lambda: draft
