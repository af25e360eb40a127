"""Files in a sandbox: open, list, move, watch; whole files and trees up and down."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

import cove
from cove.types import new_id


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


# --- whole files and trees ---------------------------------------------------------------------------------------------------------------


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
