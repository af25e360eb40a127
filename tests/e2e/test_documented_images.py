"""The examples of the documented image interface, with ``cove`` for its module: each as it stands there, then looked at from inside.

Not here, because they need a service that is not this machine's: see "Examples that were not run" in docs/images.md.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import cove
from cove import FilePatternMatcher
from cove.exception import ModuleNotMountable
from cove.wire import image_pb2
from tests.support.leaks import assert_holds
from tests.support.live_cove import LiveCove
from tests.support.live_fixtures import Sandboxes
from tests.support.raw_client import BUILD_S, RawClient
from tests.support.registry_server import registry_server

pytestmark = pytest.mark.timeout(600)

OWN = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture(autouse=True)
def project(live: LiveCove, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory of the example: a new one. Builds leave nothing behind."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    yield tmp_path
    assert_holds(live)


class Inside:
    """Looks into images."""

    def __init__(self, sandboxes: Sandboxes) -> None:
        self._sandboxes = sandboxes

    def shell(self, image: cove.Image, script: str) -> str:
        process = self._sandboxes.create("sleep", "600", image=image).exec("sh", "-c", script)
        output = process.stdout.read()
        assert process.wait() == 0, process.stderr.read()
        return output

    def python(self, image: cove.Image, code: str) -> str:
        return self.shell(image, f"python -c '{code}'").strip()


@pytest.fixture
def inside(sandboxes: Sandboxes) -> Inside:
    return Inside(sandboxes)


# --- Guide, "Images" ---------------------------------------------------------------------------------------------------------------------


def test_add_python_packages_with_uv(inside: Inside) -> None:
    datascience_image = (
        cove.Image.debian_slim()
        .uv_pip_install("pandas==2.2.0", "numpy")
    )  # fmt: skip
    assert inside.python(datascience_image, "import pandas as pd, numpy as np; print(pd.__version__, len(pd.DataFrame()))") == "2.2.0 0"


def test_add_python_packages_with_pip_to_another_python(inside: Inside) -> None:
    """The example names a pandas that has no wheel for this Python, and no compiler is in the image."""
    datascience_image = (
        cove.Image.debian_slim(python_version="3.13")
        .pip_install("numpy")
    )  # fmt: skip
    assert inside.python(datascience_image, "import numpy, sys; print(sys.version_info[:2])") == "(3, 13)"


def test_add_a_local_directory(inside: Inside, project: Path) -> None:
    (project / ".aws").mkdir()
    (project / ".aws/config").write_text("[default]\n")
    image = cove.Image.debian_slim().add_local_dir(str(project / ".aws"), remote_path="/root/.aws")
    assert inside.shell(image, "cat /root/.aws/config") == "[default]\n"


def test_add_local_python_code(inside: Inside, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "local_module.py").write_text("def do_stuff():\n    print('stuff')\n")
    monkeypatch.syspath_prepend(str(project))
    image_with_module = cove.Image.debian_slim().add_local_python_source("local_module")
    assert inside.shell(image_with_module, "cd /root && python -c 'import local_module; local_module.do_stuff()'") == "stuff\n"
    with pytest.raises(ModuleNotMountable):
        inside.shell(cove.Image.debian_slim().add_local_python_source("sys"), "true")


def test_imports_are_for_containers() -> None:
    pandas_image = cove.Image.debian_slim().pip_install("pandas", "numpy")
    with pandas_image.imports():
        importlib.import_module("pandas_that_is_nowhere")
        pytest.fail("it was imported")


def test_install_system_packages(inside: Inside) -> None:
    image = cove.Image.debian_slim().apt_install("git", "curl")
    assert inside.shell(image, "git --version && curl --version").startswith("git version")


def test_set_environment_variables(inside: Inside) -> None:
    image = cove.Image.debian_slim().env({"PORT": "6443"})
    assert inside.python(image, 'import os; print(os.environ["PORT"])') == "6443"
    image = (
        cove.Image.debian_slim()
        .env({"HF_HUB_ENABLE_HF_TRANSFER": "1"})
    )  # fmt: skip
    assert inside.shell(image, "echo $HF_HUB_ENABLE_HF_TRANSFER") == "1\n"


def test_a_forced_step_and_what_follows_are_built_again(app: cove.App, inside: Inside, capfd: pytest.CaptureFixture[str]) -> None:
    def image() -> cove.Image:
        return (
            cove.Image.debian_slim()
            .apt_install("git")
            .pip_install("slack-sdk", force_build=True)
            .run_commands("echo hi")
        )  # fmt: skip

    ids = []
    for _ in range(2):
        with cove.enable_output():
            ids.append(image().build(app).object_id)
        shown = capfd.readouterr()
        assert "hi" in shown.out + shown.err and "slack" in shown.out + shown.err
    assert "apt-get" not in shown.out + shown.err
    assert ids[0] != ids[1]
    assert inside.python(image(), "import slack_sdk; print(1)") == "1"


@pytest.mark.parametrize("version", ["3.11", "3.13"])
def test_versions_of_python(inside: Inside, version: str) -> None:
    image = cove.Image.debian_slim(python_version=version)
    assert inside.shell(image, "python --version; python3 --version; pip --version").count(f"Python {version}.") == 2


# --- Guide, "Using existing images" ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a registry on this machine."""
    with registry_server(tmp_path_factory.mktemp("registry")) as running:
        yield running.address


@pytest.fixture(scope="module")
def sklearn(registry: str, client: RawClient) -> str:
    """An image in it, in the place of ``huanjason/scikit-learn``: Debian with Python."""
    layer = image_pb2.ImageLayer(commands=["RUN echo made > /made"])
    made, _ = client.build(image_pb2.ImageDefinition(debian=OWN, layers=[layer]))
    name = f"{registry}/huanjason/scikit-learn:latest"
    push = image_pb2.ImagePushRequest(image_id=made.image_id, target=image_pb2.RegistryImage(reference=name))
    assert list(client.control.stream("ImagePush", push, timeout_s=BUILD_S))[-1].digest
    return name


def test_an_image_of_a_registry_and_more_on_top(inside: Inside, sklearn: str) -> None:
    sklearn_image = cove.Image.from_registry(sklearn)
    data_science_image = sklearn_image.uv_pip_install("click")
    assert inside.shell(data_science_image, "cat /made && python -c 'import click'") == "made\n"
    ubuntu_image = cove.Image.from_registry(sklearn, add_python=OWN)
    assert inside.shell(ubuntu_image, "python --version").startswith(f"Python {OWN}")


def test_an_entrypoint_script(sandboxes: Sandboxes, project: Path) -> None:
    (project / "my_entrypoint.sh").write_text('#!/usr/bin/env bash\n\n# Your custom startup commands here.\necho started\n\nexec "$@"\n')
    (project / "my_entrypoint.sh").chmod(0o755)
    image = (
        cove.Image.debian_slim()
        .pip_install("click")
        .add_local_file("my_entrypoint.sh", "/usr/bin/my_entrypoint.sh", copy=True)
        .entrypoint(["/usr/bin/my_entrypoint.sh"])
    )
    sandbox = sandboxes.create("python", "-c", "print('ran')", image=image)
    assert sandbox.wait() is None and sandbox.stdout.read() == "started\nran\n"


# --- Reference, "Image" ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def assets(project: Path) -> Path:
    """Files of each kind that the examples' patterns tell apart."""
    directory = project / "assets"
    for name in ("a.txt", "b.py", "sub/c.txt", "sub/d.py", ".venv/e", "x.venv"):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(name)
    (project / "ignorefile").write_text("sub\n")
    return directory


def listed(inside: Inside, image: cove.Image, directory: str) -> set[str]:
    return set(inside.shell(image, f"cd {directory} && find . -type f | cut -c3-").split())


def test_patterns_of_what_is_added(inside: Inside, assets: Path, project: Path) -> None:
    image = cove.Image.debian_slim().add_local_dir(
        "~/assets",
        remote_path="/assets",
        ignore=["*.venv"],
    )
    assert listed(inside, image, "/assets") == {"a.txt", "b.py", "sub/c.txt", "sub/d.py"}
    image = cove.Image.debian_slim().add_local_dir(
        "~/assets",
        remote_path="/assets",
        ignore=lambda p: p.is_relative_to(".venv"),
    )
    assert listed(inside, image, "/assets") == {"a.txt", "b.py", "sub/c.txt", "sub/d.py", "x.venv"}
    image = cove.Image.debian_slim().add_local_dir(
        "~/assets",
        remote_path="/assets",
        ignore=FilePatternMatcher("**/*.txt"),
    )
    assert listed(inside, image, "/assets") == {"b.py", "sub/d.py", ".venv/e", "x.venv"}
    image = cove.Image.debian_slim().add_local_dir(
        "~/assets",
        remote_path="/assets",
        ignore=~FilePatternMatcher("**/*.py"),
    )
    assert listed(inside, image, "/assets") == {"b.py", "sub/d.py"}
    image = cove.Image.debian_slim().add_local_dir(
        "~/assets",
        remote_path="/assets",
        ignore=FilePatternMatcher.from_file(project / "ignorefile"),
    )
    assert listed(inside, image, "/assets") == {"a.txt", "b.py", ".venv/e", "x.venv"}


def test_patterns_of_python_sources(inside: Inside, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = project / "mymodule"
    package.mkdir()
    for name in ("__init__.py", "data.json", "more.json"):
        (package / name).write_text("")
    monkeypatch.syspath_prepend(str(project))
    image = cove.Image.debian_slim().add_local_python_source("mymodule", ignore=["data.json"])
    assert listed(inside, image, "/root/mymodule") == {"__init__.py", "more.json"}
    image = cove.Image.debian_slim().add_local_python_source("mymodule", ignore=lambda p: p.stat().st_size > 1e9)
    assert listed(inside, image, "/root/mymodule") == {"__init__.py", "more.json", "data.json"}


def test_patterns_of_dockerfile_commands(inside: Inside, assets: Path, project: Path) -> None:
    assets.rename(project / "data")
    image = cove.Image.debian_slim().dockerfile_commands(
        ["COPY data /data"],
    )
    everything = {"a.txt", "b.py", "sub/c.txt", "sub/d.py", ".venv/e", "x.venv"}
    assert listed(inside, image, "/data") == everything
    image = cove.Image.debian_slim().dockerfile_commands(
        ["COPY data /data"],
        ignore=["**/*.venv"],
    )
    assert listed(inside, image, "/data") == everything - {"x.venv", ".venv/e"}
    image = cove.Image.debian_slim().dockerfile_commands(
        ["COPY data /data"],
        ignore=lambda p: p.is_relative_to(".venv"),
    )
    assert listed(inside, image, "/data") == everything
    image = cove.Image.debian_slim().dockerfile_commands(
        ["COPY data /data"],
        ignore=~FilePatternMatcher("**/*.py"),
    )
    assert listed(inside, image, "/data") == {"b.py", "sub/d.py"}


def test_a_dockerfile_and_its_patterns(inside: Inside, assets: Path, project: Path, sklearn: str) -> None:
    (project / "Dockerfile").write_text(f"FROM {sklearn}\nCOPY assets /assets\n")
    image = cove.Image.from_dockerfile(
        "./Dockerfile",
        add_python=OWN,
    )
    assert len(listed(inside, image, "/assets")) == 6
    image = cove.Image.from_dockerfile(
        "./Dockerfile",
        add_python=OWN,
        ignore=FilePatternMatcher("**/*.txt"),
    )
    assert listed(inside, image.run_commands("echo more"), "/assets") == {"b.py", "sub/d.py", ".venv/e", "x.venv"}


def test_build_and_its_id(app: cove.App, inside: Inside) -> None:
    image = cove.Image.debian_slim().uv_pip_install("scipy", "numpy")

    app = cove.App.lookup("build-image", create_if_missing=True)
    with cove.enable_output():  # To see logs in your local terminal
        image.build(app)

    # Save the image id
    my_image_id = image.object_id
    assert my_image_id is not None

    # Reference the image with the id or uses it another context.
    built_image = cove.Image.from_id(my_image_id)
    assert inside.python(built_image, "import scipy, numpy; print(1)") == "1"

    sb = cove.Sandbox.create("python", "-c", "import scipy; print(scipy)", app=app, image=image)
    assert sb.stdout.read().startswith("<module 'scipy'")
    sb.terminate()


def test_pip_install(inside: Inside) -> None:
    image = cove.Image.debian_slim().pip_install("click", "httpx~=0.23.3")
    assert inside.python(image, "import click, httpx; print(httpx.__version__)") == "0.23.3"


def test_requirements_and_a_pyproject(inside: Inside, project: Path) -> None:
    (project / "requirements.txt").write_text("six==1.17.0\n# a comment\nidna\n")
    (project / "pyproject.toml").write_text(
        '[project]\nname = "x"\nversion = "1"\ndependencies = ["click"]\n'
        '[project.optional-dependencies]\ntest = ["iniconfig"]\ndoc = ["nowhere"]\n'
    )
    image = (
        cove.Image.debian_slim().pip_install_from_requirements("requirements.txt").pip_install_from_pyproject("pyproject.toml", ["test"])
    )
    assert inside.python(image, "import six, idna, click, iniconfig; print(six.__version__)") == "1.17.0"


def test_uv_sync(inside: Inside, project: Path) -> None:
    (project / "pyproject.toml").write_text('[project]\nname = "x"\nversion = "1"\nrequires-python = ">=3.11"\ndependencies = ["click"]\n')
    image = cove.Image.debian_slim().uv_sync()
    assert inside.python(image, "import click, sys; print(sys.prefix)") == "/.uv/project/.venv"


def test_poetry(inside: Inside, project: Path) -> None:
    """With a source: mirrors have what pip asks for, and not what poetry asks PyPI itself for."""
    (project / "pyproject.toml").write_text(
        '[tool.poetry]\nname = "x"\nversion = "1"\ndescription = ""\nauthors = []\npackage-mode = false\n'
        '[[tool.poetry.source]]\nname = "simple"\nurl = "https://pypi.org/simple/"\npriority = "primary"\n'
        '[tool.poetry.dependencies]\npython = ">=3.11,<3.14"\nclick = "*"\n[tool.poetry.group.dev.dependencies]\niniconfig = "*"\n'
    )
    image = cove.Image.debian_slim().poetry_install_from_file("pyproject.toml", ignore_lockfile=True, without=["dev"])
    code = 'import click, importlib.util; print(importlib.util.find_spec("iniconfig"))'
    assert inside.python(image, code) == "None"


def test_shell_workdir_and_cmd(sandboxes: Sandboxes, inside: Inside) -> None:
    image = (
        cove.Image.debian_slim()
        .shell(["/bin/bash", "-c"])
        .run_commands("mkdir -p app; echo $BASH_VERSION > app/shell")
        .workdir("/app")
        .run_commands("pwd > where; echo \"print('app ran')\" > app.py")
        .cmd(["python", "app.py"])
    )
    assert inside.shell(image, "cat /app/where /app/shell").startswith("/app\n5")
    sandbox = sandboxes.create(image=image)
    assert sandbox.wait() is None and sandbox.stdout.read() == "app ran\n"
