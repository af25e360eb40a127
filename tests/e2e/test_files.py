"""Files in a sandbox: open, list, move, watch; whole files and trees up and down."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import cove
from cove.types import FileWatchEvent, new_id

ODD_NAMES = [
    "a b",
    "-rf",
    "ü€😀",
    "new\nline",
    "'\"$(id)`",
    "*",
    "...",
    " ",
    "x" * 255,
    "\udcff\udcfe",
    "\x01\x7f",
    "back\\slash",
    "%2e%2e",
    "a?b#c&d",
]


@pytest.fixture
def home(shared: cove.Sandbox) -> str:
    """An empty directory of the test's own."""
    path = f"/tmp/{new_id('td')}"
    shared.mkdir(path)
    return path


def sh(sandbox: cove.Sandbox, script: str, *arguments: str) -> str:
    process = sandbox.exec("sh", "-c", script, "sh", *arguments)
    output = process.stdout.read()
    assert process.wait() == 0, process.stderr.read()
    return output


def write(sandbox: cove.Sandbox, path: str, content: bytes | str) -> None:
    if isinstance(content, bytes):
        with sandbox.open(path, "wb") as file:
            file.write(content)
    else:
        with sandbox.open(path, "w") as text:
            text.write(content)


def read(sandbox: cove.Sandbox, path: str) -> bytes:
    with sandbox.open(path, "rb") as file:
        return file.read()


# --- open --------------------------------------------------------------------------------------------------------------------------------


def test_modes(shared: cove.Sandbox, home: str) -> None:
    path = f"{home}/f"
    with pytest.raises(FileNotFoundError) as caught:
        shared.open(path)
    assert caught.value.filename == path
    with pytest.raises(FileNotFoundError):
        shared.open(path, "r+")
    with shared.open(path, "x") as file:
        file.write("one\n")
    with pytest.raises(FileExistsError):
        shared.open(path, "x")
    with shared.open(path, "a") as file:
        file.write("two\n")
    with shared.open(path, "r+") as file:
        assert file.readline() == "one\n"
        file.seek(0)
        file.write("ONE")
        file.seek(0, 2)
        file.write("three")
    assert read(shared, path) == b"ONE\ntwo\nthree"
    with shared.open(path, "a+b") as binary:
        binary.write(b"!")
        binary.seek(-4, 2)
        assert binary.read() == b"ree!"
    with shared.open(path, "w+") as file:
        file.write("fresh")
        file.seek(1)
        assert file.read(3) == "res"
    for mode in ("", "rw", "rbb", "z", "r+w"):
        with pytest.raises(ValueError, match="mode"):
            shared.open(path, mode)  # type: ignore[call-overload]  # not a mode


def test_text_lines_and_bytes(shared: cove.Sandbox, home: str) -> None:
    path = f"{home}/f"
    text = "".join(f"{number} é€😀\n" for number in range(30_000)) + "end"
    write(shared, path, text)
    with shared.open(path) as file:
        assert [file.readline() for _ in range(2)] == ["0 é€😀\n", "1 é€😀\n"]
        assert file.read(8) == "2 é€😀\n3 "
        rest = file.readlines()
        assert (len(rest), rest[0], rest[-1]) == (29_998, "é€😀\n", "end")
        assert (file.read(), file.readline()) == ("", "")
    assert read(shared, path) == text.encode()
    write(shared, path, b"\xff\xfe")
    with shared.open(path) as file, pytest.raises(UnicodeDecodeError):
        file.read()


def test_writes_are_buffered_until_flush(shared: cove.Sandbox, home: str) -> None:
    path = f"{home}/f"
    file = shared.open(path, "w")
    file.write("kept back")
    assert read(shared, path) == b""
    file.flush()
    assert read(shared, path) == b"kept back"
    file.write(" and on")
    file.close()
    file.close()
    assert read(shared, path) == b"kept back and on"
    with pytest.raises(ValueError, match="closed"):
        file.write("more")


def test_relative_paths_and_parents(shared: cove.Sandbox, home: str) -> None:
    sandbox_root_relative = home.lstrip("/")
    write(shared, f"{sandbox_root_relative}/f", "x")
    assert read(shared, f"{home}/../{Path(home).name}/./f") == b"x"
    assert read(shared, f"/../../..{home}/f") == b"x"


def test_what_cannot_be_opened(shared: cove.Sandbox, home: str) -> None:
    sh(shared, 'cd "$1"; mkfifo fifo; mkdir dir; ln -s loop loop', home)
    with pytest.raises(IsADirectoryError):
        shared.open(f"{home}/dir", "w")
    with pytest.raises(OSError, match="Invalid"):
        shared.open(f"{home}/fifo")
    with pytest.raises(OSError, match="Too many levels"):
        shared.open(f"{home}/loop")
    with pytest.raises(NotADirectoryError):
        shared.open("/etc/passwd/x")
    with pytest.raises(OSError, match="too long"):
        shared.open(f"{home}/{'x' * 256}", "w")
    for path in ("", "a\0b", "/" + "x/" * 3000):
        with pytest.raises((cove.Error, OSError)):
            shared.open(path, "w")


async def test_async_file(shared: cove.Sandbox, home: str) -> None:
    async with await shared.open.aio(f"{home}/f", "w+b") as file:
        await file.write.aio(b"asynchronous")
        await file.seek.aio(1)
        assert await file.read.aio(3) == b"syn"
    assert await shared.ls.aio(home) == ["f"]


# --- directories -------------------------------------------------------------------------------------------------------------------------


def test_directories(shared: cove.Sandbox, home: str) -> None:
    with pytest.raises(FileNotFoundError):
        shared.mkdir(f"{home}/a/b")
    shared.mkdir(f"{home}/a/b", parents=True)
    shared.mkdir(f"{home}/a/b", parents=True)
    with pytest.raises(FileExistsError):
        shared.mkdir(f"{home}/a")
    write(shared, f"{home}/a/file", "x")
    assert shared.ls(home) == ["a"]
    assert shared.ls(f"{home}/a") == ["b", "file"]
    with pytest.raises(NotADirectoryError):
        shared.ls(f"{home}/a/file")
    with pytest.raises(FileNotFoundError):
        shared.ls(f"{home}/none")
    with pytest.raises(OSError, match="not empty"):
        shared.rm(f"{home}/a")
    shared.rm(f"{home}/a/b")
    shared.rm(f"{home}/a", recursive=True)
    with pytest.raises(FileNotFoundError):
        shared.rm(f"{home}/a", recursive=True)
    assert shared.ls(home) == []


def test_removing_never_follows_links(shared: cove.Sandbox, home: str) -> None:
    sh(shared, 'cd "$1"; mkdir keep tree; touch keep/file; ln -s ../keep tree/link; ln -s keep link', home)
    shared.rm(f"{home}/tree", recursive=True)
    shared.rm(f"{home}/link", recursive=True)
    assert (shared.ls(home), shared.ls(f"{home}/keep")) == (["keep"], ["file"])


def test_stat_and_rename(shared: cove.Sandbox, home: str) -> None:
    sh(shared, 'cd "$1"; printf 12345 > f; chown 12:34 f; chmod 4751 f; touch -d @1000000000 f; ln -s f link; ln -s none dangling', home)
    info = shared.stat(f"{home}/f")
    assert (info.name, info.size_bytes, info.uid, info.gid, info.mtime_ns) == ("f", 5, 12, 34, 10**18)
    assert (stat.S_IMODE(info.mode), info.is_file(), info.is_dir()) == (0o4751, True, False)
    assert shared.stat(home).is_dir()
    assert shared.stat(f"{home}/link").size_bytes == 5
    assert shared.stat(f"{home}/link", follow=False).link_target == "f"
    assert shared.stat(f"{home}/dangling", follow=False).link_target == "none"
    with pytest.raises(FileNotFoundError):
        shared.stat(f"{home}/dangling")
    shared.rename(f"{home}/f", f"{home}/g")
    write(shared, f"{home}/h", "other")
    shared.rename(f"{home}/g", f"{home}/h")
    assert (shared.ls(home), read(shared, f"{home}/h")) == (["dangling", "h", "link"], b"12345")
    with pytest.raises(FileNotFoundError):
        shared.rename(f"{home}/none", f"{home}/x")


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names(shared: cove.Sandbox, home: str, tmp_path: Path, name: str) -> None:
    path = f"{home}/{name}"
    write(shared, path, b"odd")
    assert shared.ls(home) == [name]
    assert shared.stat(path).size_bytes == 3
    shared.download(path, tmp_path / "down")
    assert (tmp_path / "down").read_bytes() == b"odd"
    shared.upload(tmp_path / "down", path + "2" if len(name) < 255 else path)
    shared.rm(path)
    assert shared.ls(home) == ([name + "2"] if len(name) < 255 else [])


# --- watch -------------------------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def watching(
    sandbox: cove.Sandbox, path: str, **options: object
) -> Iterator[Callable[[Callable[[list[FileWatchEvent]], bool]], list[FileWatchEvent]]]:
    """Yields what waits until the events so far fulfil a condition, and gives them."""
    seen: list[FileWatchEvent] = []
    changed = threading.Condition()
    watch = sandbox.watch(path, timeout=20, **options)  # type: ignore[arg-type]  # passed on

    def collect() -> None:
        for event in watch:
            with changed:
                seen.append(event)
                changed.notify()

    collecting = threading.Thread(target=collect)
    collecting.start()

    def until(condition: Callable[[list[FileWatchEvent]], bool]) -> list[FileWatchEvent]:
        with changed:
            assert changed.wait_for(lambda: condition(seen), 15), seen
            return list(seen)

    yield until
    watch.close()
    collecting.join(20)


def test_watch_ends_with_its_timeout_and_needs_something_there(shared: cove.Sandbox, home: str) -> None:
    assert list(shared.watch(home, timeout=0.2)) == []
    with pytest.raises(FileNotFoundError):
        list(shared.watch(f"{home}/none", timeout=1))


# --- whole files and trees ---------------------------------------------------------------------------------------------------------------


def test_200_mib_up_and_down(shared: cove.Sandbox, home: str, tmp_path: Path) -> None:
    source = tmp_path / "large"
    piece = os.urandom(2**20)
    digest = hashlib.sha256()
    with source.open("wb") as file:
        for number in range(200):
            stamped = number.to_bytes(8, "big") + piece[8:]
            digest.update(stamped)
            file.write(stamped)
    shared.upload(source, f"{home}/deep/er/large")
    assert sh(shared, 'sha256sum < "$1/deep/er/large"', home).split()[0] == digest.hexdigest()
    shared.download(f"{home}/deep/er/large", tmp_path / "back")
    with (tmp_path / "back").open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == digest.hexdigest()
    shared.rm(home, recursive=True)


@pytest.mark.parametrize("mode", [0o600, 0o755, 0o444])
def test_modes_travel(shared: cove.Sandbox, home: str, tmp_path: Path, mode: int) -> None:
    source = tmp_path / "f"
    source.write_bytes(b"")
    source.chmod(mode)
    shared.upload(source, f"{home}/f")
    assert stat.S_IMODE(shared.stat(f"{home}/f").mode) == mode
    shared.download(f"{home}/f", tmp_path / "g")
    assert stat.S_IMODE((tmp_path / "g").stat().st_mode) == mode & 0o755 | 0o600
    assert (tmp_path / "g").read_bytes() == b""


def test_tree_up_and_down(shared: cove.Sandbox, home: str, tmp_path: Path) -> None:
    source = tmp_path / "tree"
    (source / "sub" / "empty").mkdir(parents=True)
    for number, name in enumerate(ODD_NAMES):
        (source / "sub" / name).write_bytes(b"x" * number)
    (source / "program").write_text("#!/bin/sh\necho ran\n")
    (source / "program").chmod(0o755)
    (source / "link").symlink_to("sub/a b")
    (source / "dangling").symlink_to("nowhere")
    shared.upload(source, f"{home}/tree")
    assert sh(shared, 'cd "$1/tree"; ./program; cat link | wc -c; readlink dangling; ls -A sub/empty', home) == "ran\n0\nnowhere\n"
    write(shared, f"{home}/tree/added", "inside")
    shared.download(f"{home}/tree", tmp_path / "back")
    (source / "added").write_text("inside")
    assert listing(tmp_path / "back") == listing(source)
    shared.upload(source, f"{home}/tree")
    assert len(shared.ls(f"{home}/tree/sub")) == len(ODD_NAMES) + 1


def listing(top: Path) -> dict[str, object]:
    """What lies below a local directory."""
    found: dict[str, object] = {}
    for path in sorted(top.rglob("*")):
        if path.is_symlink():
            found[str(path.relative_to(top))] = ("link", str(path.readlink()))
        elif path.is_dir():
            found[str(path.relative_to(top))] = "directory"
        else:
            found[str(path.relative_to(top))] = (path.read_bytes(), bool(path.stat().st_mode & 0o100))
    return found


def test_transfers_that_fail_say_why(shared: cove.Sandbox, home: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    with pytest.raises(FileNotFoundError):
        shared.upload(tmp_path / "none", f"{home}/f")
    with pytest.raises(FileNotFoundError):
        shared.download(f"{home}/none", tmp_path / "g")
    with pytest.raises(IsADirectoryError):
        shared.upload(tmp_path / "f", home)
    with pytest.raises(NotADirectoryError):
        shared.upload(tmp_path / "f", "/etc/passwd/f")
    assert not (tmp_path / "g").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f"]


async def test_async_transfers(shared: cove.Sandbox, home: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("up")
    await shared.upload.aio(tmp_path / "f", f"{home}/f")
    await shared.download.aio(f"{home}/f", tmp_path / "g")
    assert (tmp_path / "g").read_text() == "up"
