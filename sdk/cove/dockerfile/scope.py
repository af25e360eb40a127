"""Which variables there are at each instruction, and an instruction with its variables replaced.

Source: Dockerfile reference, "ARG", "Scope" and "Environment replacement": ENV wins over ARG, and all assignments of one instruction
see the values from before it. RUN, CMD, ENTRYPOINT, SHELL and HEALTHCHECK are not expanded: their shell does that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

from cove.dockerfile import model
from cove.dockerfile.expand import expand, expand_heredoc, expand_words
from cove.dockerfile.model import Instruction
from cove.dockerfile.problems import at_line
from cove.exception import InvalidError

MAX_SCOPE_CHARACTERS: Final = 1024 * 1024
"""Of all variables together, and of one expanded instruction: no process could be started with more."""

MAX_VARIABLES: Final = 4096

PREDEFINED_ARGS: Final = frozenset(
    name for plain in ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY") for name in (plain, plain.lower())
)
"""Build arguments that RUN sees without an ARG."""

_I = TypeVar("_I", bound=Instruction)


def platform_args(architecture: str = "amd64") -> dict[str, str]:
    """The arguments about platforms that every build has, for Linux on ``architecture`` as OCI names it."""
    parts = {"PLATFORM": f"linux/{architecture}", "OS": "linux", "ARCH": architecture, "VARIANT": ""}
    return {f"{side}{name}": value for side in ("TARGET", "BUILD") for name, value in parts.items()}


@dataclass(frozen=True, slots=True)
class Scope:
    """The variables at one point of a stage. A value: each step gives a new one.

    Attributes:
        env: environment variables, the base image's included.
        args: values of the ARGs declared in this stage so far.
        given: build arguments that the caller gave, and those about platforms; an ARG makes one of them visible.
        global_args: values of the ARGs before the first FROM; an ARG without a default takes its value from here.
    """

    env: Mapping[str, str] = field(default_factory=dict)
    args: Mapping[str, str] = field(default_factory=dict)
    given: Mapping[str, str] = field(default_factory=dict)
    global_args: Mapping[str, str] = field(default_factory=dict)
    escape: str = "\\"

    @property
    def variables(self) -> dict[str, str]:
        """What an expansion sees."""
        return {**self.args, **self.env}

    @property
    def run_environment(self) -> dict[str, str]:
        """What a RUN sees: arguments are environment variables there, but do not stay in the image."""
        predefined = {name: value for name, value in self.given.items() if name in PREDEFINED_ARGS}
        return {**predefined, **self.variables}

    def expanded(self, instruction: _I) -> _I:
        """``instruction`` with variables, quotes and escapes replaced, where its kind has that.

        Raises:  InvalidError, UnimplementedError: as :func:`~cove.dockerfile.expand.expand`, with the line.
        """
        expander = _EXPANDERS.get(type(instruction))
        if expander is None:
            return instruction
        with at_line(instruction.line, instruction.original):
            return expander(instruction, _Words(self.variables, self.escape))  # type: ignore[return-value]  # of the same type as its argument

    def after(self, instruction: Instruction) -> Scope:
        """The variables that follow ``instruction``, which is expanded already.

        Raises:  InvalidError: more than ``MAX_VARIABLES``, or more than ``MAX_SCOPE_CHARACTERS`` in all.
        """
        match instruction:
            case model.Env(pairs=pairs):
                return self._checked(replace(self, env={**self.env, **dict(pairs)}), instruction)
            case model.Arg(name=name) if (value := self.value_of(instruction)) is not None:
                return self._checked(replace(self, args={**self.args, name: value}), instruction)
        return self

    def value_of(self, arg: model.Arg) -> str | None:
        """The value of ``arg``, which is expanded already: the caller's, else its default, else the global one; None: not set."""
        if arg.name in self.given:
            return self.given[arg.name]
        return arg.default if arg.default is not None else self.global_args.get(arg.name)

    def _checked(self, scope: Scope, instruction: Instruction) -> Scope:
        characters = sum(len(name) + len(value) for name, value in scope.variables.items())
        with at_line(instruction.line, instruction.original):
            if characters > MAX_SCOPE_CHARACTERS:
                raise InvalidError(f"All variables together exceed {MAX_SCOPE_CHARACTERS} characters.", remedy="Use shorter values.")
            if len(scope.env) + len(scope.args) > MAX_VARIABLES:
                raise InvalidError(f"There are more than {MAX_VARIABLES} variables.", remedy="Put them into a file that programs read.")
        return scope


def global_scope(args: tuple[model.Arg, ...], *, given: Mapping[str, str], escape: str = "\\") -> Scope:
    """The variables that FROM lines see: ``args``, those before the first FROM, and what is given."""
    scope = Scope(args={name: value for name, value in given.items() if name in platform_args()}, given=given, escape=escape)
    for arg in args:
        scope = scope.after(scope.expanded(arg))
    return scope


@dataclass(slots=True)
class _Words:
    """Expands the texts of one instruction with the variables of one scope."""

    variables: Mapping[str, str]
    escape: str
    _characters: int = 0

    def one(self, text: str) -> str:
        return self._counted(expand(text, self.variables, escape=self.escape))

    def _counted(self, text: str) -> str:
        self._characters += len(text)
        if self._characters > MAX_SCOPE_CHARACTERS:
            raise InvalidError(f"The instruction grows to over {MAX_SCOPE_CHARACTERS} characters.", remedy="Use shorter values.")
        return text

    def maybe(self, text: str | None) -> str | None:
        return None if text is None else self.one(text)

    def many(self, texts: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(self.one(text) for text in texts)

    def pairs(self, pairs: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        return tuple((self.one(name), self.one(value)) for name, value in pairs)

    def heredocs(self, heredocs: tuple[model.Heredoc, ...]) -> tuple[model.Heredoc, ...]:
        return tuple(self._heredoc(heredoc) if heredoc.expands else heredoc for heredoc in heredocs)

    def _heredoc(self, heredoc: model.Heredoc) -> model.Heredoc:
        content = self._counted(expand_heredoc(heredoc.content, self.variables))
        return model.Heredoc(heredoc.name, content, expands=False)


def _transfer(found: model.Copy | model.Add, words: _Words) -> model.Copy | model.Add:
    return replace(
        found,
        sources=words.many(found.sources),
        heredocs=words.heredocs(found.heredocs),
        destination=words.one(found.destination),
        chown=words.maybe(found.chown),
        chmod=words.maybe(found.chmod),
        exclude=words.many(found.exclude),
    )


def _add(found: model.Add, words: _Words) -> model.Copy | model.Add:
    return _transfer(replace(found, checksum=words.maybe(found.checksum)), words)


def _run(found: model.Run, words: _Words) -> model.Run:
    """The command is left alone; the mounts are not the shell's to expand."""
    mounts = (
        replace(mount, target=words.one(mount.target), source=words.one(mount.source), id=words.one(mount.id)) for mount in found.mounts
    )
    return replace(found, mounts=tuple(mounts))


def _expose(found: model.Expose, words: _Words) -> model.Expose:
    ports = (port for text in found.ports for port in expand_words(text, words.variables, escape=words.escape))
    return replace(found, ports=tuple(ports))


_EXPANDERS: Final[Mapping[type[Instruction], Callable[..., Instruction]]] = {
    model.Add: _add,
    model.Arg: lambda found, words: replace(found, name=words.one(found.name), default=words.maybe(found.default)),
    model.Copy: _transfer,
    model.Env: lambda found, words: replace(found, pairs=words.pairs(found.pairs)),
    model.Expose: _expose,
    model.From: lambda found, words: replace(found, base=words.one(found.base), platform=words.maybe(found.platform)),
    model.Label: lambda found, words: replace(found, pairs=words.pairs(found.pairs)),
    model.Run: _run,
    model.User: lambda found, words: replace(found, user=words.one(found.user)),
    model.Workdir: lambda found, words: replace(found, path=words.one(found.path)),
}
