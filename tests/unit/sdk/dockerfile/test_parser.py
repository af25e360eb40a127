"""What the parser makes of instructions beyond BuildKit's own cut, and what it refuses, with line and remedy."""

from __future__ import annotations

import pytest

from cove.dockerfile import parse_commands, parse_dockerfile, stages_of_commands
from cove.dockerfile.model import Add, Arg, Cmd, Copy, Dockerfile, Env, From, Healthcheck, Heredoc, Mount, MountKind, Run, Stage
from cove.dockerfile.parser import BASE
from cove.dockerfile.run_script import Script, script_of
from cove.dockerfile.statements import MAX_BYTES, MAX_HEREDOC_BYTES, MAX_LINES, MAX_STATEMENT_CHARACTERS, MAX_STATEMENTS
from cove.dockerfile.words import MAX_WORDS
from cove.exception import Error, InvalidError, RequestSizeError, UnimplementedError

from .corpus import CORPUS


def only(text: str) -> object:
    """The instruction that follows a FROM."""
    (instruction,) = parse_dockerfile(f"FROM a\n{text}").stages[0].instructions
    return instruction


def test_stages_and_global_arguments() -> None:
    found = parse_dockerfile(CORPUS["application"])
    assert [(stage.base, stage.name, stage.line) for stage in found.stages] == [
        ("python:${PYTHON}-slim", "build", 3),
        ("python:${PYTHON}-slim", None, 11),
    ]
    assert [(arg.name, arg.default) for arg in found.global_args] == [("PYTHON", "3.12")]
    assert (found.syntax, found.escape) == ("docker/dockerfile:1", "\\")
    assert [type(instruction).__name__ for instruction in found.stages[1].instructions] == ["Copy", "User", "Expose", "Entrypoint"]


def test_instructions_know_where_they_stand() -> None:
    run = parse_dockerfile(CORPUS["continuation with comments"]).stages[0].instructions[0]
    assert (run.line, run.original) == (2, "RUN x && \\\n# one\n  # two\n    y \\\n#three\n  z")
    heredoc, after = parse_dockerfile(CORPUS["heredoc"]).stages[0].instructions
    assert heredoc.original.endswith("FROM b\nEOF")
    assert after.line == 8


def test_one_arg_line_can_declare_several() -> None:
    instructions = parse_dockerfile("FROM a\nARG A=1 B").stages[0].instructions
    assert [(found.name, found.default, found.line) for found in instructions if isinstance(found, Arg)] == [("A", "1", 2), ("B", None, 2)]


def test_check_directive_lets_further_directives_follow() -> None:
    assert parse_dockerfile("# check=skip=all\n# escape=`\nFROM a\nRUN x `\n y").escape == "`"


def test_mounts() -> None:
    run = only(
        "RUN --mount=type=bind,from=x,source=/a,target=/b,rw --mount=type=tmpfs,target=/t,size=64m"
        " --mount=type=secret,id=k,env=K,mode=0440,uid=1,required --mount=type=cache,dst=/c,sharing=locked,ro y"
    )
    assert isinstance(run, Run)
    assert run.mounts == (
        Mount(kind=MountKind.BIND, from_="x", source="/a", target="/b", read_only=False),
        Mount(kind=MountKind.TMPFS, target="/t", size_bytes=64 * 1024 * 1024),
        Mount(kind=MountKind.SECRET, id="k", env="K", mode=0o440, uid=1, required=True),
        Mount(kind=MountKind.CACHE, target="/c", sharing="locked", read_only=True),
    )


def test_a_bind_mount_is_read_only_unless_it_says_otherwise() -> None:
    run = only("RUN --mount=target=/x y")
    assert isinstance(run, Run)
    assert run.mounts[0].read_only


def test_transfers() -> None:
    copied = only("COPY --from=x --chmod=755 --exclude=*.md --exclude=b --parents --link a <<x b /d/\n1\nx")
    assert isinstance(copied, Copy)
    assert (copied.sources, copied.destination, copied.heredocs) == (("a", "b"), "/d/", (Heredoc("x", "1\n"),))
    assert (copied.from_, copied.chmod, copied.exclude, copied.parents, copied.link) == ("x", "755", ("*.md", "b"), True, True)
    added = only(f"ADD --checksum=sha256:{'a' * 64} --unpack=false --keep-git-dir https://example.com/x /y")
    assert isinstance(added, Add)
    assert (added.checksum, added.unpack, added.keep_git_dir) == (f"sha256:{'a' * 64}", False, True)


def test_healthcheck() -> None:
    found = only("HEALTHCHECK --interval=1m30s --timeout=.5s --retries=3 CMD curl x || exit 1")
    assert isinstance(found, Healthcheck)
    assert (found.interval_s, found.timeout_s, found.start_period_s, found.retries) == (90, 0.5, None, 3)
    assert found.command == "curl x || exit 1"
    assert getattr(only("HEALTHCHECK NONE"), "command", "") is None


def test_a_list_followed_by_text_is_for_the_shell() -> None:
    assert getattr(only('RUN ["a"] && b'), "command", None) == '["a"] && b'


def test_an_empty_command_clears() -> None:
    assert only("CMD []") == Cmd(line=2, original="CMD []", command=())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("RUN x y", Script("x y")),
        ('RUN ["x", "y"]', ("x", "y")),
        ("RUN <<EOF\nx\ny\nEOF", Script("x\ny\n")),
        ("RUN <<-EOF\n\tx\n\t\ty\n\tEOF", Script("x\ny\n")),
        ("RUN <<EOF\n#!/bin/python\nx\nEOF", Script("#!/bin/python\nx\n", is_program=True)),
        ("RUN cat <<A <<-B > x\n1\nA\n\t2\n\tB", Script("cat <<A <<-B > x\n1\nA\n\t2\nB\n")),
    ],
)
def test_scripts(text: str, expected: object) -> None:
    run = only(text)
    assert isinstance(run, Run)
    assert script_of(run) == expected


WRONG = {
    "FROM": "FROM takes",
    "FROM a b": "FROM takes",
    "FROM a AS": "FROM takes",
    "FROM a AS 1x": "cannot name a stage",
    "RUN": "needs a command",
    "RUN []": "needs a command",
    "RUN [1]": "not a string",
    "RUN [[[]]]": "not a string",
    "RUN --moun=x y": "no flag --moun",
    "RUN --network=none --network=none y": "given twice",
    "RUN --network y": "has no value",
    "RUN --mount=type=cache y": "needs a target",
    "RUN --mount=type=foo,target=/x y": "no mount of type",
    "RUN --mount=type=tmpfs,target=/x,id=y z": "has no option id",
    "RUN --mount=type=bind,target=/x,from=$y z": "cannot have variables",
    "RUN --mount=type=cache,target=/x,uid=z y": "not a number",
    "RUN --mount=type=cache,target=/x,mode=9 y": "not a number",
    "RUN --mount=type=cache,target=/x,sharing=z y": "sharing=z",
    "RUN --mount=type=tmpfs,target=/x,size=z y": "not a size",
    "RUN --mount=type=cache,target=/x,ro,rw y": "readonly or readwrite",
    "RUN --mount=type=cache,target y": "has no value",
    "RUN --mount=type=secret y": "needs an id",
    'RUN --mount=type=cache,\\"target=/x y': "not a list of options",
    "RUN <<EOF\nx": "does not end",
    "RUN <<EOF\nx\n EOF": "does not end",
    "COPY": "source and a destination",
    "COPY a": "source and a destination",
    'COPY ["a"]': "source and a destination",
    "COPY a <<EOF\nEOF": "cannot be the destination",
    "COPY --from=$x a b": "cannot have variables",
    "COPY --link=maybe a b": "true or false",
    "COPY --checksum=x a b": "no flag --checksum",
    "ADD --checksum=x https://a/b c": "not a checksum",
    "ADD --from=x a b": "no flag --from",
    "ENV": "needs an argument",
    "ENV A": "needs a name and a value",
    "ENV A=1 B": "not name=value",
    "ENV =1": "not name=value",
    "ENV --x A=1": "no flag --x",
    "LABEL a": "needs a name and a value",
    "ARG": "needs an argument",
    "ARG =x": "has no name",
    "SHELL bash -c": "JSON list",
    "SHELL []": "JSON list",
    "HEALTHCHECK": "HEALTHCHECK needs",
    "HEALTHCHECK CMD": "HEALTHCHECK needs",
    "HEALTHCHECK NONE x": "HEALTHCHECK needs",
    "HEALTHCHECK --interval=x CMD y": "not a duration",
    "HEALTHCHECK --interval=1us CMD y": "too short",
    "HEALTHCHECK --retries=-1 CMD y": "not a number",
    "WORKDIR": "needs an argument",
    "USER": "needs an argument",
    "EXPOSE": "needs an argument",
    "RUM x": "no instruction RUM",
    "&& x": "no instruction &&",
    'CMD ["\\ud800"]': "half a surrogate",
    'CMD ["\\u0000"]': "NUL",
}


@pytest.mark.parametrize("text", WRONG)
def test_bad_syntax_is_told_with_line_text_and_remedy(text: str) -> None:
    with pytest.raises(InvalidError) as caught:
        parse_dockerfile(f"FROM a\n\n{text}")
    assert WRONG[text] in caught.value.cause
    assert "Dockerfile line 3:" in caught.value.cause
    assert text.split("\n")[0] in caught.value.cause
    assert caught.value.remedy
    assert caught.value.context["line"] == "3"


UNSUPPORTED = {
    "ONBUILD RUN x": "ONBUILD",
    "onbuild run x": "ONBUILD",
    "STOPSIGNAL SIGINT": "STOPSIGNAL",
    'VOLUME ["/x"]': "VOLUME",
    "RUN --mount=type=ssh x": "type=ssh",
    "RUN --network=host x": "--network=host",
    "RUN --security=insecure x": "--security=insecure",
    "ADD git@github.com:a/b.git /x": "SSH",
    "ADD https://x/b.git?ref=main /x": "query",
}


@pytest.mark.parametrize("text", UNSUPPORTED)
def test_what_is_not_supported_says_so_and_what_to_do_instead(text: str) -> None:
    with pytest.raises(UnimplementedError) as caught:
        parse_dockerfile(f"FROM a\n{text}")
    assert UNSUPPORTED[text] in caught.value.cause
    assert "line 2" in caught.value.cause
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "no FROM"),
        ("# nothing", "no FROM"),
        ("ARG A=1", "no FROM"),
        ("RUN x\nFROM a", "line 1: Only ARG"),
        ("# escape=x\nFROM a", "escape character"),
        ("# escape=`\n# escape=`\nFROM a", "two escape directives"),
        ("FROM a\nRUN \0", "NUL"),
        ("FROM a\nRUN \udc80", "surrogate"),
    ],
)
def test_bad_files(text: str, cause: str) -> None:
    with pytest.raises(InvalidError, match=cause):
        parse_dockerfile(text)


def test_similar_keywords_are_offered() -> None:
    with pytest.raises(InvalidError, match=r"Did you mean COPY\?"):
        parse_dockerfile("FROM a\nCOYP a b")


def test_an_error_does_not_show_whole_files() -> None:
    with pytest.raises(InvalidError) as caught:
        parse_dockerfile(f"FROM a\nFOO {'x' * 5000}")
    assert len(caught.value.cause) < 400


@pytest.mark.parametrize(
    "text",
    [
        f"FROM a\nRUN {'x' * MAX_BYTES}",
        f"FROM a\nRUN {'é' * (MAX_BYTES // 2)}",
        "FROM a\n" + "\n" * MAX_LINES,
        "FROM a\n" + "RUN x\n" * MAX_STATEMENTS,
        f"FROM a\nRUN <<EOF\n{'x' * MAX_HEREDOC_BYTES}\nEOF\n",
        f"FROM a\nRUN {'x' * MAX_STATEMENT_CHARACTERS}",
        f"FROM a\nCOPY {'x ' * MAX_WORDS} /x/",
        f"FROM a\nARG {'x ' * (MAX_WORDS + 1)} y",
    ],
    ids=["characters", "bytes", "lines", "instructions", "heredoc", "instruction", "plain words", "quoted words"],
)
def test_files_are_bounded(text: str) -> None:
    with pytest.raises(RequestSizeError) as caught:
        parse_dockerfile(text)
    assert caught.value.remedy


def test_the_largest_allowed_file_is_read() -> None:
    assert parse_dockerfile("FROM a\n" + "RUN x\n" * (MAX_STATEMENTS - 1)).stages[0].instructions


def test_commands_need_no_from() -> None:
    commands = parse_commands(["RUN x && \\", "  y", "ENV A=1\nENV B=2"])
    assert [(type(command).__name__, command.line) for command in commands] == [("Run", 1), ("Env", 3), ("Env", 4)]
    assert stages_of_commands(commands) == Dockerfile((Stage(None, BASE, None, commands),))


def test_commands_with_stages() -> None:
    commands = parse_commands(["RUN x", "FROM golang AS build", "RUN go", "FROM base", "COPY --from=build /x /x"])
    assert isinstance(commands[1], From)
    found = stages_of_commands(commands)
    assert [(stage.base, stage.name, len(stage.instructions)) for stage in found.stages] == [
        (None, "base", 1),
        ("golang", "build", 1),
        ("base", None, 1),
    ]


def test_no_commands() -> None:
    assert parse_commands([]) == ()
    assert stages_of_commands(()).stages == (Stage(None, BASE, None, ()),)


def test_errors_are_never_wrapped_twice() -> None:
    with pytest.raises(Error) as caught:
        parse_dockerfile("FROM a\nRUN --mount=type=cache y")
    assert caught.value.cause.count("line 2") == 1


def test_environment_pairs_keep_their_quotes() -> None:
    assert only("ENV A='b c' D=\"$E\"") == Env(line=2, original="ENV A='b c' D=\"$E\"", pairs=(("A", "'b c'"), ("D", '"$E"')))
