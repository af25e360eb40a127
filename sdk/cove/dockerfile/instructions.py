"""From statements to instructions: which flags and arguments each keyword takes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final, TypeVar

from cove.dockerfile import model
from cove.dockerfile.flags import Flags
from cove.dockerfile.healthcheck import parse_healthcheck
from cove.dockerfile.model import Instruction
from cove.dockerfile.mounts import parse_mount
from cove.dockerfile.problems import at_line, cut, unsupported
from cove.dockerfile.statements import Statement
from cove.dockerfile.transfers import parse_add, parse_copy
from cove.dockerfile.words import GAP, parse_json, split_plain, split_quoted
from cove.exception import InvalidError

MAX_KEYWORD: Final = 40
_STAGE_NAME: Final = re.compile(r"[a-z][a-z0-9._-]*")
_NETWORKS: Final = ("default", "none")
_UNSUPPORTED: Final = {
    "ONBUILD": "Write the instruction into the Dockerfiles that build on this image.",
    "STOPSIGNAL": "Remove it: cove ends sandboxes with SIGTERM, then SIGKILL.",
    "VOLUME": "Remove it, and attach a Volume where the image is used.",
}
_Made = TypeVar("_Made", bound=Instruction)


@dataclass(frozen=True, slots=True)
class _Reading:
    """A statement being read, and the escape character of its file."""

    statement: Statement
    escape: str

    @property
    def rest(self) -> str:
        return self.statement.rest

    def make(self, kind: type[_Made], **values: Any) -> _Made:
        return kind(line=self.statement.line, original=self.statement.original, **values)

    def flags(self, *known: str, many: tuple[str, ...] = ()) -> Flags:
        return Flags(self.statement.flags, known, many=many)

    def whole(self) -> str:
        """The arguments as one text, where there are no flags and something must be there."""
        self.flags()
        if not self.rest:
            raise InvalidError(f"{self.statement.keyword} needs an argument.", remedy="Add it, or remove the line.")
        return self.rest


def parse_statement(statement: Statement, escape: str) -> tuple[Instruction, ...]:
    """The instructions that ``statement`` stands for: one, but for ``ARG a b``.

    Raises:
        InvalidError: unknown keyword, flag or argument; with the line.
        UnimplementedError: what cove does not have; with the line.
    """
    with at_line(statement.line, statement.original):
        if statement.keyword in _UNSUPPORTED:
            raise unsupported(statement.keyword, instead=_UNSUPPORTED[statement.keyword])
        if (reader := _READERS.get(statement.keyword)) is None:
            raise _unknown(statement.keyword)
        result = reader(_Reading(statement, escape))
        return result if isinstance(result, tuple) else (result,)


def _unknown(keyword: str) -> InvalidError:
    known = (*_READERS, *_UNSUPPORTED)
    close = get_close_matches(keyword, known, 1) if len(keyword) <= MAX_KEYWORD else []
    remedy = f"Did you mean {close[0]}?" if close else "A line that belongs to the one before needs a \\ at the end of that one."
    return InvalidError(f"There is no instruction {cut(keyword)[:MAX_KEYWORD]}.", remedy=remedy)


def _command(text: str) -> str | tuple[str, ...]:
    argv = parse_json(text)
    return text if argv is None else argv


def _from(reading: _Reading) -> model.From:
    platform = reading.flags("platform").text("platform")
    words = split_plain(reading.rest)
    if len(words) not in (1, 3) or (len(words) == 3 and words[1].upper() != "AS"):
        raise InvalidError("FROM takes an image, or an image AS a name.", remedy="Write FROM image or FROM image AS name.")
    name = words[2].lower() if len(words) == 3 else None
    if name is not None and not _STAGE_NAME.fullmatch(name):
        raise InvalidError(
            f"{cut(name)!r} cannot name a stage.", remedy="Begin with a letter; then letters, digits, dash, dot and underscore."
        )
    return reading.make(model.From, base=words[0], name=name, platform=platform)


def _arg(reading: _Reading) -> tuple[model.Arg, ...]:
    found = []
    for word in split_quoted(reading.whole(), reading.escape):
        name, equals, default = word.partition("=")
        if not name:
            raise InvalidError("An ARG has no name.", remedy="Write ARG name or ARG name=default.")
        found.append(reading.make(model.Arg, name=name, default=default if equals else None))
    return tuple(found)


def _pairs(reading: _Reading) -> tuple[tuple[str, str], ...]:
    """``a=1 b=2``, or in the old form ``a 1``: one name, and the rest of the line."""
    keyword, words = reading.statement.keyword, split_quoted(reading.whole(), reading.escape)
    pairs = [word.partition("=") for word in words]
    if not words or not pairs[0][1]:
        name, *value = GAP.split(reading.rest, maxsplit=1)
        if not value:
            raise InvalidError(f"{keyword} needs a name and a value.", remedy=f"Write {keyword} name=value.")
        return ((name, value[0]),)
    for name, equals, _ in pairs:
        if not name or not equals:
            raise InvalidError(f"{cut(name) or '=…'!r} is not name=value.", remedy="Put values with spaces in double quotes.")
    return tuple((name, value) for name, _, value in pairs)


def _run(reading: _Reading) -> model.Run:
    flags = reading.flags("mount", "network", "security", many=("mount",))
    network = flags.text("network") or "default"
    if network not in _NETWORKS:
        raise unsupported(f"RUN --network={cut(network)}", instead="Use --network=default or --network=none.")
    if flags.text("security") not in (None, "sandbox"):
        raise unsupported("RUN --security=insecure", instead="Remove the flag: the step is root in a sandbox of its own.")
    command = _command(reading.rest)
    if not command:
        raise InvalidError("RUN needs a command.", remedy="Add it, or remove the line.")
    mounts = tuple(parse_mount(text) for text in flags.texts("mount"))
    return reading.make(model.Run, command=command, heredocs=reading.statement.heredocs, mounts=mounts, network=network)


def _shell(reading: _Reading) -> model.Shell:
    argv = parse_json(reading.whole())
    if not argv:
        raise InvalidError("SHELL takes a JSON list.", remedy='Write SHELL ["/bin/bash", "-c"].')
    return reading.make(model.Shell, argv=argv)


def _optional_command(kind: type[model.Cmd] | type[model.Entrypoint]) -> Callable[[_Reading], Instruction]:
    def read(reading: _Reading) -> Instruction:
        reading.flags()
        return reading.make(kind, command=_command(reading.rest) or ())

    return read


_READERS: Final[Mapping[str, Callable[[_Reading], Instruction | tuple[Instruction, ...]]]] = {
    "ADD": lambda reading: parse_add(reading.statement),
    "ARG": _arg,
    "CMD": _optional_command(model.Cmd),
    "COPY": lambda reading: parse_copy(reading.statement),
    "ENTRYPOINT": _optional_command(model.Entrypoint),
    "ENV": lambda reading: reading.make(model.Env, pairs=_pairs(reading)),
    "EXPOSE": lambda reading: reading.make(model.Expose, ports=tuple(split_plain(reading.whole()))),
    "FROM": _from,
    "HEALTHCHECK": lambda reading: parse_healthcheck(reading.statement),
    "LABEL": lambda reading: reading.make(model.Label, pairs=_pairs(reading)),
    "MAINTAINER": lambda reading: reading.make(model.Maintainer, name=reading.whole()),
    "RUN": _run,
    "SHELL": _shell,
    "USER": lambda reading: reading.make(model.User, user=reading.whole()),
    "WORKDIR": lambda reading: reading.make(model.Workdir, path=reading.whole()),
}
