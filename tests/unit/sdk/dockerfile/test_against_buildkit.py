"""Our parser and BuildKit's own (the package ``dockerfile`` embeds it) read the same file the same way.

BuildKit's does not look into arguments: it leaves mounts unsplit, and knows neither flags nor keywords. It reads a JSON list that
is followed by more text as a list and forgets the text, which later versions of BuildKit do not; no file here has that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import dockerfile as buildkit  # type: ignore[import-not-found]  # the package ships no types
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from cove.dockerfile import parse_dockerfile
from cove.dockerfile.model import (
    Add,
    Arg,
    Cmd,
    Copy,
    Dockerfile,
    Entrypoint,
    Env,
    Expose,
    From,
    Healthcheck,
    Instruction,
    Label,
    Maintainer,
    Run,
    Shell,
    User,
    Workdir,
)
from cove.dockerfile.parser import _instructions
from cove.dockerfile.statements import Source, Statement
from cove.dockerfile.words import heredoc_mark, parse_json
from cove.exception import Error, UnimplementedError

from .corpus import CORPUS


def cut_by_us(text: str) -> list[tuple[object, ...]]:
    return [_cut(statement) for statement in Source.of(text).statements()]


def _cut(found: Statement) -> tuple[object, ...]:
    last = found.line + found.original.count("\n")
    return found.keyword, found.flags, found.line, last, [(heredoc.name, heredoc.raw) for heredoc in found.heredocs]


def cut_by_buildkit(text: str) -> list[tuple[object, ...]]:
    return [
        (found.cmd.upper(), found.flags, found.start_line, found.end_line, [(heredoc.name, heredoc.content) for heredoc in found.heredocs])
        for found in buildkit.parse_string(text)
        if found.cmd is not None  # an escape character alone on the last line
    ]


def values_by_us(text: str) -> list[tuple[str, list[str]]]:
    """Keyword and arguments of each statement, as far as the typed form keeps them."""
    found: dict[int, tuple[str, list[str]]] = {}
    for instruction in _instructions(Source.of(text)):
        keyword = type(instruction).__name__.upper()
        found.setdefault(instruction.line, (keyword, []))[1].extend(_values(instruction))
    return list(found.values())


def _values(found: Instruction) -> Iterator[str]:
    match found:
        case Run(command=command) | Cmd(command=command) | Entrypoint(command=command):
            yield from (command,) if isinstance(command, str) else command
        case Healthcheck(command=command):
            yield from ("NONE",) if command is None else ("CMD", *((command,) if isinstance(command, str) else command))
        case Copy() | Add():
            yield from (*found.sources, found.destination)
        case Env(pairs=pairs) | Label(pairs=pairs):
            yield from (text for pair in pairs for text in pair)
        case Arg(name=name, default=default):
            yield name if default is None else f"{name}={default}"
        case From(base=base, name=name):
            yield from (base,) if name is None else (base, "AS", name)
        case Expose(ports=ports):
            yield from ports
        case Shell(argv=argv):
            yield from argv
        case User(user=text) | Workdir(path=text) | Maintainer(name=text):
            yield text


def values_by_buildkit(text: str) -> list[tuple[str, list[str]]]:
    return [
        (found.cmd.upper(), list(_typed(found.cmd.upper(), found.value, is_json=found.json)))
        for found in buildkit.parse_string(text)
        if found.cmd
    ]


def _typed(keyword: str, values: tuple[str, ...], *, is_json: bool) -> Iterator[str]:
    for index, value in enumerate(values):
        if keyword in ("COPY", "ADD") and not is_json and heredoc_mark(value):
            continue
        if keyword == "FROM" and index:
            yield "AS" if index == 1 else value.lower()
        elif keyword == "HEALTHCHECK" and not index:
            yield value.upper()
        else:
            yield value


@pytest.mark.parametrize("text", CORPUS.values(), ids=CORPUS.keys())
def test_statements_are_cut_alike(text: str) -> None:
    assert cut_by_us(text) == cut_by_buildkit(text)


@pytest.mark.parametrize("text", CORPUS.values(), ids=CORPUS.keys())
def test_arguments_are_read_alike(text: str) -> None:
    assert values_by_us(text) == values_by_buildkit(text)


@pytest.mark.parametrize("text", CORPUS.values(), ids=CORPUS.keys())
def test_the_corpus_is_valid(text: str) -> None:
    assert isinstance(parse_dockerfile(text), Dockerfile)


PIECES = st.sampled_from(
    [
        *" \t\\`'\"#$[]{}<>=,-\n",
        *(
            "\\\n",
            "\r\n",
            "  ",
            "\\ ",
            '\\"',
            "''",
            '""',
            "<<E",
            "<<-E",
            "<<'E'",
            '<<"E F"',
            "\nE\n",
            "\n\tE\n",
            "\nE F\n",
            "\n# c\n",
            "\n\n",
        ),
        *("a", "b=c", "A=1", "\v", "\f", "--x=1", "--from=a", "--", "$A", "${A}", '["a","b"]', "[1]", "[ -f", '["', "/"),
    ]
)
KEYWORDS = st.sampled_from(
    [*("RUN", "COPY", "ADD", "ENV", "LABEL", "ARG", "CMD", "ENTRYPOINT", "WORKDIR", "USER", "EXPOSE", "HEALTHCHECK", "run", "FROM", "# x")]
)


@st.composite
def lines(draw: st.DrawFn) -> str:
    return f"{draw(KEYWORDS)}{draw(st.sampled_from([' ', ' ', '  ', chr(9)]))}{''.join(draw(st.lists(PIECES, max_size=12)))}"


FILES = st.builds(
    lambda head, body: f"{head}FROM a\n" + "\n".join(body),
    st.sampled_from(["", "# escape=`\n", "# syntax=x\n"]),
    st.lists(lines(), max_size=5),
)


def _is_beyond_the_oracle(text: str) -> bool:
    """What BuildKit's version there does otherwise, or what its shell lexer gives up on when it looks for heredocs."""
    if re.search(r"\$\{(?![A-Za-z_]+\})|\$(?:[^{\w]*[{}'\"\\]|\Z)", text):
        return True
    # A list followed by something.
    return any(
        found.json and parse_json(re.sub(r"^\S+\s+(?:--\S*\s+)*", "", found.original.strip())) is None
        for found in buildkit.parse_string(text)
    )


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(FILES)
def test_generated_files_are_cut_alike(text: str) -> None:
    try:
        theirs = cut_by_buildkit(text)
        assume(not _is_beyond_the_oracle(text))
    except buildkit.GoParseError as error:
        assume("JSON array" not in str(error))  # it may be followed by something
        with pytest.raises(Error):
            values_by_us(text)
        return
    try:
        ours = cut_by_us(text)
    except Error as error:
        pytest.fail(f"BuildKit reads it, we do not: {error}")
    assert ours == theirs


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(FILES)
def test_generated_arguments_are_read_alike(text: str) -> None:
    try:
        theirs = values_by_buildkit(text)
        assume(not _is_beyond_the_oracle(text))
        ours = values_by_us(text)
    except (buildkit.GoParseError, UnimplementedError):
        return
    except Error:  # we are stricter: flags, keywords and numbers of arguments are known
        return
    assert ours == theirs
