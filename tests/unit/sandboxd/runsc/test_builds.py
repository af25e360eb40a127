"""The store of runsc builds: whole or absent, whatever dies in between, and nothing in it is trusted unread."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cove.exception import InternalFailure
from sandboxd.runsc import builds as module
from sandboxd.runsc.builds import CURRENT, Builds, digits_of, kept_in, version_in


def install(path: Path, version: str = "release-20240729.0", more: str = "") -> Path:
    """A program that tells its version as runsc does, to be found where another may have been."""
    fresh = path.with_suffix(".new")
    fresh.write_text(f"#!/bin/sh\necho 'runsc version {version}'\necho 'spec: 1.0.2'\n# {more}\n")
    fresh.chmod(0o755)
    return fresh.replace(path)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    return install(tmp_path / "runsc")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "state" / "runsc"


async def opened(directory: Path, installed: Path) -> Builds:
    builds = Builds(directory)
    await builds.take_in(installed)
    return builds


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()} - {CURRENT}


async def test_what_is_installed_is_copied_once(directory: Path, installed: Path) -> None:
    builds = await opened(directory, installed)
    assert builds.current == f"release-20240729.0-{digits_of(installed)}" and builds.before == ""
    assert version_in(builds.current) == "release-20240729.0"
    assert builds.path(builds.current).read_bytes() == installed.read_bytes()
    assert builds.find(digits_of(installed)) == builds.current and builds.find("0" * 16) == ""
    inode = builds.path(builds.current).stat().st_ino
    again = await opened(directory, installed)
    assert (again.current, again.before) == (builds.current, builds.current) and names(directory) == {builds.current}
    assert again.path(again.current).stat().st_ino == inode


async def test_an_upgrade_leaves_what_there_was(directory: Path, installed: Path) -> None:
    old = (await opened(directory, installed)).current
    for version, more in (("release-20250101.0", ""), ("release-20250101.0", "rebuilt")):
        install(installed, version, more)
        builds = await opened(directory, installed)
        assert builds.current.startswith(version) and old in builds.ids
    assert len(builds.ids) == 3 == len({builds.path(one).read_bytes() for one in builds.ids})
    removed = await builds.forget({old})
    assert len(removed) == 1 and builds.ids == {old, builds.current} == names(directory)
    with pytest.raises(KeyError):
        builds.path(removed[0])
    assert await builds.forget(()) == [old] and names(directory) == {builds.current}
    assert await builds.forget(()) == []


async def test_a_downgrade_finds_the_older_one_again(directory: Path, installed: Path) -> None:
    old = (await opened(directory, installed)).current
    new = (await opened(directory, install(installed, "release-20250101.0"))).current
    builds = await opened(directory, install(installed))
    assert (builds.current, builds.before) == (old, new) and builds.ids == {old, new}


def flip(program: Path) -> None:
    program.write_bytes(program.read_bytes()[:-1] + b"#")


def swap_for_link(program: Path) -> None:
    moved = program.rename(program.parents[2] / "elsewhere")
    program.symlink_to(moved)


def swap_for_directory(program: Path) -> None:
    program.unlink()
    program.mkdir()


def make_empty(program: Path) -> None:
    program.write_bytes(b"")


def rename_build(program: Path) -> None:
    name = program.parent.name
    program.parent.rename(program.parent.with_name(name[:-1] + ("0" if name[-1] != "0" else "1")))


@pytest.mark.parametrize(
    "damage",
    [flip, Path.unlink, swap_for_link, swap_for_directory, make_empty, rename_build, lambda program: program.chmod(0o644)],
)
@pytest.mark.parametrize("is_current", [True, False])
async def test_a_damaged_one_is_never_run(directory: Path, installed: Path, damage: Callable[[Path], None], is_current: bool) -> None:
    builds = await opened(directory, installed)
    damage(builds.path(builds.current))
    assert kept_in(directory) == set()
    if not is_current:
        install(installed, "release-20250101.0")
    again = await opened(directory, installed)
    assert (builds.current in again.ids) == is_current
    assert names(directory) == again.ids == {again.current}
    assert again.path(again.current).read_bytes() == installed.read_bytes()


@pytest.mark.parametrize("step", ["_copy_program", "version_of", "_publish", "sync_directory"])
async def test_a_daemon_that_dies_leaves_no_half_build(
    directory: Path, installed: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die(*arguments: object, **more: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Builds if step == "_publish" else module, step, die)
        patch.setattr(shutil, "rmtree", lambda *arguments, **more: None)  # nobody cleans up who is dead
        with pytest.raises(Killed):
            await opened(directory, installed)
    assert kept_in(directory) == set()
    builds = await opened(directory, installed)
    assert names(directory) == builds.ids == {builds.current}


async def test_a_daemon_that_dies_in_a_removal_leaves_no_half_build(
    directory: Path, installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = (await opened(directory, installed)).current
    builds = await opened(directory, install(installed, "release-20250101.0"))
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *arguments, **more: None)
        await builds.forget(())
    assert old not in builds.ids and kept_in(directory) == {builds.current} != names(directory)
    builds = await opened(directory, installed)
    assert names(directory) == builds.ids == {builds.current}


@pytest.mark.parametrize("text", ["", "runsc", "runsc version", "runsc version ../../x", "runsc version " + "x" * 100, "runsc version a/b"])
async def test_what_tells_no_version_is_refused(directory: Path, tmp_path: Path, text: str) -> None:
    program = tmp_path / "other"
    program.write_text(f"#!/bin/sh\necho '{text}'\n")
    program.chmod(0o755)
    with pytest.raises(InternalFailure, match="version"):
        await opened(directory, program)
    assert names(directory) == set()


async def test_what_cannot_be_run_is_refused(directory: Path, tmp_path: Path) -> None:
    program = tmp_path / "other"
    program.write_bytes(b"\x7fELFnonsense")
    with pytest.raises(InternalFailure, match="cannot be run") as caught:
        await opened(directory, program)
    assert caught.value.remedy and names(directory) == set()


async def test_strangers_in_the_store_go(directory: Path, installed: Path) -> None:
    builds = await opened(directory, installed)
    (directory / "x").mkdir()
    (directory / "x" / "y").touch()
    (directory / ".77").mkdir()
    (directory / "file").touch()
    (directory / "link").symlink_to("/etc")
    await opened(directory, installed)
    assert names(directory) == {builds.current} and Path("/etc").is_dir()


@pytest.mark.parametrize("name", ["", "1", "1-", f"-{'a' * 16}", f"1-{'A' * 16}", f"1-{'a' * 15}", f"1/2-{'a' * 16}", f"..-{'a' * 16}"])
def test_other_names_are_no_builds(name: str) -> None:
    with pytest.raises(ValueError):
        version_in(name)
