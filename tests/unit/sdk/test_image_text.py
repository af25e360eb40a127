"""Texts of instructions, read back by what will read them: the Dockerfile parser and a real shell."""

from __future__ import annotations

import itertools
import subprocess

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cove._image import packages, python, text
from cove._image.packages import Indexes
from cove.dockerfile import parse_commands
from cove.dockerfile.model import Cmd, Copy, Entrypoint, Env, Instruction, Run, Shell, Workdir
from cove.dockerfile.run_script import script_of
from cove.dockerfile.scope import Scope
from cove.exception import InvalidError

LINE = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=40)
ANY = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40)
NASTY = ["a b", "'", '"', "\\", "$HOME", "${X:-y}", "`id`", "$(id)", ";id", "a\\", "<<EOF", "[x]", "# c", "*", "é", "--", "a'b\"c\\$d"]


def only(command: str) -> Instruction:
    """The one instruction that ``command`` is."""
    (instruction,) = parse_commands([command])
    return instruction


def argv_of(command: str, program: str) -> list[str]:
    """The arguments that ``program`` gets when a shell runs ``command``, a RUN."""
    run = only(command)
    assert isinstance(run, Run)
    script = script_of(run)
    assert not isinstance(script, tuple)
    stub = f'{program}() {{ printf "%s\\0" "$@"; }}; test() {{ false; }}; command() {{ echo /usr/bin/python; }}\n'
    result = subprocess.run(["sh", "-c", stub + run.command], capture_output=True, timeout=10, check=True)  # type: ignore[operator]  # a shell form
    return [argument.decode() for argument in result.stdout.split(b"\0")][:-1]


@pytest.mark.parametrize("nasty", [*NASTY, "x\tz"])
def test_package_names_reach_pip_as_they_are(nasty: str) -> None:
    if nasty.startswith("-"):
        with pytest.raises(InvalidError, match="option"):
            packages.flatten([nasty], what="pip_install")
        return
    names = packages.flatten(["numpy", nasty], what="pip_install")
    (command,) = packages.pip(names, Indexes(index_url=f"https://x/{nasty}", pre=True))
    expected = ["-m", "pip", "install", "--no-cache-dir", "--index-url", f"https://x/{nasty}", "--pre", "numpy", nasty]
    assert argv_of(command, "python") == expected


@given(LINE)
def test_no_package_name_makes_another_instruction(name: str) -> None:
    (command,) = packages.pip([name], Indexes())
    run = only(command)
    assert isinstance(run, Run)
    assert not run.mounts
    assert not run.heredocs


@given(ANY)
@example("\n")
@example("a\n\nb\\\n")
@example("\\")
@example("cat <<EOF\n$x\nEOF")
@example("END_OF_COMMAND\nx")
@example("a # b\n# c\n\td")
def test_a_command_reaches_the_shell_as_it_is(command: str) -> None:
    if not command.strip():
        with pytest.raises(InvalidError):
            text.run(command)
        return
    if "\r" in command or command.lstrip().startswith(("--", "[")):
        return  # what a Dockerfile makes of these is what it is documented to make of them
    run = only(text.run(command))
    assert isinstance(run, Run)
    if run.heredocs:
        (heredoc,) = run.heredocs
        assert not heredoc.expands
        assert heredoc.content.strip("\n") == command.strip("\n")


@given(ANY)
@example("/$HOME/'x'")
@example('/a"b\\')
@example("/a\nb")
def test_copy_goes_where_it_says(target: str) -> None:
    copy = Scope(env={"HOME": "/wrong", "x": "wrong"}).expanded(only(text.copy("tree", "/" + target)))
    assert isinstance(copy, Copy)
    assert copy.sources == ("tree",)
    assert copy.destination == "/" + target


@given(LINE)
@example("100$ and $$ and \\n")
@example('it\'s "so"\\')
def test_values_without_variables_are_literal(value: str) -> None:
    if "\\$" in value or any(f"${mark}" in value for mark in "{_") or any(c == "$" and n.isalpha() for c, n in itertools.pairwise(value)):
        return
    env = Scope(env={"PATH": "/bin"}).expanded(only(text.env("NAME", value)))
    assert isinstance(env, Env)
    assert env.pairs == (("NAME", value),)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("/x:$PATH", "/x:/bin"),
        ("/x:${PATH}", "/x:/bin"),
        ("\\$PATH", "$PATH"),
        ('"$PATH"', '"/bin"'),
        ("${NOT:-its}", "its"),
        ("cost: 5$", "cost: 5$"),
    ],
)
def test_variables_in_values(value: str, expected: str) -> None:
    env = Scope(env={"PATH": "/bin"}).expanded(only(text.env("NAME", value)))
    assert isinstance(env, Env)
    assert env.pairs == (("NAME", expected),)


def test_several_variables_in_one_instruction() -> None:
    env = Scope(env={"A": "old"}).expanded(only(text.env_all({"A": "new value", "B": "$A"})))
    assert isinstance(env, Env)
    assert dict(env.pairs) == {"A": "new value", "B": "old"}


@pytest.mark.parametrize(("name", "value"), [("A B", "x"), ("", "x"), ("A=B", "x"), ("1A", "x"), ("A", "x\ny"), ("A", 1), (1, "x")])
def test_variables_that_no_image_can_have(name: str, value: str) -> None:
    with pytest.raises(InvalidError):
        text.env(name, value)


@given(LINE)
@example("/a b/'c'")
def test_workdir_is_one_path(path: str) -> None:
    if "$" in path:
        return
    workdir = Scope().expanded(only(text.workdir("/" + path)))
    assert isinstance(workdir, Workdir)
    assert workdir.path == "/" + path


@given(st.lists(ANY, max_size=4))
def test_exec_forms(argv: list[str]) -> None:
    for keyword, kind in (("CMD", Cmd), ("ENTRYPOINT", Entrypoint)):
        instruction = only(text.exec_form(keyword, argv))
        assert isinstance(instruction, kind)
        assert instruction.command == tuple(argv)
    if argv:
        shell = only(text.exec_form("SHELL", argv))
        assert isinstance(shell, Shell)
        assert shell.argv == tuple(argv)


@pytest.mark.parametrize("argv", ["ls -l", [1], ["a\0"], ["\udc80"]])
def test_exec_forms_are_lists_of_text(argv: list[str]) -> None:
    with pytest.raises(InvalidError):
        text.exec_form("CMD", argv)


def test_options_stay_together() -> None:
    indexes = Indexes("/a b", "https://u:p@h/", "it's", True, "--no-build-isolation --no-clean")
    (command,) = packages.pip(["x"], indexes)
    assert argv_of(command, "python")[4:] == [
        *("--find-links", "/a b", "--index-url", "https://u:p@h/", "--extra-index-url", "it's", "--pre"),
        *("--no-build-isolation", "--no-clean", "x"),
    ]
    with pytest.raises(InvalidError, match="line breaks"):
        packages.pip(["x"], Indexes(extra_options="a\nRUN evil"))


def test_uv_installs_itself_first_and_apart() -> None:
    itself, install = packages.uv(["torch<3", "x y"], Indexes(pre=True), requirements=["/r 1.txt"], version="0.9.5")
    assert argv_of(itself, "python") == ["-m", "pip", "install", "--no-cache-dir", "--target", "/.uv", "--upgrade", "uv==0.9.5"]
    found = argv_of(install.replace("/.uv/bin/uv", "uv"), "uv")
    assert found == [
        *("pip", "install", "--python", "/usr/bin/python", "--compile-bytecode", "--no-cache", "--prerelease", "allow"),
        *("--requirements", "/r 1.txt", "torch<3", "x y"),
    ]
    with pytest.raises(InvalidError, match="uv_version"):
        packages.uv_itself("1; id")


def test_a_git_token_is_in_no_command_line() -> None:
    repositories = ["github.com/o/a@v1.0", "gitlab.com/g/s/b#subdirectory=x"]
    _, install = packages.private_repositories(repositories, Indexes(), git_user="it's me", secrets=["GITHUB_TOKEN", "GITLAB_TOKEN"])
    assert argv_of(install, "python")[4:] == [f"git+https://{name}" for name in repositories]
    run = only(install)
    assert isinstance(run, Run)
    # git itself, which asks its helper as the settings say
    ask = str(run.command).replace("python -m pip", "git credential fill #")
    question = "protocol=https\nhost=github.com\npath=o/a\n\n"
    environment = {"PATH": "/usr/bin:/bin", "GITHUB_TOKEN": "s3cret $x", "HOME": "/nonexistent"}
    result = subprocess.run(["sh", "-c", ask], input=question, env=environment, capture_output=True, text=True, timeout=10, check=True)
    assert "username=it's me\n" in result.stdout
    assert "password=s3cret $x\n" in result.stdout


@pytest.mark.parametrize(
    "name", ["example.com/a/b", "github.com/a", "github.com/a/b;id", "https://github.com/a/b", "github.com/a/b@$(id)", ""]
)
def test_other_repositories_are_refused(name: str) -> None:
    with pytest.raises(InvalidError, match="GitHub or GitLab"):
        packages.private_repositories([name], Indexes(), git_user="me", secrets=["GITHUB_TOKEN"])


def test_a_repository_without_its_token() -> None:
    with pytest.raises(InvalidError, match="GITLAB_TOKEN"):
        packages.private_repositories(["gitlab.com/a/b"], Indexes(), git_user="me", secrets=["GITHUB_TOKEN"])


@pytest.mark.parametrize("version", ["3", "3.11.2", "4.1", "3.x", "3.11; id", 3.11, "latest"])
def test_versions_of_python_that_cannot_be_added(version: str) -> None:
    with pytest.raises(InvalidError, match=r"3\.12"):
        python.check_series(version)
