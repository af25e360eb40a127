"""Which stages and which files a build needs."""

from __future__ import annotations

import time

import pytest

from cove.dockerfile import parse_commands, parse_dockerfile, stages_of_commands
from cove.dockerfile.plan import Plan, make_plan
from cove.dockerfile.scope import platform_args
from cove.dockerfile.selection import Selection
from cove.exception import Error, InvalidError

from .corpus import CORPUS


def plan(text: str, target: str | None = None, **build_args: str) -> Plan:
    return make_plan(parse_dockerfile(text), build_args=build_args, target=target)


def order(found: Plan) -> list[int]:
    return [stage.index for stage in found.stages]


STAGES = """
FROM a AS one
COPY 1 /
FROM one AS two
COPY 2 /
FROM b AS three
COPY 3 /
COPY --from=two /x /x
FROM c AS four
COPY 4 /
FROM scratch AS five
COPY --from=0 /x /x
COPY --from=busybox:1 /bin/sh /sh
RUN --mount=type=bind,from=four,target=/f --mount=type=bind,source=m*,target=/m x
COPY --from=scratch /x /x
"""


@pytest.mark.parametrize(
    ("target", "stages", "sources"),
    [
        ("one", [0], ("1",)),
        ("TWO", [0, 1], ("1", "2")),
        ("three", [0, 1, 2], ("1", "2", "3")),
        ("3", [3], ("4",)),
        ("five", [0, 3, 4], ("1", "4", "m*")),
        (None, [0, 3, 4], ("1", "4", "m*")),
    ],
)
def test_only_what_the_target_needs(target: str | None, stages: list[int], sources: tuple[str, ...]) -> None:
    found = plan(STAGES, target)
    assert order(found) == stages
    assert found.sources == sources


def test_what_is_known_of_a_stage() -> None:
    last = plan(STAGES).stages[-1]
    assert (last.base, set(last.uses), set(last.images)) == ("scratch", {0, 3}, {"busybox:1"})
    assert plan(STAGES, "two").stages[-1].base == 0


def test_bases_and_platforms_have_variables() -> None:
    found = plan("ARG V=1\nARG P\nFROM --platform=$TARGETPLATFORM x:${V} AS a\nFROM ${P:-a}", V="2", **platform_args())
    assert [(stage.base, stage.platform) for stage in found.stages] == [("x:2", "linux/amd64"), (0, None)]


def test_a_name_means_the_last_stage_before() -> None:
    found = plan("FROM x AS a\nFROM y AS a\nFROM a")
    assert [(stage.index, stage.base) for stage in found.stages] == [(1, "y"), (2, 1)]


def test_a_stage_named_as_its_own_base_takes_the_image() -> None:
    assert plan("FROM debian AS debian\nRUN x").stages[0].base == "debian"


@pytest.mark.parametrize(
    ("text", "target", "said"),
    [
        ("FROM a AS x", "y", "no stage 'y'"),
        ("FROM a", "1", "no stage '1'"),
        ("FROM a", "9" * 5000, "no stage"),
        ("FROM a\nCOPY --from=1 a b", None, "no stage '1'"),
        ("FROM a AS x\nCOPY --from=x a b", None, "uses itself"),
        ("FROM a AS x\nCOPY --from=y a b\nFROM x AS y", None, "uses itself"),
        ("FROM a\nCOPY --from=0 a b", None, "uses itself"),
        ("FROM $X", None, "names nothing"),
        ("FROM ${X", None, "line 1"),
        ("FROM a\nCOPY ../x /", None, "line 2: The source '../x' is outside"),
        ("FROM a\nCOPY x/../../y /", None, "outside"),
        ("FROM a\nCOPY /../y /", None, "outside"),
        ("FROM a\nARG X=..\nCOPY $X/y /", None, "outside"),
        ("FROM a\nRUN --mount=type=bind,source=../x,target=/x y", None, "outside"),
        (f"FROM a\nCOPY {'x' * 5000} /", None, "too long"),
    ],
)
def test_what_makes_no_sense(text: str, target: str | None, said: str) -> None:
    with pytest.raises(InvalidError) as caught:
        plan(text, target)
    assert said in caught.value.cause
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("COPY a b/ /c* ./d//e /x/", ("a", "b", "c*", "d/e")),
        ("COPY . /x", (".",)),
        ("COPY / /x", (".",)),
        ("COPY ./ /x", (".",)),
        ("COPY a/../b /x", ("b",)),
        ('COPY ["a b", "/x"]', ("a b",)),
        ("COPY a\\ b /x", ("a", "b")),
        ("COPY <<a b /x/\na", ("b",)),
        ("COPY --from=x a /x", ()),
        ("ADD https://example.com/a b /x/", ("b",)),
        ("ADD ${URL}/a b /x/", ("b",)),
        ("COPY $SET /x", ("dir",)),
        ("COPY $DECLARED /x", (".",)),  # the image might set it
        ("COPY $FROM_THE_IMAGE/a /x", (".",)),
        ("COPY \\$a /x", ("$a",)),
        ("RUN --mount=target=/x y", (".",)),
        ("RUN --mount=type=cache,target=/x,source=y z", ()),
        ("COPY --parents a/./b/*.c /x", ("a/b/*.c",)),
    ],
)
def test_sources(line: str, expected: tuple[str, ...]) -> None:
    assert plan(f"FROM a\nENV SET=dir URL=http://x\nARG DECLARED\n{line}").sources == expected


def test_environment_comes_along_from_stage_to_stage_but_arguments_do_not() -> None:
    text = "FROM scratch AS a\nENV E=1\nARG A=2\nFROM a AS b\nENV F=x$E\nFROM b\nCOPY $E $F z$A /x/"
    assert plan(text).sources == ("1", "x1", "z")


def test_what_an_image_may_set_is_not_taken_for_unset() -> None:
    assert plan("FROM image AS a\nFROM a\nCOPY x$A /x/").sources == (".",)
    assert plan("FROM scratch AS a\nFROM a\nCOPY x$A /x/").sources == ("x",)


def test_commands_for_an_image_that_exists() -> None:
    commands = parse_commands(["COPY a /a", "FROM golang AS build", "COPY src /src", "FROM base", "COPY --from=build /x /x"])
    found = make_plan(stages_of_commands(commands), build_args={})
    assert [(stage.index, stage.base) for stage in found.stages] == [(0, None), (1, "golang"), (2, 0)]
    assert found.sources == ("a", "src")


def test_the_scope_of_a_stage() -> None:
    scope = plan("ARG A=1\nFROM a", B="2").stage_scope({"C": "3"})
    assert (scope.variables, scope.global_args, scope.given) == ({"C": "3"}, {"A": "1"}, {"B": "2"})


@pytest.mark.parametrize("text", CORPUS.values(), ids=CORPUS.keys())
def test_the_corpus_can_be_planned_or_says_why(text: str) -> None:
    try:
        found = plan(text, **platform_args())
    except Error as error:
        assert error.remedy
    else:
        assert order(found)[-1] == len(parse_dockerfile(text).stages) - 1


def test_a_long_chain_of_stages_is_planned_soon() -> None:
    text = "FROM scratch AS s0\n" + "".join(f"FROM s{number} AS s{number + 1}\nCOPY --from=0 {number} /\n" for number in range(900))
    started = time.process_time()
    assert len(plan(text).stages) == 901
    assert time.process_time() - started < 5


def test_many_different_sources_are_refused() -> None:
    text = "FROM scratch\n" + "".join(f"COPY {' '.join(f'{line}-{number}' for number in range(500))} /x/\n" for line in range(30))
    with pytest.raises(InvalidError, match="more than"):
        plan(text)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("ENV A=$X/src\nCOPY $A /x", (".",)),
        ("ENV A=$X/src B=b\nCOPY $B /x", ("b",)),
        ("ENV A=1\nENV A=$X\nCOPY $A /x", (".",)),
        ("ENV A=$X\nENV A=1\nCOPY $A /x", ("1",)),
        ("ARG A=1\nENV A=$X\nCOPY $A /x", (".",)),
        ("ARG A=$X\nCOPY $A /x", (".",)),
        ("ARG GIVEN=$X\nCOPY $GIVEN /x", ("given",)),
        ("ENV A=${X:?absent}\nLABEL a=${X:?absent}\nCOPY a ${X:?absent}", ("a",)),
        ("COPY a $X/c b /x/", (".", "a", "b")),
    ],
)
def test_what_is_assigned_from_the_unknown_is_unknown(lines: str, expected: tuple[str, ...]) -> None:
    assert plan(f"FROM image\n{lines}", GIVEN="given").sources == expected


def test_the_unknown_stays_unknown_in_later_stages() -> None:
    assert plan("FROM image AS a\nENV A=$X B=b\nFROM a\nCOPY $B /x\nCOPY $A /x").sources == (".", "b")


@pytest.mark.parametrize(
    ("sources", "path", "expected"),
    [
        ([], "a", False),
        (["."], "a/b", True),
        (["a"], "a", True),
        (["a"], "a/b/c", True),
        (["a"], "ab", False),
        (["a/b"], "a", False),
        (["*.py"], "x.py", True),
        (["*.py"], "a/x.py", False),
        (["d*"], "dir/x/y", True),
        (["a/*/c"], "a/b/c/d", True),
        (["a/*/c"], "a/b/d", False),
        (["a[bc]", "x"], "ab", True),
        (["a\\*"], "a*", True),
    ],
)
def test_selection(sources: list[str], path: str, expected: bool) -> None:
    assert Selection(sources).selects(path) is expected
