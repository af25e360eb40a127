"""A stage's variables as far as they are known before its image is: the client must choose the files without it.

A variable that only the image can have set is unknown, and so is what is assigned from it. One declared with ARG counts as known,
although an ENV of the image would win: an argument that every image might override could never choose a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from cove.dockerfile.copy_rules import WHOLE_CONTEXT, context_path
from cove.dockerfile.expand import expand, used_variables
from cove.dockerfile.model import Add, Arg, Copy, Env, Instruction, MountKind, Run
from cove.dockerfile.problems import at_line
from cove.dockerfile.scope import Scope
from cove.dockerfile.transfers import Origin, origin_of


@dataclass(frozen=True, slots=True)
class PartialScope:
    """The known variables at one point of a stage.

    Attributes:
        is_whole: what is not known is not set: there is no image below.
    """

    scope: Scope
    is_whole: bool

    def after(self, instruction: Instruction) -> PartialScope:
        """The variables that follow ``instruction``, which is as written.

        Raises:  InvalidError, UnimplementedError: as :class:`~cove.dockerfile.scope.Scope`, with the line.
        """
        with at_line(instruction.line, instruction.original):
            match instruction:
                case Env(pairs=pairs):
                    lost = {name for name, value in pairs if not self._knows((name, value))}
                    instruction = replace(instruction, pairs=tuple((name, value) for name, value in pairs if name not in lost))
                case Arg(name=name, default=default) if name not in self.scope.given and not self._knows((name, default or "")):
                    return self._without({name}, self.scope)
                case Arg():
                    lost = set()
                case _:
                    return self
        return self._without(lost, self.scope.after(self.scope.expanded(instruction)))

    def sources(self, instruction: Instruction) -> Iterator[str]:
        """Globs of what ``instruction``, which is as written, takes from the context: all of it where that is not known.

        Raises:
            InvalidError: a source outside the context, or bad syntax; with the line.
            UnimplementedError: a source or syntax that cove does not have; with the line.
        """
        with at_line(instruction.line, instruction.original):
            for text in _source_texts(instruction):
                if not self._knows([text]):
                    yield WHOLE_CONTEXT
                    continue
                source = expand(text, self.scope.variables, escape=self.scope.escape)
                if not (isinstance(instruction, Add) and origin_of(source) is not Origin.CONTEXT):
                    yield context_path(source)

    def _knows(self, texts: Iterable[str]) -> bool:
        """Whether the expansion of ``texts`` needs only what is known."""
        known = self.scope.variables.keys()
        return self.is_whole or all("$" not in text or used_variables(text, escape=self.scope.escape) <= known for text in texts)

    def _without(self, lost: set[str], scope: Scope) -> PartialScope:
        env = {name: value for name, value in scope.env.items() if name not in lost}
        args = {name: value for name, value in scope.args.items() if name not in lost}
        return PartialScope(replace(scope, env=env, args=args), self.is_whole)


def _source_texts(instruction: Instruction) -> tuple[str, ...]:
    match instruction:
        case Copy(from_=None, sources=sources) | Add(sources=sources):
            return sources
        case Run(mounts=mounts):
            return tuple(mount.source or WHOLE_CONTEXT for mount in mounts if mount.kind is MountKind.BIND and mount.from_ is None)
    return ()
