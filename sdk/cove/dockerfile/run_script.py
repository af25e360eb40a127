"""What a RUN gives to the shell. Source: Dockerfile reference, "Here-documents"."""

from __future__ import annotations

from dataclasses import dataclass

from cove.dockerfile.model import Run
from cove.dockerfile.words import heredoc_mark


@dataclass(frozen=True, slots=True)
class Script:
    """What to run.

    Attributes:
        text: for the shell, or the content of a program.
        is_program: it begins with ``#!``: to be written to a file, made executable and run.
    """

    text: str
    is_program: bool = False


def script_of(run: Run) -> Script | tuple[str, ...]:
    """The script of a shell form, or the argv of an exec form.

    A heredoc alone is the script itself. With a command beside it, the shell reads it as it would in a script of its own.
    """
    if not isinstance(run.command, str):
        return run.command
    if not run.heredocs:
        return Script(run.command)
    if len(run.heredocs) == 1 and heredoc_mark(run.command):
        content = run.heredocs[0].content
        return Script(content, is_program=content.startswith("#!"))
    return Script("\n".join([run.command, *(f"{heredoc.raw}{heredoc.name}" for heredoc in run.heredocs), ""]))
