"""What the methods of an image come to on the wire."""

from __future__ import annotations

import hashlib
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cove._async.image import _Image
from cove._async.secret import _Secret
from cove.exception import InvalidError, NotFoundError, UnimplementedError
from cove.wire import image_pb2
from tests.support.image_definitions import context, defined, last, layers, write

OWN = f"{sys.version_info.major}.{sys.version_info.minor}"
EMPTY_SHA = hashlib.sha256(b"").digest()

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
