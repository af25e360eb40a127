"""From text to stages. Pure, bounded, linear in the size of the text; what it cannot read it says with line and remedy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from cove.dockerfile.instructions import parse_statement
from cove.dockerfile.model import Arg, Dockerfile, From, Instruction, Stage
from cove.dockerfile.problems import at_line
from cove.dockerfile.statements import Source
from cove.exception import InvalidError

BASE: Final = "base"
"""Name of the stage that is the image which :func:`parse_commands`' instructions are added to."""


def parse_dockerfile(text: str) -> Dockerfile:
    """What ``text``, the content of a Dockerfile, says.

    Raises:
        InvalidError: it is not a Dockerfile; names the line.
        UnimplementedError: it needs what cove does not have; names the line, and what to do instead.
        RequestSizeError: it is larger than any honest one: 1 MiB, 50,000 lines, 2,000 instructions
            of 128 Ki characters and 10,000 words each, 256 KiB in a heredoc.
    """
    source = Source.of(text)
    instructions = tuple(_instructions(source))
    start = next((index for index, instruction in enumerate(instructions) if isinstance(instruction, From)), len(instructions))
    for stray in instructions[:start]:
        if not isinstance(stray, Arg):
            with at_line(stray.line, stray.original):
                raise InvalidError("Only ARG can come before the first FROM.", remedy="Begin with FROM image.")
    if start == len(instructions):
        raise InvalidError("The Dockerfile has no FROM.", remedy="Begin with FROM image.")
    global_args = tuple(instruction for instruction in instructions[:start] if isinstance(instruction, Arg))
    return Dockerfile(tuple(_stages(instructions[start:])), global_args, source.escape, source.syntax)


def parse_commands(lines: Sequence[str]) -> tuple[Instruction, ...]:
    """Instructions to add to an image that exists; a FROM among them begins a stage, see :func:`stages_of_commands`.

    Args:    lines: each one or more lines; a line may continue in the next item.
    Raises:  as :func:`parse_dockerfile`.
    """
    return tuple(_instructions(Source.of("\n".join(lines))))


def stages_of_commands(instructions: Sequence[Instruction], *, escape: str = "\\") -> Dockerfile:
    """``instructions`` as a multi-stage build.

    The image that exists begins the first stage, which is called ``base``: after stages of their own for building something,
    ``FROM base`` goes on with it. As ever the last stage is the result.
    """
    start = next((index for index, instruction in enumerate(instructions) if isinstance(instruction, From)), len(instructions))
    first = Stage(None, BASE, None, tuple(instructions[:start]))
    return Dockerfile((first, *_stages(instructions[start:])), escape=escape)


def _instructions(source: Source) -> Iterator[Instruction]:
    for statement in source.statements():
        yield from parse_statement(statement, source.escape)


def _stages(instructions: Iterable[Instruction]) -> Iterator[Stage]:
    """Stages of instructions that begin with a FROM."""
    head: From | None = None
    body: list[Instruction] = []
    for instruction in instructions:
        if isinstance(instruction, From):
            yield from _stage(head, body)
            head, body = instruction, []
        else:
            body.append(instruction)
    yield from _stage(head, body)


def _stage(head: From | None, body: Sequence[Instruction]) -> Iterator[Stage]:
    if head is not None:
        yield Stage(head.base, head.name, head.platform, tuple(body), head.line)
