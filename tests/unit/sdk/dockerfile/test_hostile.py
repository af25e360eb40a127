"""Nothing that a stranger sends makes the parser raise what is not ours, or takes it long."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cove.dockerfile import parse_commands, parse_dockerfile, stages_of_commands
from cove.dockerfile.model import Run
from cove.dockerfile.plan import make_plan
from cove.dockerfile.run_script import script_of
from cove.dockerfile.scope import platform_args
from cove.dockerfile.statements import MAX_BYTES
from cove.exception import MAX_TEXT, Error

from .corpus import CORPUS

ALMOST = MAX_BYTES - 100


def read_all(text: str) -> None:
    """Everything that is done with a Dockerfile before its first step runs."""
    dockerfile = parse_dockerfile(text)
    make_plan(dockerfile, build_args=platform_args())
    for stage in dockerfile.stages:
        for instruction in stage.instructions:
            if isinstance(instruction, Run):
                script_of(instruction)


def read_or_refuse(text: str) -> None:
    try:
        read_all(text)
    except Error as error:
        assert error.remedy
        assert error.code in ("invalid", "unimplemented", "too_large")
        assert len(str(error)) <= 2 * MAX_TEXT + 1
        str(error).encode()


@settings(max_examples=500, deadline=None)
@given(st.text())
def test_any_text(text: str) -> None:
    read_or_refuse(text)
    read_or_refuse(f"FROM a\n{text}")


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    read_or_refuse("FROM a\nRUN " + data.decode(errors="surrogateescape"))


KEYWORDS = ["RUN ", "COPY ", "ADD ", "ENV ", "ARG ", "LABEL ", "FROM ", "CMD ", "SHELL ", "HEALTHCHECK ", "EXPOSE ", "USER ", "WORKDIR "]
PIECES = [
    *("--mount=type=cache,target=/x ", "--mount=", "--from=", "--exclude=", "--chown=", "--", "--interval=", "--link", "--platform="),
    *(
        "<<E",
        "<<-'E'",
        "\nE\n",
        "\n",
        "\\\n",
        "# ",
        "$A",
        "${A",
        "${A:-",
        "}",
        "'",
        '"',
        "[",
        '["a"',
        "]",
        ",",
        "=",
        " ",
        "a",
        "../",
        "*",
        "AS ",
    ),
]


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(KEYWORDS), st.lists(st.sampled_from(PIECES), max_size=6).map("".join)), max_size=4))
def test_pieces_of_the_language_in_any_order(found: list[tuple[str, str]]) -> None:
    read_or_refuse("FROM a AS a\n" + "\n".join(f"{keyword}{rest}" for keyword, rest in found))


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(list(CORPUS.values())), st.data())
def test_files_with_a_piece_cut_out_or_put_in(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 10)))
    read_or_refuse(text[:start] + data.draw(st.sampled_from(["", *PIECES])) + text[end:])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text(max_size=30), max_size=4))
def test_any_commands(lines: list[str]) -> None:
    with suppress(Error):
        stages_of_commands(parse_commands(lines))


@pytest.mark.parametrize(
    "piece",
    [
        *(
            "x",
            " ",
            "\t",
            "\n",
            "\\",
            "\\\n",
            "\\ ",
            "#\n",
            "\r",
            "'",
            '"',
            "''",
            "\\'",
            "$",
            "${A}",
            "${",
            "$A ",
            "[",
            '["',
            "]",
            "1",
            "<<",
            "<<E ",
        ),
        *(
            "<<E<<",
            "<<'",
            "--",
            "--x ",
            "--x='",
            "-- ",
            "--mount=type=cache,target=/x ",
            "a=",
            "a=1 ",
            "a= ",
            "é",
            "\u3000",
            "\x1c",
            "/",
            "../",
        ),
        *("<<-\n", "a/./", "*", "**/", "a,", "AS ", "0", "1h", "\\\n#\n", "\\\n\n"),
    ],
)
@pytest.mark.parametrize("keyword", ["RUN", "COPY", "ENV"])
def test_time_is_linear_in_one_instruction(keyword: str, piece: str) -> None:
    started = time.process_time()
    with suppress(Error):
        read_all(f"FROM scratch\n{keyword} {piece * (ALMOST // len(piece.encode()))}")
    with suppress(Error):
        read_all("FROM scratch\n" + f"{keyword} {piece * (100_000 // len(piece.encode()))}\n" * 10)
    assert time.process_time() - started < 8


@pytest.mark.parametrize(
    "line",
    [
        *(
            "\n",
            "#\n",
            "RUN x\n",
            "RUN \\\n",
            "FROM a\n",
            "FROM scratch AS a\n",
            "ENV A=$A$A\n",
            "ARG A=x$A\n",
            "COPY a /b\n",
            "RUN <<E\nE\n",
        ),
        *(
            "RUN --mount=target=/x y\n",
            "RUN <<A <<B <<C\nA\nB\nC\n",
            "HEALTHCHECK NONE\n",
            "ENV A=1 B=2 C=$A\n",
            "LABEL a=$b$b\n",
            "RUN [1\n",
        ),
    ],
)
def test_time_is_linear_in_many_lines(line: str) -> None:
    started = time.process_time()
    with suppress(Error):
        read_all("FROM scratch\n" + line * (ALMOST // len(line)))
    with suppress(Error):
        read_all("FROM scratch\n" + line * 1990)
    assert time.process_time() - started < 8


@pytest.mark.parametrize("opening", ["[", '{"a":', "[[", '["a", ['])
def test_deep_json_is_no_problem(opening: str) -> None:
    read_or_refuse(f"FROM a\nCMD [{opening * (ALMOST // len(opening))}")
    read_or_refuse(f"FROM a\nCMD {'[' * 100_000}{']' * 100_000}")


def test_large_numbers_in_json_are_not_computed() -> None:
    started = time.process_time()
    read_or_refuse(f"FROM a\nCMD [{'9' * ALMOST}]")
    assert time.process_time() - started < 2


def test_large_values_cannot_be_multiplied() -> None:
    doubled = "ENV A=xxxxxxxxxxxxxxxx\n" + "ENV A=$A$A\n" * 13
    started = time.process_time()
    for line in (
        "COPY " + "$A " * 100_000 + "/x/",
        "LABEL " + "".join(f"l{number}=$A " for number in range(50_000)),
        "WORKDIR " + "$A" * 400_000,
    ):
        read_or_refuse(f"FROM scratch\n{doubled}{line}")
    assert time.process_time() - started < 10
