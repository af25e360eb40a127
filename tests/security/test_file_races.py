"""A process inside flips a path between a file and a link to the host while the file API works on it: nothing of the host comes or goes."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

import cove
from tests.support.live_fixtures import Sandboxes

ROUNDS: Final = 60
OWN: Final = "the sandbox's own"

FLIP: Final = """
import itertools, os, sys
target, kind = sys.argv[1], sys.argv[2]
print("flipping", flush=True)
for turn in itertools.count():
    name = "/flip/next"
    if turn % 2:
        os.symlink(target, name)
    elif kind == "file":
        with open(name, "w") as file:
            file.write("the sandbox's own")
    else:
        os.mkdir(name)
        with open(name + "/own", "w") as file:
            file.write("the sandbox's own")
    os.renames("/flip/path", f"/flip/old/{turn}") if os.path.lexists("/flip/path") else None
    os.rename(name, "/flip/path")
"""


@pytest.fixture
def host_directory(tmp_path: Path) -> Path:
    """A directory of the host with a secret in it, writable for everybody."""
    directory = tmp_path / "host"
    directory.mkdir(mode=0o777)
    (directory / "own").write_text(f"HOST {secrets.token_hex(16)}")
    (directory / "shadow").write_text(f"HOST {secrets.token_hex(16)}")
    return directory


@contextlib.contextmanager
def _flipping(sandbox: cove.Sandbox, target: Path, kind: str) -> Iterator[None]:
    """``/flip/path`` changes all the time between a file or directory of the sandbox's and a link to ``target``."""
    sandbox.mkdir("/flip/old", parents=True)
    flipper = sandbox.exec("python3", "-c", FLIP, str(target), kind)
    assert next(iter(flipper.stdout)) == "flipping\n"
    yield
    assert flipper.poll() is None, flipper.stderr.read()


def _state(directory: Path) -> dict[str, tuple[str, int]]:
    return {path.name: (path.read_text(), path.stat().st_mtime_ns) for path in sorted(directory.iterdir())}


def test_reads_give_the_sandboxs_own_content_or_nothing(sandboxes: Sandboxes, host_directory: Path, tmp_path: Path) -> None:
    sandbox, seen = sandboxes.create(), set()
    with _flipping(sandbox, host_directory / "shadow", "file"):
        for turn in range(ROUNDS):
            with contextlib.suppress(FileNotFoundError), sandbox.open("/flip/path") as file:
                seen.add(file.read())
            with contextlib.suppress(FileNotFoundError):
                local = tmp_path / f"copy-{turn}"
                sandbox.download("/flip/path", local)
                seen.add(local.read_text())
            with contextlib.suppress(FileNotFoundError):
                sandbox.stat("/flip/path")
    assert seen - {""} == {OWN}


def test_etc_shadow_of_the_host_stays_there(sandboxes: Sandboxes) -> None:
    sandbox, host = sandboxes.create(), set(Path("/etc/shadow").read_text().splitlines())
    with sandbox.open("/etc/shadow") as file:
        own = set(file.read().splitlines())
    seen = set()
    with _flipping(sandbox, Path("/etc/shadow"), "file"):
        for _ in range(ROUNDS):
            with contextlib.suppress(FileNotFoundError), sandbox.open("/flip/path") as file:
                seen.update(file.read().splitlines())
    assert not (seen & host) - own - {""}
    assert seen - {""} <= own | {OWN}


def test_writes_never_reach_the_host(sandboxes: Sandboxes, host_directory: Path, tmp_path: Path) -> None:
    sandbox, before = sandboxes.create(), _state(host_directory)
    local = tmp_path / "upload"
    local.write_text("from the client")
    with _flipping(sandbox, host_directory / "shadow", "file"):
        for _ in range(ROUNDS):
            with contextlib.suppress(OSError), sandbox.open("/flip/path", "w") as file:
                file.write("from the client")
            with contextlib.suppress(OSError):
                sandbox.upload(local, "/flip/path")
    assert _state(host_directory) == before


HOSTILE_TREE: Final = """
import os
os.makedirs("/hostile/sub")
os.symlink("{outside}", "/hostile/link")
os.symlink("{outside}/shadow", "/hostile/sub/shadow")
os.symlink("../../../../../../../..{outside}", "/hostile/up")
os.mkfifo("/hostile/fifo")
open("/hostile/plain", "w").write("plain")
"""


def test_a_downloaded_tree_writes_below_its_target_alone(sandboxes: Sandboxes, host_directory: Path, tmp_path: Path) -> None:
    """Links that lead out come as links or not at all; a second download over them does not write through them."""
    sandbox, before = sandboxes.create(), _state(host_directory)
    assert sandbox.exec("python3", "-c", HOSTILE_TREE.format(outside=host_directory)).wait() == 0
    target = tmp_path / "target"
    with contextlib.suppress(OSError, cove.exception.Error):
        sandbox.download("/hostile", target)
    sandbox.exec("sh", "-c", "rm /hostile/link; mkdir /hostile/link; echo owned > /hostile/link/own; rm /hostile/sub/shadow; "
                 "echo owned > /hostile/sub/shadow").wait()  # fmt: skip
    with contextlib.suppress(OSError, cove.exception.Error):
        sandbox.download("/hostile", target)
    assert _state(host_directory) == before


@pytest.mark.parametrize("path", ["/proc/1/root/etc/shadow", "/proc/self/cwd", "/proc/1/environ", "/proc/1/mem", "/dev/null", "/dev/zero"])
def test_odd_paths_end_in_bounded_answers(shared: cove.Sandbox, path: str) -> None:
    """The guest opens paths for the API with its own rights: /proc must not lend them to anybody."""
    try:
        with shared.open(path, "rb") as file:
            assert b"HOST" not in file.read(4096)
    except (OSError, cove.exception.Error) as error:
        assert len(str(error)) < 2048
