"""Which variables each instruction sees, and what is replaced in which instruction."""

from __future__ import annotations

import pytest

from cove.dockerfile import parse_commands, parse_dockerfile
from cove.dockerfile.model import Copy, Instruction, Run
from cove.dockerfile.scope import MAX_VARIABLES, Scope, global_scope, platform_args
from cove.exception import Error, InvalidError


def run(text: str, scope: Scope | None = None) -> tuple[list[Instruction], Scope]:
    """All instructions of ``text`` expanded one after the other, and the variables at the end."""
    scope = scope or Scope()
    found = []
    for instruction in parse_commands([text]):
        expanded = scope.expanded(instruction)
        found.append(expanded)
        scope = scope.after(expanded)
    return found, scope


def test_assignments_of_one_instruction_see_what_was_before() -> None:
    _, scope = run("ENV abc=hello\nENV abc=bye def=$abc\nENV ghi=$abc")
    assert scope.env == {"abc": "bye", "def": "hello", "ghi": "bye"}


def test_quotes_of_values_are_removed_when_they_are_assigned() -> None:
    _, scope = run('ENV A="x y" B=\'$A\' C=a\\ b\nENV D "x"  y $A')
    assert scope.env == {"A": "x y", "B": "$A", "C": "a b", "D": "x  y x y"}


def test_the_documentation_names_defaults_as_unsupported_but_they_work() -> None:
    _, scope = run("ENV A=${NO:-x} B=${A:+y}\nENV C=${A:+z}")
    assert scope.env == {"A": "x", "B": "", "C": "z"}


def test_paths_can_be_extended() -> None:
    _, scope = run("ENV PATH=/x:$PATH", Scope(env={"PATH": "/bin"}))
    assert scope.env == {"PATH": "/x:/bin"}


@pytest.mark.parametrize(
    ("text", "given", "global_args", "expected"),
    [
        ("ARG A", {}, {}, None),
        ("ARG A=1", {}, {}, "1"),
        ("ARG A=1", {"A": "2"}, {}, "2"),
        ("ARG A", {"A": "2"}, {}, "2"),
        ("ARG A", {}, {"A": "3"}, "3"),
        ("ARG A=1", {}, {"A": "3"}, "1"),
        ("ARG A=1", {"A": ""}, {}, ""),
        ("RUN x", {"A": "2"}, {"A": "3"}, None),
        ("ARG B=1\nARG A=x$B", {}, {}, "x1"),
        ("ARG A=1\nENV A=2", {"A": "3"}, {}, "2"),
        ("ENV A=2\nARG A=1", {"A": "3"}, {}, "2"),
        ("ARG A=1\nARG A=2", {}, {}, "2"),
        ("ARG A=1 B=$A\nARG A=$B", {}, {}, "1"),
    ],
)
def test_arguments(text: str, given: dict[str, str], global_args: dict[str, str], expected: str | None) -> None:
    _, scope = run(text, Scope(given=given, global_args=global_args))
    assert scope.variables.get("A") == expected


def test_global_arguments_and_platforms() -> None:
    dockerfile = parse_dockerfile("ARG A=1\nARG B=x$A\nARG C\nARG TARGETARCH\nFROM $B")
    scope = global_scope(dockerfile.global_args, given={"C": "3", "NEVER": "declared", **platform_args("arm64")})
    assert {name: scope.args.get(name) for name in ("A", "B", "C", "NEVER")} == {"A": "1", "B": "x1", "C": "3", "NEVER": None}
    assert scope.args["TARGETPLATFORM"] == "linux/arm64"


def test_run_sees_arguments_and_proxies() -> None:
    scope = Scope(env={"A": "env"}, args={"A": "arg", "B": "arg"}, given={"https_proxy": "http://x", "SECRET": "y"})
    assert scope.run_environment == {"A": "env", "B": "arg", "https_proxy": "http://x"}


def test_what_is_expanded_and_what_is_not() -> None:
    found, _ = run(
        'ENV V=a W="b c"\nCOPY --chown=$V --exclude=$V $V/* "$W" /$V/\nWORKDIR /$V\nUSER $V\nLABEL $V="$W"\nEXPOSE $V $W\n'
        'RUN echo $V\nCMD ["$V"]\nENTRYPOINT $V\nHEALTHCHECK CMD $V\nRUN --mount=type=cache,target=/$V x'
    )
    copy, workdir, user, label, expose, shell, cmd, entrypoint, health, mounted = found[1:]
    assert [getattr(copy, name) for name in ("sources", "destination", "chown", "exclude")] == [("a/*", "b c"), "/a/", "a", ("a",)]
    assert (getattr(workdir, "path", 0), getattr(user, "user", 0)) == ("/a", "a")
    assert (getattr(label, "pairs", 0), getattr(expose, "ports", 0)) == ((("a", "b c"),), ("a", "b", "c"))
    assert [getattr(kept, "command", 0) for kept in (shell, cmd, entrypoint, health)] == ["echo $V", ("$V",), "$V", "$V"]
    assert isinstance(mounted, Run)
    assert mounted.mounts[0].target == "/a"


def test_copied_heredocs_expand_unless_their_delimiter_is_quoted() -> None:
    found, _ = run("ENV V=a\nCOPY <<-x <<'y' /d/\n\t$V \"'\\$V\n\tx\n$V\ny")
    assert isinstance(found[1], Copy)
    first, second = found[1].heredocs
    assert (first.content, second.content) == ("a \"'$V\n", "$V\n")


def test_the_escape_character_counts_in_expansion() -> None:
    found, _ = run("WORKDIR c:\\a`$b", Scope(escape="`"))
    assert getattr(found[0], "path", None) == "c:\\a$b"


def test_errors_name_the_line() -> None:
    with pytest.raises(InvalidError, match="line 2: A double quote") as caught:
        run('RUN x\nWORKDIR "a')
    assert caught.value.context["line"] == "2"


@pytest.mark.parametrize(
    "text",
    [
        "ENV A=xxxxxxxxxxxxxxxx\n" + "ENV A=$A$A\n" * 40,
        "ARG A=xxxxxxxxxxxxxxxx\n" + "ARG A=$A$A\n" * 40,
        "ENV A=xxxxxxxxxxxxxxxx\n" + "ENV A=$A$A\n" * 13 + "".join(f"ENV B{number}=$A\n" for number in range(20)),
        "ENV A=xxxxxxxxxxxxxxxx\n" + "ENV A=$A$A\n" * 13 + f"COPY {'$A ' * 50} /x/",
        "ENV A=xxxxxxxxxxxxxxxx\n" + "ENV A=$A$A\n" * 13 + f"ENV {' '.join(f'B{number}=$A' for number in range(20))}",
        "\n".join(f"ENV A{number}=1" for number in range(1000)) + "\nENV " + " ".join(f"B{number}=" for number in range(MAX_VARIABLES)),
    ],
)
def test_variables_cannot_fill_the_memory(text: str) -> None:
    with pytest.raises(Error, match="line"):
        run(text)
