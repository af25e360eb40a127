"""Walking a local directory: what comes along, what is pruned, what is refused."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from cove._context_files import walk_directory
from cove.dockerfile.copy_rules import FileKind
from cove.exception import InvalidError, RequestSizeError
from cove.file_pattern_matcher import FilePatternMatcher

NOTHING = FilePatternMatcher()


def tree(root: Path, *files: str) -> Path:
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir() if file.endswith("/") else path.write_text(file)
    return root


def paths(root: Path, *patterns: str) -> list[str]:
    return [found.path for found in walk_directory(root, FilePatternMatcher(*patterns))]


def test_everything_in_order(tmp_path: Path) -> None:
    tree(tmp_path, "b/c/d", "b/a", "a.txt", "empty/", "b-x")
    assert paths(tmp_path) == ["a.txt", "b", "b/a", "b/c", "b/c/d", "b-x", "empty"]


def test_what_is_known_of_each(tmp_path: Path) -> None:
    tree(tmp_path, "d/file")
    (tmp_path / "d/file").chmod(0o4750)
    (tmp_path / "link").symlink_to("d/file")
    found = {file.path: file for file in walk_directory(tmp_path, NOTHING)}
    assert (found["d/file"].kind, found["d/file"].mode, found["d/file"].size_bytes) == (FileKind.FILE, 0o4750, 6)
    assert (found["link"].kind, found["link"].link_target) == (FileKind.LINK, "d/file")
    assert (found["d"].kind, found["d"].link_target) == (FileKind.DIRECTORY, None)


def test_links_are_never_followed(tmp_path: Path) -> None:
    root = tree(tmp_path / "root", "a")
    tree(tmp_path / "outside", "secret")
    (root / "out").symlink_to(tmp_path / "outside")
    (root / "up").symlink_to("..")
    (root / "loop").symlink_to(".")
    (root / "dangling").symlink_to("nowhere")
    assert paths(root) == ["a", "dangling", "loop", "out", "up"]


def test_the_root_may_be_a_link(tmp_path: Path) -> None:
    tree(tmp_path / "real", "a")
    (tmp_path / "root").symlink_to("real")
    assert paths(tmp_path / "root") == ["a"]


def test_ignored_files(tmp_path: Path) -> None:
    tree(tmp_path, "a.py", "a.pyc", "b/c.pyc", "b/d.py")
    assert paths(tmp_path, "**/*.pyc") == ["a.py", "b", "b/d.py"]


def test_ignored_directories_come_along_for_what_is_not_ignored_in_them(tmp_path: Path) -> None:
    tree(tmp_path, "a/b/keep/x", "a/b/lose", "a/c/lose", "z")
    assert paths(tmp_path, "a", "!a/b/keep") == ["a", "a/b", "a/b/keep", "a/b/keep/x", "z"]


def test_an_inverted_matcher_finds_files_in_all_directories(tmp_path: Path) -> None:
    tree(tmp_path, "a/b/x.py", "a/b/y.txt", "c/z.txt")
    assert [found.path for found in walk_directory(tmp_path, ~FilePatternMatcher("**/*.py"))] == ["a", "a/b", "a/b/x.py"]


def test_predicates_get_relative_paths(tmp_path: Path) -> None:
    tree(tmp_path, ".venv/a", "b")
    seen: list[Path] = []

    def ignore(path: Path) -> bool:
        seen.append(path)
        return path.is_relative_to(".venv")

    assert [found.path for found in walk_directory(tmp_path, ignore)] == ["b"]
    assert seen == [Path(".venv"), Path(".venv/a"), Path("b")]


def test_pruned_directories_are_not_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path, "node_modules/a/b", "src/c")
    listed: list[str] = []
    real = Path.iterdir

    def recording(path: Path) -> Iterator[Path]:
        listed.append(path.name)
        return real(path)

    monkeypatch.setattr(Path, "iterdir", recording)
    assert paths(tmp_path, "node_modules") == ["src", "src/c"]
    assert "node_modules" not in listed
    assert "src" in listed


def test_sockets_and_pipes_are_left_out(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        assert paths(tree(tmp_path, "a")) == ["a"]


def test_the_number_is_bounded(tmp_path: Path) -> None:
    tree(tmp_path, "a", "b", "c/d")
    assert len(list(walk_directory(tmp_path, NOTHING, max_files=4))) == 4
    with pytest.raises(RequestSizeError, match="more than 3 files"):
        list(walk_directory(tmp_path, NOTHING, max_files=3))


def test_a_deep_tree_is_no_problem(tmp_path: Path) -> None:
    path = tmp_path
    for _ in range(300):
        path /= "d"
        path.mkdir()
    assert len(paths(tmp_path)) == 300


def test_unreadable_files_are_told_before_the_upload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path, "a", "b")
    monkeypatch.setattr(os, "access", lambda path, _: Path(path).name != "b")  # root may read everything
    with pytest.raises(InvalidError, match="b cannot be read: Permission denied") as caught:
        paths(tmp_path)
    assert "ignore it" in caught.value.remedy
    assert paths(tmp_path, "b") == ["a"]


@pytest.mark.parametrize("root", ["missing", "file"])
def test_a_root_that_is_no_directory(tmp_path: Path, root: str) -> None:
    tree(tmp_path, "file")
    with pytest.raises(InvalidError, match="cannot be read"):
        paths(tmp_path / root)


def test_a_file_that_goes_away_meanwhile(tmp_path: Path) -> None:
    tree(tmp_path, "a", "b")

    def ignore(_: Path) -> bool:
        (tmp_path / "b").unlink(missing_ok=True)
        return False

    with pytest.raises(InvalidError, match="b cannot be read"):
        list(walk_directory(tmp_path, ignore))


def test_names_that_are_no_text(tmp_path: Path) -> None:
    Path(os.fsdecode(bytes(tmp_path) + b"/\xff")).write_text("")
    with pytest.raises(InvalidError, match="not UTF-8") as caught:
        paths(tmp_path)
    caught.value.cause.encode()
