"""The script that gives an image its Python, run by a real shell with programs of the test's making."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest

from cove._image import python

TOOLS = ("rm", "sh", "env", "cat", "mkdir", "touch")


class Machine:
    """An image whose PATH is one directory."""

    def __init__(self, root: Path) -> None:
        self.bin = root / "bin"
        self.home = root / "python"
        self.bin.mkdir()
        for tool in TOOLS:
            (self.bin / tool).symlink_to(Path("/bin", tool).resolve())

    def program(self, name: str, body: str) -> None:
        """Put a script on the PATH."""
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def python(self, name: str, version: str, *, modules: str = "ensurepip venv pip") -> None:
        """A Python that says it is ``version``, has these modules, and makes virtual environments."""
        self.program(
            name,
            f"""case "$1 $2" in
"-c import sys"*) echo "$2" | grep -q '"{version}"' ;;
"-c import ensurepip, venv") case " {modules} " in *" ensurepip "*) exit 0;; *) exit 1;; esac ;;
"-m pip") case " {modules} " in *" pip "*) exit 0;; *) exit 1;; esac ;;
"-m venv") mkdir -p "$3" && echo {name} > "$3/made_by" ;;
*) exit 99 ;;
esac""",
        )
        grep = self.bin / "grep"
        if not grep.exists():
            grep.symlink_to("/bin/grep")

    def run(self, version: str) -> subprocess.CompletedProcess[str]:
        """Run the script as a RUN would."""
        script = python.script(version, str(self.home))
        return subprocess.run(
            ["/bin/sh", "-c", script], env={"PATH": str(self.bin)}, capture_output=True, text=True, timeout=10, check=False
        )

    @property
    def made_by(self) -> str | None:
        file = self.home / "made_by"
        return file.read_text().strip() if file.exists() else None


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_python_that_fits_is_left_alone(machine: Machine) -> None:
    machine.python("python", "3.12")
    machine.program("apt-get", "exit 7")
    assert machine.run("3.12").returncode == 0
    assert machine.made_by is None


def test_one_of_another_name_is_used(machine: Machine) -> None:
    machine.python("python", "3.9")
    machine.python("python3.12", "3.12")
    assert machine.run("3.12").returncode == 0
    assert machine.made_by == "python3.12"


def test_a_fitting_one_without_pip_gets_an_environment_that_has_it(machine: Machine) -> None:
    machine.python("python", "3.12", modules="ensurepip venv")
    assert machine.run("3.12").returncode == 0
    assert machine.made_by == "python"


@pytest.mark.parametrize(("manager", "name"), [("apt-get", "python3.12"), ("apk", "python3")])
def test_the_package_manager_brings_it(machine: Machine, manager: str, name: str) -> None:
    machine.python(f"hidden-{name}", "3.12")
    machine.program(manager, f'echo "$@" >> "{machine.bin}/asked"; ln -sf "{machine.bin}/hidden-{name}" "{machine.bin}/{name}"')
    (machine.bin / "ln").symlink_to("/bin/ln")
    result = machine.run("3.12")
    assert result.returncode == 0, result.stderr
    assert machine.made_by == f"hidden-{name}"
    assert "3.12" in (machine.bin / "asked").read_text()


@pytest.mark.parametrize("manager", ["apt-get", "apk", None])
def test_where_there_is_none_it_says_so(machine: Machine, manager: str | None) -> None:
    machine.python("python3", "3.9")
    if manager:
        machine.program(manager, "exit 100")
    result = machine.run("3.12")
    assert result.returncode == 1
    assert "no Python 3.12" in result.stderr
    assert machine.made_by is None
