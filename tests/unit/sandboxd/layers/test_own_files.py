"""Copies of the node's own files are taken out of a sandbox's changes, and nothing that is not one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sandboxd.layers.own_files import remove_own_files

pytestmark = pytest.mark.needs_root


@pytest.fixture
def own(tmp_path: Path) -> Path:
    directory = tmp_path / "own"
    (directory / "etc/apt").mkdir(parents=True)
    (directory / "etc/hosts").write_text("127.0.0.1 localhost\n")
    (directory / "etc/apt/conf").write_text("mirror")
    (directory / ".cove").mkdir()
    (directory / ".cove/init").write_text("program")
    return directory


@pytest.fixture
def changes(tmp_path: Path) -> Path:
    directory = tmp_path / "changes"
    (directory / "etc/apt").mkdir(parents=True)
    return directory


def names(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*")}


def test_copies_go_and_times_stay(changes: Path, own: Path) -> None:
    (changes / "etc/hosts").write_text("127.0.0.1 localhost\n")
    (changes / "etc/apt/conf").write_text("mirror")
    (changes / "etc/other").write_text("mirror")
    for path in (changes, changes / "etc", changes / "etc/apt"):
        os.utime(path, ns=(1, 1_111_111_111))
    remove_own_files(changes, [own])
    assert names(changes) == {"etc", "etc/apt", "etc/other"}
    for path in (changes, changes / "etc", changes / "etc/apt"):
        assert path.stat().st_mtime_ns == 1_111_111_111


def test_what_was_changed_stays(changes: Path, own: Path) -> None:
    (changes / "etc/hosts").write_text("127.0.0.1 localhosT\n")
    (changes / "etc/apt/conf").write_text("mirror and more")
    remove_own_files(changes, [own])
    assert (changes / "etc/hosts").exists()
    assert (changes / "etc/apt/conf").exists()


def test_the_nodes_directory_goes_whatever_is_in_it(changes: Path, own: Path) -> None:
    (changes / ".cove/deep").mkdir(parents=True)
    (changes / ".cove/init").write_text("another")
    os.mknod(changes / ".cove/deleted", 0o020000, os.makedev(0, 0))
    remove_own_files(changes, [own])
    assert names(changes) == {"etc", "etc/apt"}


def test_whiteouts_pipes_and_directories_in_place_of_files_stay(changes: Path, own: Path) -> None:
    os.mknod(changes / "etc/hosts", 0o020000, os.makedev(0, 0))
    os.mkfifo(changes / "etc/apt/conf")
    remove_own_files(changes, [own])
    assert names(changes) == {"etc", "etc/apt", "etc/hosts", "etc/apt/conf"}


@pytest.mark.parametrize("place", ["etc", "etc/apt", "etc/hosts", ".cove"])
def test_no_link_leads_out(changes: Path, own: Path, tmp_path: Path, place: str) -> None:
    """Whatever a sandbox puts there: a host's file with the very content is not touched."""
    host = tmp_path / "host"
    (host / "apt").mkdir(parents=True)
    (host / "hosts").write_text("127.0.0.1 localhost\n")
    (host / "conf").write_text("mirror")
    (host / "apt/conf").write_text("mirror")
    link = changes / place
    if link.is_dir():
        link.rename(tmp_path / "away")
    link.symlink_to(host / "hosts" if place == "etc/hosts" else host)
    remove_own_files(changes, [own])
    assert names(host) == {"apt", "apt/conf", "hosts", "conf"}
    assert link.is_symlink() == (place != ".cove")


def test_a_file_where_a_directory_should_be(changes: Path, own: Path) -> None:
    (changes / "etc/apt").rmdir()
    (changes / "etc/apt").write_text("a file")
    remove_own_files(changes, [own])
    assert names(changes) == {"etc", "etc/apt"}
