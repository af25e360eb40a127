"""Instructions whose text means what it shall, whatever is in their arguments. Pure.

Two readers have to be satisfied: the Dockerfile's (continuation lines, variables, quotes, JSON) and, in RUN, the shell.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from cove.exception import InvalidError

_NOT_IN_LINE: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
_NOT_TEXT: Final = re.compile(r"[\x00\ud800-\udfff]")
_MEANS_SOMETHING: Final = re.compile(r"""[\\$'"]""")
_VARIABLE_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*")
_IN_VALUE: Final = re.compile(r"""(?P<kept>\\\$|\$(?=[A-Za-z_]|\{[A-Za-z_]))|[\\"$]""")
"""In a value of ENV: a dollar that is escaped already, one that begins a variable, and what has to be escaped."""


def run(command: str) -> str:
    """RUN, by the image's shell. A command of several lines becomes a heredoc, which the shell gets as it is.

    Raises:  InvalidError: empty, or not text.
    """
    command = command.strip("\n")
    if not command.strip():
        raise InvalidError("A command is empty.", remedy="Leave it out.")
    if _NOT_TEXT.search(command):
        raise InvalidError("A command has a NUL character or a lone surrogate.", remedy="Use text.")
    if "\n" not in command and not command.endswith("\\"):
        return f"RUN {command}"
    mark = "END_OF_COMMAND"
    while mark in command:
        mark += "_"
    return f"RUN <<'{mark}'\n{command}\n{mark}"


def exec_form(keyword: str, argv: Sequence[str]) -> str:
    """CMD, ENTRYPOINT or SHELL with an argument vector.

    Raises:  InvalidError: not a list of strings.
    """
    if isinstance(argv, str) or not all(isinstance(argument, str) for argument in argv):
        raise InvalidError(f"{keyword} takes a list of strings.", remedy=f'Write it as ["program", "argument"], not as {argv!r:.80}.')
    if any(_NOT_TEXT.search(argument) for argument in argv):
        raise InvalidError(f"An argument of {keyword} has a NUL character or a lone surrogate.", remedy="Use text.")
    return f"{keyword} {json.dumps(list(argv))}"


def copy(source: str, target: str) -> str:
    """COPY of ``source``, a name of ours in the context, to the absolute path ``target``, taken literally."""
    return f"COPY {json.dumps([source, _literal(target)])}"


def env_all(variables: Mapping[str, str]) -> str:
    """ENV with several variables: none sees the others' new values."""
    return " ".join(["ENV", *(env(name, value).removeprefix("ENV ") for name, value in variables.items())])


def env(name: str, value: str) -> str:
    r"""ENV. ``$NAME`` and ``${NAME}`` in the value are variables of the image so far; ``\$`` is a dollar.

    Raises:  InvalidError: a name or value that an image cannot have.
    """
    if not isinstance(name, str) or not isinstance(value, str):
        raise InvalidError("Names and values of environment variables are strings.", remedy="Convert other values with str().")
    if not _VARIABLE_NAME.fullmatch(name):
        raise InvalidError(f"{name[:80]!r} cannot name an environment variable.", remedy="Use letters, digits, '_', '.' and '-'.")
    check_line(value, what=f"The value of environment variable {name[:80]!r}")
    return f'ENV {name}="{_IN_VALUE.sub(_escaped, value)}"'


def workdir(path: str) -> str:
    """WORKDIR, with variables as in :func:`env`."""
    check_line(path, what="The working directory")
    if not path:
        raise InvalidError("The working directory is empty.", remedy="Name a directory.")
    return f'WORKDIR "{_IN_VALUE.sub(_escaped, path)}"'


def shell_words(words: Iterable[str]) -> str:
    """``words`` as the shell takes them apart again."""
    return shlex.join(words)


def check_line(text: str, *, what: str) -> str:
    """``text`` if it fits into a line.

    Raises:  InvalidError: it has line breaks or other control characters. The text itself stays out of the error.
    """
    if not isinstance(text, str):
        raise InvalidError(f"{what} is {type(text).__name__}, not str.", remedy="Pass a string.")
    if _NOT_IN_LINE.search(text):
        raise InvalidError(f"{what} has line breaks or control characters.", remedy="Use one line of text.")
    return text


def check_text(text: str, *, what: str) -> str:
    """``text`` if it can be in a Dockerfile. Raises: InvalidError."""
    if _NOT_TEXT.search(text):
        raise InvalidError(f"{what} has a NUL character or a lone surrogate.", remedy="Use text.")
    return text


def _literal(text: str) -> str:
    """``text`` such that replacing variables and removing quotes gives it back."""
    return _MEANS_SOMETHING.sub(r"\\\g<0>", text)


def _escaped(match: re.Match[str]) -> str:
    return match[0] if match["kept"] else f"\\{match[0]}"
