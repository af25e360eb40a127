"""Whole files and directories. What comes out of a sandbox is hostile: nothing may be written outside the target."""

from __future__ import annotations

import asyncio
import io
import os
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from cove import _archive
from cove._async import _transfer
from cove._async.sandbox import _Sandbox
from cove.exception import AuthError, ConnectionError, FilesystemExecutionError, InternalFailure
from tests.support.fake_server import FakeServer, World


def member(
    name: str, *, kind: bytes = tarfile.REGTYPE, content: bytes = b"", target: str = "", mode: int = 0o644
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname, info.mode = kind, len(content), target, mode
    return info, content


def archive(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as writer:
        for info, content in members:
            writer.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def tree(root: Path) -> dict[str, tuple[str, object]]:
    """Everything below ``root``: kind and content."""
    found: dict[str, tuple[str, object]] = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = ("link", str(path.readlink()))
        elif path.is_dir():
            found[name] = ("directory", None)
        else:
            found[name] = ("file", path.read_bytes())
    return found


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory with a file that nothing may change."""
    directory = tmp_path / "outside"
    directory.mkdir()
    (directory / "precious").write_text("precious")
    return directory


@pytest.fixture
def target(tmp_path: Path, outside: Path) -> Path:
    """Where downloads of ``/dir`` go; beside it is ``outside``."""
    return tmp_path / "target"


@pytest.fixture
async def fetch(sandbox: _Sandbox, world: World, target: Path, outside: Path) -> Callable[[bytes], object]:
    """Downloads an archive as a directory into ``target``, and looks that nothing else was touched."""
    world.only.directories.add(b"/dir")

    async def download(content: bytes) -> dict[str, tuple[str, object]]:
        world.archive = content
        try:
            await sandbox.download("/dir", target)
        finally:
            assert tree(outside) == {"precious": ("file", b"precious")}
            assert names(target.parent) <= {"outside", "target"}
        return tree(target)

    return download


async def test_an_upload_of_a_file(sandbox: _Sandbox, world: World, tmp_path: Path) -> None:
    content = os.urandom(1_000_000)
    source = tmp_path / "source"
    source.write_bytes(content)
    source.chmod(0o751)
    await sandbox.upload(source, "/ü/\udcff target")
    assert world.only.files["/ü/\udcff target".encode("utf-8", "surrogateescape")] == content
    assert world.only.modes["/ü/\udcff target".encode("utf-8", "surrogateescape")] == 0o751


async def test_a_directory_goes_and_comes_back(sandbox: _Sandbox, world: World, tmp_path: Path, target: Path) -> None:
    source = tmp_path / "source"
    (source / "sub" / "empty").mkdir(parents=True)
    (source / "file").write_bytes(os.urandom(700_000))
    (source / "sub" / ("long " * 40)).write_text("long name")
    (source / "sub" / "link").symlink_to("../file")
    (source / "script").write_text("#!/bin/sh")
    (source / "script").chmod(0o755)
    os.link(source / "script", source / "twin")
    world.only.directories.add(b"/dir")
    await sandbox.upload(source, "/dir")
    world.archive = world.uploaded["/dir"]
    await sandbox.download("/dir", target)
    assert tree(target) == tree(source)
    assert stat.S_IMODE((target / "script").stat().st_mode) == 0o755
    with tarfile.open(fileobj=io.BytesIO(world.archive)) as sent:
        assert {(info.uid, info.gid, info.uname) for info in sent} == {(0, 0, "root")}


async def test_a_download_of_a_file(sandbox: _Sandbox, world: World, target: Path) -> None:
    world.only.files[b"/file"] = bytearray(os.urandom(1_000_000))
    world.only.modes[b"/file"] = 0o6777
    target.write_text("old")
    await sandbox.download("/file", target)
    assert target.read_bytes() == world.only.files[b"/file"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o755
    assert names(target.parent) == {"outside", "target"}


async def test_a_file_does_not_replace_a_directory(sandbox: _Sandbox, world: World, target: Path) -> None:
    world.only.files[b"/file"] = bytearray(b"x")
    target.mkdir()
    with pytest.raises(IsADirectoryError):
        await sandbox.download("/file", target)
    assert names(target.parent) == {"outside", "target"}


async def test_a_file_replaces_a_link_and_not_what_it_leads_to(sandbox: _Sandbox, world: World, target: Path, outside: Path) -> None:
    world.only.files[b"/file"] = bytearray(b"hostile")
    target.symlink_to(outside / "precious")
    await sandbox.download("/file", target)
    assert (outside / "precious").read_text() == "precious"
    assert target.read_bytes() == b"hostile"


HOSTILE = {
    "a name that leads out": [member("../outside/evil", content=b"x")],
    "a name that leads out, later": [member("a/../../outside/evil", content=b"x")],
    "a link that leads out": [member("link", kind=tarfile.SYMTYPE, target="../outside")],
    "an absolute link": [member("link", kind=tarfile.SYMTYPE, target="/etc/passwd")],
    "a hard link that leads out": [member("link", kind=tarfile.LNKTYPE, target="../outside/precious")],
    "a file through a link that leads out": [
        member("link", kind=tarfile.SYMTYPE, target="../outside"),
        member("link/precious", content=b"evil"),
    ],
    "a link below a link": [
        member("dir", kind=tarfile.DIRTYPE, mode=0o755),
        member("inner", kind=tarfile.SYMTYPE, target="dir"),
        member("inner/link", kind=tarfile.SYMTYPE, target="x"),
    ],
    "a device": [member("null", kind=tarfile.CHRTYPE)],
    "a pipe": [member("pipe", kind=tarfile.FIFOTYPE)],
    "a sparse file": [member("sparse", kind=tarfile.GNUTYPE_SPARSE)],
}


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
@pytest.mark.parametrize("what", HOSTILE)
async def test_hostile_archives_are_refused(fetch: Callable[[bytes], asyncio.Future[object]], what: str, form: int) -> None:
    with pytest.raises(FilesystemExecutionError, match="refused"):
        await fetch(archive(*HOSTILE[what], form=form))


async def test_an_absolute_name_is_taken_as_relative(fetch: Callable[[bytes], asyncio.Future[object]], outside: Path) -> None:
    assert await fetch(archive(member("/evil-file", content=b"x"))) == {"evil-file": ("file", b"x")}
    assert not Path("/evil-file").exists()


async def test_links_that_were_here_before_are_not_followed_out(
    fetch: Callable[[bytes], asyncio.Future[object]], target: Path, outside: Path
) -> None:
    target.mkdir()
    (target / "link").symlink_to(outside)
    with pytest.raises(FilesystemExecutionError):
        await fetch(archive(member("link/precious", content=b"evil")))
    (target / "file").symlink_to(outside / "precious")
    with pytest.raises(FilesystemExecutionError):
        await fetch(archive(member("file", content=b"evil")))


async def test_a_chain_of_links_too_long_to_resolve_writes_nothing(fetch: Callable[[bytes], asyncio.Future[object]]) -> None:
    """Names so deep that realpath gives up have fooled tarfile's filter (CVE-2025-4517): links come last here, files first."""
    part = "d" * 200
    path, members = "", []
    for letter in "abcdefghijklmnopqr":
        members.append(member(f"{path}{part}", kind=tarfile.DIRTYPE, mode=0o755))
        members.append(member(f"{path}{letter}", kind=tarfile.SYMTYPE, target=part))
        path = f"{path}{part}/"
    deep = "/".join("abcdefghijklmnopqr")
    members.append(member(f"{deep}/{'l' * 254}", kind=tarfile.SYMTYPE, target="../" * 18))
    members.append(member("escape", kind=tarfile.SYMTYPE, target=f"{deep}/{'l' * 254}/../../outside"))
    members.append(member("escape/precious", content=b"evil"))
    with pytest.raises((FilesystemExecutionError, OSError)):
        await fetch(archive(*members))


async def test_set_user_id_does_not_come_out(fetch: Callable[[bytes], asyncio.Future[object]], target: Path) -> None:
    await fetch(archive(member("tool", content=b"x", mode=0o6777)))
    assert stat.S_IMODE((target / "tool").stat().st_mode) == 0o755


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
async def test_huge_headers_are_refused_before_they_are_read(fetch: Callable[[bytes], asyncio.Future[object]], kind: bytes) -> None:
    info = tarfile.TarInfo("header")
    info.type, info.size = kind, 2**33
    with pytest.raises(FilesystemExecutionError, match="too large"):
        await fetch(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))


async def test_sparse_maps_are_refused(fetch: Callable[[bytes], asyncio.Future[object]]) -> None:
    info, content = member("sparse", content=b"1\n0\n1\n".ljust(512, b"\0") + b"x".ljust(512, b"\0"))
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "x", "GNU.sparse.realsize": str(2**60)}
    with pytest.raises(FilesystemExecutionError, match="sparse"):
        await fetch(archive((info, content)))


async def test_too_many_links(fetch: Callable[[bytes], asyncio.Future[object]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_archive, "MAX_LINKS", 5)
    links = [member(f"link{number}", kind=tarfile.SYMTYPE, target="x") for number in range(6)]
    with pytest.raises(FilesystemExecutionError, match="too many links"):
        await fetch(archive(*links))


@pytest.mark.parametrize("content", [b"", b"not an archive at all" * 100, b"\xff" * 2048])
async def test_rubbish(fetch: Callable[[bytes], asyncio.Future[object]], content: bytes) -> None:
    with pytest.raises(FilesystemExecutionError):
        await fetch(content)


async def test_an_archive_that_stops_in_the_middle(fetch: Callable[[bytes], asyncio.Future[object]]) -> None:
    with pytest.raises(FilesystemExecutionError):
        await fetch(archive(member("file", content=bytes(100_000)))[:50_000])


async def test_a_download_that_was_cut_starts_again(sandbox: _Sandbox, world: World, target: Path) -> None:
    world.only.files[b"/file"] = bytearray(os.urandom(2_000_000))
    world.fail_next["body"] = [Exception(), Exception()]
    await sandbox.download("/file", target)
    assert target.read_bytes() == world.only.files[b"/file"]
    assert world.calls["get_file"] == 3


async def test_an_upload_survives_an_expired_token_and_a_missing_node(sandbox: _Sandbox, world: World, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(300_000))
    world.expire_tokens()
    await sandbox.upload(source, "/file")
    assert world.only.files[b"/file"] == source.read_bytes()
    assert world.calls["SandboxAccess"] == 1
    world.node_http_url = "http://127.0.0.1:1"
    world.expire_tokens()
    await sandbox.upload(source, "/other")  # through the router
    assert world.only.files[b"/other"] == source.read_bytes()


async def test_a_token_that_is_never_good_is_an_error(sandbox: _Sandbox, world: World, tmp_path: Path) -> None:
    (tmp_path / "source").write_text("x")
    world.fail_next["put_file"] = [AuthError("no", code="token_expired")] * 2
    with pytest.raises(AuthError):
        await sandbox.upload(tmp_path / "source", "/file")


async def test_a_transfer_waits_for_a_server_that_is_gone_for_a_moment(
    server: FakeServer, sandbox: _Sandbox, world: World, tmp_path: Path
) -> None:
    (tmp_path / "source").write_text("x")
    await server.stop()
    uploading = asyncio.ensure_future(sandbox.upload(tmp_path / "source", "/file"))
    await asyncio.sleep(0.2)
    await server.start()
    await uploading
    assert world.only.files[b"/file"] == b"x"


async def test_errors_of_the_server(sandbox: _Sandbox, world: World, tmp_path: Path, target: Path) -> None:
    (tmp_path / "source").write_text("x")
    world.fail_next["put_file"] = [InternalFailure("disk gone")]
    with pytest.raises(InternalFailure, match="disk gone"):
        await sandbox.upload(tmp_path / "source", "/file")
    with pytest.raises(FileNotFoundError) as caught:
        await sandbox.download("/absent", target)
    assert caught.value.filename == "/absent"
    with pytest.raises(FileNotFoundError):
        await sandbox.upload(tmp_path / "absent", "/file")


async def test_errors_here_are_not_taken_for_a_broken_connection(sandbox: _Sandbox, world: World, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    os.mkfifo(source / "pipe")
    with pytest.raises(OSError, match="neither a file"):
        await sandbox.upload(source, "/dir")
    assert world.calls["put_archive"] <= 1
    world.only.files[b"/file"] = bytearray(b"x")
    with pytest.raises(FileNotFoundError):
        await sandbox.download("/file", tmp_path / "absent" / "file")


async def test_cancelling_ends_the_threads(sandbox: _Sandbox, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_bytes(bytes(20_000_000))
    reached = asyncio.Event()
    original = _transfer._Sink.write

    def write(sink: _transfer._Sink, data: bytes) -> None:
        sink._link._loop.call_soon_threadsafe(reached.set)
        original(sink, data)

    monkeypatch.setattr(_transfer._Sink, "write", write)
    uploading = asyncio.ensure_future(sandbox.upload(source, "/dir"))
    await reached.wait()
    uploading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await uploading


async def test_without_a_way_there_it_says_so(
    server: FakeServer, sandbox: _Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "source").write_text("x")
    await server.stop()
    monkeypatch.setattr("cove._transport.bulk.Attempts.pause", _give_up)
    with pytest.raises(ConnectionError):
        await sandbox.upload(tmp_path / "source", "/file")


async def _give_up(self: object, error: Exception) -> None:
    raise error
