"""What the methods of an image come to on the wire."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cove
from cove._async.image import _Image
from cove._async.secret import _Secret
from cove._image.definition import Defined, define
from cove._image.hashes import Hashes
from cove.dockerfile import parse_commands, parse_dockerfile
from cove.dockerfile.copy_rules import Entry, FileKind, place
from cove.dockerfile.model import Copy
from cove.dockerfile.scope import Scope
from cove.exception import InvalidError, ModuleNotMountable, NotFoundError, RequestSizeError, UnimplementedError
from cove.wire import image_pb2

OWN = f"{sys.version_info.major}.{sys.version_info.minor}"
EMPTY_SHA = hashlib.sha256(b"").digest()


def defined(image: _Image) -> Defined:
    """The definition of ``image``, every command of which the Dockerfile parser takes."""
    found = define(image._recipe, python="3.11", hashes=Hashes())
    for index, layer in enumerate(found.definition.layers):
        whole = index == 0 and found.definition.WhichOneof("base") is None
        assert parse_dockerfile("\n".join(layer.commands)) if whole else parse_commands(list(layer.commands))
    return found


def layers(image: _Image) -> list[list[str]]:
    return [list(layer.commands) for layer in defined(image).definition.layers]


def last(image: _Image) -> image_pb2.ImageLayer:
    return defined(image).definition.layers[-1]


def context(image: _Image) -> dict[str, image_pb2.ContextFile]:
    return {file.path.decode(): file for file in last(image).context}


BASE = _Image.debian_slim("3.12")
UNTYPED: Any = BASE
CLASS: Any = _Image


def test_bases() -> None:
    assert defined(BASE).definition == image_pb2.ImageDefinition(debian="3.12")
    assert defined(_Image.debian_slim()).definition == image_pb2.ImageDefinition(debian="3.11")
    assert defined(_Image.from_rootfs("/a.tar")).definition == image_pb2.ImageDefinition(rootfs_path="/a.tar")
    assert defined(_Image.from_id("im-1")).definition == image_pb2.ImageDefinition(image_id="im-1")
    registry = defined(_Image.from_registry("ubuntu:22.04")).definition.registry
    assert registry == image_pb2.RegistryImage(reference="ubuntu:22.04")


@pytest.mark.parametrize(
    ("method", "kind"), [(_Image.from_registry, ""), (_Image.from_aws_ecr, "ecr"), (_Image.from_gcp_artifact_registry, "gcp")]
)
def test_registries_get_the_secret(method: Callable[..., _Image], kind: str) -> None:
    image = method("r/x:1", _Secret.from_dict({"A": "s3cret"}), setup_dockerfile_commands=["RUN a", 'SHELL ["/bin/bash", "-c"]'])
    definition = defined(image).definition
    assert definition.registry == image_pb2.RegistryImage(reference="r/x:1", kind=kind, secret={"A": "s3cret"})
    assert "s3cret" not in repr(image._recipe)
    assert layers(image) == [["RUN a", 'SHELL ["/bin/bash", "-c"]']]
    with pytest.raises(InvalidError, match="gpu"):
        method("r/x:1", gpu="H100")
    with pytest.raises(InvalidError, match="empty"):
        method(" ")


def test_add_python_is_a_layer_after_the_setup() -> None:
    image = _Image.from_registry("ubuntu:22.04", setup_dockerfile_commands=["RUN a"], add_python="3.12")
    first, second = layers(image)
    assert first == ["RUN a"]
    assert "python3.12" in second[0]
    assert second[1] == 'ENV PATH="/opt/python/bin:$PATH"'


GOLDEN: dict[str, tuple[Callable[[], _Image], list[str]]] = {
    "apt": (
        lambda: BASE.apt_install("git", ["libpq-dev", "x=1.0"]),
        ["RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y git libpq-dev x=1.0 && rm -rf /var/lib/apt/lists/*"],
    ),
    "pip": (lambda: BASE.pip_install("a", ["b>=3", "c[d]"]), ["RUN python -m pip install --no-cache-dir a 'b>=3' 'c[d]'"]),
    "uv": (
        lambda: BASE.uv_pip_install("torch<3"),
        [
            "RUN test -x /.uv/bin/uv || python -m pip install --no-cache-dir --target /.uv uv",
            "RUN /.uv/bin/uv pip install --python \"$(command -v python)\" --compile-bytecode --no-cache 'torch<3'",
        ],
    ),
    "micromamba_install": (
        lambda: BASE.micromamba_install("a==1", channels=["conda-forge"]),
        ["RUN micromamba install --name base --yes --channel conda-forge a==1 && micromamba clean --all --yes"],
    ),
    "run": (lambda: BASE.run_commands("a && b", ["c"]), ["RUN a && b", "RUN c"]),
    "script": (lambda: BASE.run_commands("\nset -e\n  a\n"), ["RUN <<'END_OF_COMMAND'\nset -e\n  a\nEND_OF_COMMAND"]),
    "dockerfile": (lambda: BASE.dockerfile_commands(["RUN a", "USER x"], "CMD y"), ["RUN a", "USER x", "CMD y"]),
    "entrypoint": (lambda: BASE.entrypoint([]), ["ENTRYPOINT []"]),
    "shell": (lambda: BASE.shell(["/bin/bash", "-c"]), ['SHELL ["/bin/bash", "-c"]']),
    "cmd": (lambda: BASE.cmd(["python", "a b.py"]), ['CMD ["python", "a b.py"]']),
    "workdir": (lambda: BASE.workdir(Path("/app")), ['WORKDIR "/app"']),
    "env": (lambda: BASE.env({"A": "1", "PATH": "/x:$PATH"}), ['ENV A="1" PATH="/x:$PATH"']),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_each_method_is_one_layer(name: str) -> None:
    make, expected = GOLDEN[name]
    assert layers(make()) == [expected]
    assert layers(BASE) == []


@pytest.mark.parametrize(
    "call",
    [
        lambda: BASE.apt_install(),
        lambda: BASE.pip_install([]),
        lambda: BASE.pip_install_private_repos(git_user="me"),
        lambda: BASE.uv_pip_install(),
        lambda: BASE.micromamba_install(),
        lambda: BASE.run_commands(),
        lambda: BASE.dockerfile_commands([]),
        lambda: BASE.env({}),
        lambda: BASE.add_local_python_source(),
    ],
)
def test_nothing_asked_for_is_no_layer(call: Callable[[], _Image]) -> None:
    assert call() is BASE


def test_a_base_can_be_forked() -> None:
    base = BASE.run_commands("a")
    left, right = base.run_commands("b"), base.run_commands("c")
    assert (layers(base), layers(left), layers(right)) == ([["RUN a"]], [["RUN a"], ["RUN b"]], [["RUN a"], ["RUN c"]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: BASE.pip_install("--pre", "x"), "option"),
        (lambda: BASE.pip_install("x", ["-r"]), "option"),
        (lambda: BASE.uv_pip_install("-U"), "option"),
        (lambda: BASE.apt_install("-t", "y"), "option"),
        (lambda: BASE.micromamba_install("--x"), "option"),
        (lambda: BASE.micromamba_install("x", channels=["-c"]), "option"),
        (lambda: BASE.pip_install("x\nRUN evil"), "line breaks"),
        (lambda: UNTYPED.pip_install(1), "int"),
        (lambda: BASE.pip_install(""), "empty"),
        (lambda: BASE.pip_install("x", extra_options="\nUSER root"), "line breaks"),
        (lambda: BASE.pip_install("x", index_url="a\0"), "line breaks"),
        (lambda: BASE.pip_install_from_requirements("r.txt", index_url="a\nb"), "line breaks"),
        (lambda: BASE.uv_pip_install("x", uv_version="$(id)"), "uv_version"),
        (lambda: BASE.uv_pip_install(requirements="r.txt"), "list"),
        (lambda: BASE.uv_sync(groups=["--x"]), "option"),
        (lambda: BASE.poetry_install_from_file("p", poetry_version=";"), "poetry_version"),
        (lambda: BASE.run_commands(""), "empty"),
        (lambda: UNTYPED.run_commands(b"x"), "strings"),
        (lambda: BASE.run_commands("a\0b"), "NUL"),
        (lambda: UNTYPED.dockerfile_commands(1), "strings"),
        (lambda: UNTYPED.env({"A": 1}), "strings"),
        (lambda: UNTYPED.env({1: "A"}), "strings"),
        (lambda: BASE.cmd("python app.py"), "list of strings"),
        (lambda: BASE.shell([]), "empty"),
        (lambda: BASE.workdir("a\nb"), "line breaks"),
        (lambda: BASE.add_local_file("x", "relative"), "absolute"),
        (lambda: BASE.add_local_dir("x", "/a/../b"), "absolute"),
        (lambda: BASE.add_local_dir("x", "/a", ignore="*.py"), "list of patterns"),
        (lambda: BASE.add_local_dir("x", "/a", ignore=["["]), "pattern"),
        (lambda: BASE.add_local_python_source("a-b"), "module"),
        (lambda: BASE.add_local_python_source("../x"), "module"),
        (lambda: UNTYPED.run_function("not a function"), "function"),
        (lambda: BASE.pip_install("x", env={"A=B": "1"}), "environment"),
        (lambda: CLASS.from_dockerfile("x", build_args={"A": 1}), "strings"),
        (lambda: _Image.debian_slim("latest"), "version"),
        (lambda: CLASS.debian_slim(3.11), "version"),
        (lambda: _Image.micromamba("2.7"), "version"),
        (lambda: _Image.from_registry("x", add_python="3"), "version"),
        (lambda: _Image.from_id("sb-123"), "im-"),
        (lambda: _Image.from_rootfs("a.tar"), "absolute"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(call: Callable[[], _Image], message: str) -> None:
    with pytest.raises(InvalidError, match=message):
        call()


def test_gpus_and_volumes_are_not_supported_yet() -> None:
    for call in (BASE.pip_install, BASE.apt_install, BASE.uv_pip_install, BASE.run_commands, BASE.dockerfile_commands):
        with pytest.raises(UnimplementedError, match="gpu"):
            call("RUN x", gpu="H100")
    with pytest.raises(UnimplementedError, match="volumes"):
        BASE.run_commands("x", volumes={"/v": object()})


def test_a_function_step_is_recorded_and_fails_when_it_is_built() -> None:
    image = BASE.run_function(lambda: None, args=(1,), timeout=5).run_commands("x")
    with pytest.raises(UnimplementedError, match="Functions"):
        defined(image)


def test_environment_secrets_and_force() -> None:
    secrets = [_Secret.from_dict({"TOKEN": "a", "BOTH": "secret"}), _Secret.from_dict({"TOKEN": "b"})]
    layer = last(BASE.pip_install("x", env={"BOTH": "plain", "NONE": None}, secrets=secrets, force_build=True))
    assert dict(layer.env) == {"BOTH": "plain"}
    assert dict(layer.secrets) == {"TOKEN": "b"}
    assert layer.force_build
    assert "secret" not in "".join(layer.commands)
    assert "secret" not in repr(BASE.pip_install("x", secrets=secrets)._recipe)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, which is the home directory too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def write(root: Path, **files: str) -> None:
    """Files by name, in which ``__`` is a slash and ``_`` a dot."""
    for name, content in files.items():
        path = root / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def test_requirements_are_read_when_the_image_is_built(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = BASE.pip_install_from_requirements("r.txt", extra_options="--no-deps")
    with pytest.raises(NotFoundError, match=r"r\.txt"):
        defined(image)
    write(here, r_txt="numpy\n")
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    found = defined(image)
    (layer,) = found.definition.layers
    assert list(layer.commands) == [
        'COPY ["requirements.txt", "/.cove/requirements.txt"]',
        "RUN python -m pip install --no-cache-dir --no-deps --requirement /.cove/requirements.txt",
    ]
    digest = hashlib.sha256(b"numpy\n").digest()
    assert layer.context[0] == image_pb2.ContextFile(path=b"requirements.txt", mode=stat.S_IFREG | 0o644, sha256=digest, size_bytes=6)
    assert found.blobs[digest].path == here / "r.txt"


def test_uv_requirements(here: Path) -> None:
    write(here, a_txt="x", b_txt="y")
    image = BASE.uv_pip_install("z", requirements=["a.txt", "b.txt"])
    assert [*context(image)] == ["requirements.0.txt", "requirements.1.txt"]
    assert layers(image)[0][-1].endswith("--requirements /.uv/requirements.0.txt --requirements /.uv/requirements.1.txt z")


PYPROJECT = """
[project]
dependencies = ["a>=1", "b"]
[project.optional-dependencies]
test = ["c"]
doc = ["d; python_version > '3'"]
"""


def test_pyproject_dependencies(here: Path) -> None:
    write(here, pyproject_toml=PYPROJECT)
    assert layers(BASE.pip_install_from_pyproject("pyproject.toml")) == [["RUN python -m pip install --no-cache-dir 'a>=1' b"]]
    (command,) = layers(BASE.pip_install_from_pyproject("pyproject.toml", ["doc", "test"]))[0]
    assert command.endswith(""" 'a>=1' b 'd; python_version > '"'"'3'"'"'' c""")
    with pytest.raises(InvalidError, match=r"'x'.* It has: test, doc"):
        defined(BASE.pip_install_from_pyproject("pyproject.toml", ["x"]))


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[project]\nname='x'",
        "[project",
        "project = 1",
        "[project]\ndependencies = 'a'",
        "[project]\ndependencies = ['--evil']",
        "[project]\ndependencies = [1]",
    ],
)
def test_pyprojects_that_say_nothing_useful(here: Path, content: str) -> None:
    write(here, pyproject_toml=content)
    with pytest.raises(InvalidError):
        defined(BASE.pip_install_from_pyproject("pyproject.toml"))


def test_a_project_without_dependencies_is_no_layer(here: Path) -> None:
    write(here, pyproject_toml="[project]\ndependencies = []")
    assert layers(BASE.pip_install_from_pyproject("pyproject.toml")) == []


def test_uv_sync(here: Path) -> None:
    write(here, pyproject_toml="[project]\nname='x'", uv_lock="version = 1")
    image = BASE.uv_sync(groups=["g"], extras=["e"], extra_options="--no-dev", uv_version="0.9")
    assert [*context(image)] == ["pyproject.toml", "uv.lock"]
    commands = layers(image)[0]
    assert commands[1:3] == ['COPY ["pyproject.toml", "/.uv/project/pyproject.toml"]', 'COPY ["uv.lock", "/.uv/project/uv.lock"]']
    assert commands[3] == (
        "RUN /.uv/bin/uv sync --project /.uv/project --no-install-project --compile-bytecode --no-cache"
        " --frozen --group g --extra e --no-dev"
    )
    assert commands[4] == 'ENV PATH="/.uv/project/.venv/bin:$PATH"'
    (here / "uv.lock").unlink()
    assert "--frozen" not in layers(BASE.uv_sync())[0][2]
    write(here, pyproject_toml="[tool.uv.workspace]\nmembers=[]")
    with pytest.raises(InvalidError, match="workspace"):
        defined(BASE.uv_sync())


def test_poetry(here: Path) -> None:
    write(here, pyproject_toml="[tool.poetry]")
    image = BASE.poetry_install_from_file("pyproject.toml", with_=["a", "b"], without=["c"], only=["d"])
    with pytest.raises(NotFoundError, match="ignore_lockfile"):
        defined(image)
    write(here, poetry_lock="x")
    assert [*context(image)] == ["pyproject.toml", "poetry.lock"]
    commands = layers(image)[0]
    assert commands[0] == "RUN python -m pip install --no-cache-dir poetry"
    assert commands[-1] == (
        "RUN cd /.cove/poetry && POETRY_VIRTUALENVS_CREATE=false poetry install --no-root --no-interaction --with a,b --without c --only d"
    )
    without = BASE.poetry_install_from_file("pyproject.toml", ignore_lockfile=True, poetry_version=None, old_installer=True)
    assert [*context(without)] == ["pyproject.toml"]
    assert layers(without)[0][0] == "RUN poetry config experimental.new-installer false"


def test_micromamba(here: Path) -> None:
    image = _Image.micromamba()
    assert defined(image).definition.registry.reference.startswith("mambaorg/micromamba:")
    assert f"python={OWN} pip" in "".join(layers(image)[0])
    write(here, env_yaml="x")
    with_file = image.micromamba_install(spec_file="env.yaml")
    assert layers(with_file)[-1][0] == 'COPY ["environment.yml", "/.cove/environment.yml"]'


def test_a_file_keeps_its_mode_and_gets_its_name(here: Path) -> None:
    write(here, run_sh="#!/bin/sh")
    (here / "run.sh").chmod(0o750)
    (here / "link").symlink_to("run.sh")
    assert layers(BASE.add_local_file("~/run.sh", "/opt/")) == [['COPY ["file", "/opt/run.sh"]']]
    assert layers(BASE.add_local_file("run.sh", "/o p/$x'", copy=True)) == [['COPY ["file", "/o p/\\\\$x\\\\\'"]']]
    assert context(BASE.add_local_file("link", "/x"))["file"].mode == stat.S_IFREG | 0o750
    with pytest.raises(InvalidError, match="add_local_dir"):
        defined(BASE.add_local_file(here, "/x"))
    with pytest.raises(NotFoundError, match="nothing"):
        defined(BASE.add_local_file("nothing", "/x"))


def test_a_tree_comes_as_it_is(here: Path) -> None:
    write(here, t__a_txt="1", t__sub__b="")
    (here / "t/sub/b").chmod(0o755)
    (here / "t/sub").chmod(0o700)
    (here / "t/rel").symlink_to("sub/b")
    (here / "t/out").symlink_to("/etc/passwd")
    (here / "t/empty").mkdir()
    os.mkfifo(here / "t/pipe")
    image = BASE.add_local_dir("t", "/data")
    assert layers(image) == [['COPY ["tree", "/data/"]']]
    files = context(image)
    assert sorted(files) == ["tree", "tree/a.txt", "tree/empty", "tree/out", "tree/rel", "tree/sub", "tree/sub/b"]
    assert files["tree/sub"].mode == stat.S_IFDIR | 0o700
    assert files["tree/sub/b"] == image_pb2.ContextFile(path=b"tree/sub/b", mode=stat.S_IFREG | 0o755, sha256=EMPTY_SHA)
    assert (stat.S_IFMT(files["tree/rel"].mode), files["tree/rel"].link_target) == (stat.S_IFLNK, b"sub/b")
    assert files["tree/out"].link_target == b"/etc/passwd"
    with pytest.raises(NotFoundError, match="not a directory"):
        defined(BASE.add_local_dir("t/a.txt", "/x"))


@pytest.mark.parametrize(
    "ignore",
    [
        ["**/*.log", "skip"],
        cove.FilePatternMatcher("**/*.log", "skip"),
        ~cove.FilePatternMatcher("keep", "sub/*.txt"),
        lambda path: path.suffix == ".log" or path.is_relative_to("skip"),
        lambda path: path.is_file() and path.stat().st_size == 3,
    ],
)
def test_what_is_ignored_stays_here(here: Path, ignore: Any) -> None:
    write(here, t__keep="", t__sub__a_txt="", t__sub__x_log="log", t__skip__y="yyy")
    found = {path for path, file in context(BASE.add_local_dir("t", "/x", ignore=ignore)).items() if stat.S_ISREG(file.mode)}
    assert found == {"tree/keep", "tree/sub/a.txt"}


def test_python_source(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(here))
    write(here, imgmod_py="", imgpkg____init___py="", imgpkg__sub__m_py="", imgpkg__data_json="{}", imgpkg__sub__m_pyc="")
    (here / "imgpkg/__init__.py").touch()
    for hidden in ("imgpkg/.git/x.py", "imgpkg/__pycache__/y.py", "imgpkg/.z.py"):
        (here / hidden).parent.mkdir(exist_ok=True)
        (here / hidden).touch()
    image = BASE.add_local_python_source("imgmod", "imgpkg")
    importable = "ENV PYTHONPATH=/root${PYTHONPATH:+:$PYTHONPATH}"
    assert layers(image) == [['COPY ["module0", "/root/imgmod.py"]', 'COPY ["module1.0", "/root/imgpkg/"]', importable]]
    files = [path for path, file in context(image).items() if stat.S_ISREG(file.mode)]
    assert "module1.0/sub/m.py" in files
    assert not [path for path in files if ".git" in path or "__pycache__" in path or ".z" in path or "json" in path or "pyc" in path]
    with_data = context(BASE.add_local_python_source("imgpkg", ignore=["sub"]))
    assert "module0.0/data.json" in with_data
    assert "module0.0/sub" not in with_data
    small = context(BASE.add_local_python_source("imgpkg", ignore=lambda path: path.stat().st_size > 1))
    assert "module0.0/data.json" not in small


@pytest.mark.parametrize("name", ["no_such_module_anywhere", "sys", "no_such.sub"])
def test_modules_that_cannot_be_added(name: str) -> None:
    with pytest.raises(ModuleNotMountable):
        defined(BASE.add_local_python_source(name))


def copied(image: _Image) -> dict[str, str]:
    """Where the last layer's COPYs put things, by the builder's rules: target to path in the context."""
    layer, kinds = last(image), {stat.S_IFREG: FileKind.FILE, stat.S_IFDIR: FileKind.DIRECTORY, stat.S_IFLNK: FileKind.LINK}
    entries = [Entry(file.path.decode(), kinds[stat.S_IFMT(file.mode)], file.link_target.decode()) for file in layer.context]
    found: dict[str, str] = {}
    for instruction in parse_commands(list(layer.commands)):
        if isinstance(instruction, Copy):
            expanded = Scope(env={"x": "wrong"}).expanded(instruction)
            placed = place(expanded, entries, workdir="/w", is_directory=lambda path: path in ("/", "/root", "/opt"))
            found |= {one.target: one.source for one in placed}
    return found


def test_files_arrive_where_they_shall(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(here))
    write(here, run_sh="", t__a="", t__sub__b="", imgplace____init___py="", r_txt="x")
    (here / "imgplace/__init__.py").touch()
    (here / "t/link").symlink_to("a")
    assert copied(BASE.add_local_file("run.sh", "/opt/")) == {"/opt/run.sh": "file"}
    assert copied(BASE.add_local_file("run.sh", "/opt/$x 'y' \\*[z]")) == {"/opt/$x 'y' \\*[z]": "file"}
    tree = {"/data/a": "tree/a", "/data/link": "tree/link", "/data/sub": "tree/sub", "/data/sub/b": "tree/sub/b"}
    assert copied(BASE.add_local_dir("t", "/data")).items() >= tree.items()
    assert copied(BASE.add_local_dir("t", "/")).items() >= {"/a": "tree/a", "/sub/b": "tree/sub/b"}.items()
    assert copied(BASE.add_local_python_source("imgplace"))["/root/imgplace/__init__.py"] == "module0.0/__init__.py"
    assert copied(BASE.pip_install_from_requirements("r.txt")) == {"/.cove/requirements.txt": "requirements.txt"}


def test_nothing_can_follow_files_that_come_last(here: Path) -> None:
    write(here, a="")
    image = BASE.add_local_file("a", "/a").add_local_dir(here, "/d")
    assert len(layers(image)) == 2
    calls: list[Callable[[], _Image]] = [
        lambda: image.run_commands("x"),
        lambda: image.env({"A": "1"}),
        lambda: image.workdir("/x"),
        lambda: image.add_local_file("a", "/b", copy=True),
        lambda: image.run_function(print),
    ]
    for call in calls:
        with pytest.raises(InvalidError, match="copy=True"):
            call()
    assert len(layers(BASE.add_local_file("a", "/a", copy=True).run_commands("x").add_local_dir(here, "/d"))) == 3


def test_a_dockerfile_brings_what_it_copies_and_no_more(here: Path) -> None:
    write(
        here,
        Dockerfile="ARG V\nFROM debian:12 AS build\nCOPY src/*.c lib /src/\nFROM scratch AS unused\nCOPY huge /\n"
        "FROM build\nCOPY ./go.mod /x\n",
        src__a_c="a", src__b_h="b", lib__l__m="m", go_mod="g", huge="h", other="o",
    )  # fmt: skip
    image = _Image.from_dockerfile("Dockerfile", build_args={"V": "1"}, add_python="3.12")
    definition = defined(image).definition
    assert definition.WhichOneof("base") is None
    first, second = definition.layers
    assert list(first.commands) == [(here / "Dockerfile").read_text()]
    assert [file.path.decode() for file in first.context] == ["go.mod", "lib", "lib/l", "lib/l/m", "src/a.c"]
    assert dict(first.build_args) == {"V": "1"}
    assert "3.12" in second.commands[0]


def test_dockerignore(here: Path) -> None:
    write(here, Dockerfile="FROM x\nCOPY . /\n", a_txt="", b_txt="", d__a_txt="")
    image = _Image.from_dockerfile("Dockerfile")
    assert set(context(image)) >= {"a.txt", "b.txt", "d/a.txt", "Dockerfile"}
    (here / ".dockerignore").write_text("*.txt\n.dockerignore\nDockerfile*\n")
    assert set(context(image)) == {"d", "d/a.txt"}
    (here / "Dockerfile.dockerignore").write_text("# mine\n**/a.txt\n!d/a.txt\nDockerfile*\n.docker*")
    assert set(context(image)) == {"b.txt", "d", "d/a.txt"}
    assert set(context(_Image.from_dockerfile("Dockerfile", ignore=["d", "*ocker*"]))) == {"a.txt", "b.txt"}
    assert "Dockerfile" in context(_Image.from_dockerfile("Dockerfile", ignore=[]))
    assert set(context(BASE.dockerfile_commands("COPY *.txt /"))) == set()


def test_dockerfile_commands_with_context(here: Path, tmp_path: Path) -> None:
    write(here, c__data__x="x", c__data__y_tmp="y", extra="e")
    image = BASE.dockerfile_commands("COPY data /data", "COPY e /e", context_dir="c", context_files={"/e": "~/extra"}, ignore=["**/*.tmp"])
    assert set(context(image)) == {"data", "data/x", "e"}
    outside = BASE.dockerfile_commands("COPY ../x /")
    with pytest.raises(InvalidError, match="context"):
        defined(outside)


def test_only_what_is_copied_is_looked_at(here: Path) -> None:
    write(here, a__x="", secret__y="")
    (here / "a/loop").symlink_to(here)
    looked_at: list[str] = []

    def ignore(path: Path) -> bool:
        looked_at.append(str(path))
        return False

    image = BASE.dockerfile_commands("COPY a/x a/*.none /", ignore=ignore)
    assert set(context(image)) == {"a/x"}
    assert not [path for path in looked_at if path.startswith("secret")]


def test_dockerfiles_that_cannot_be_read(here: Path) -> None:
    with pytest.raises(NotFoundError, match="Dockerfile"):
        defined(_Image.from_dockerfile("Dockerfile"))
    for content, error in (
        (b"\xff", InvalidError),
        (b"FROM x\n" + b"#" * 2**20, RequestSizeError),
        (b"FROM x\nVOLUME /x", UnimplementedError),
    ):
        (here / "Dockerfile").write_bytes(content)
        with pytest.raises(error):
            define(_Image.from_dockerfile("Dockerfile")._recipe, python="3.11")


def test_too_many_files(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(here, t__a="", t__b="")
    monkeypatch.setattr("cove._image.definition.MAX_DEFINITION_BYTES", 100)
    with pytest.raises(RequestSizeError, match="add_local_dir"):
        defined(BASE.add_local_dir("t", "/x"))


def test_hashes_follow_the_files(tmp_path: Path) -> None:
    hashes, file = Hashes(), tmp_path / "x"
    file.write_bytes(b"1")
    assert hashes.of(file)[0] == hashlib.sha256(b"1").digest()
    file.write_bytes(b"2")  # perhaps within the clock's tick
    assert hashes.of(file)[0] == hashlib.sha256(b"2").digest()
    os.utime(file, ns=(0, 0))
    assert hashes.of(file) == (hashlib.sha256(b"2").digest(), 1)
    (key,) = hashes._kept
    hashes._kept[key] = b"kept", 1
    assert hashes.of(file)[0] == b"kept"
    os.utime(file, ns=(0, 1))
    assert hashes.of(file)[0] == hashlib.sha256(b"2").digest()
