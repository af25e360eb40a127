"""The directory: killed writers, a full disk, odd contents."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Final

import pytest

from cove.exception import AlreadyExistsError, DataLossError, InternalError, NotFoundError, ResourceExhaustedError
from snapshots.backends.local import LocalBackend
from snapshots.backends.protocol import get_bytes, put_bytes
from snapshots.digest import Digest, digest_of
from snapshots.store import Store
from tests.support.leaks import peak_bytes
from tests.support.store_places import reset_peak_bytes

MIB: Final = 1 << 20
OLD: Final = b"old" * 1000
NEW: Final = b"new" * 100_000
ROOT: Final = Path(__file__).parents[3]

WRITERS: Final = """
import asyncio, os, shutil, signal, sys
from pathlib import Path
from snapshots.backends.local import LocalBackend

CALLS = ("open", "write", "utime", "fsync", "mkdir", "link", "unlink", "rename", "close")
top, name = Path(sys.argv[1]), sys.argv[2]
steps = 0

def count(stop_at):
    global steps
    steps += 1
    if steps == stop_at:
        os.kill(os.getpid(), signal.SIGKILL)

def counted(real, stop_at):
    def call(*arguments, **keywords):
        count(stop_at)
        result = real(*arguments, **keywords)
        count(stop_at)
        return result
    return call

async def put(directory):
    async with LocalBackend(directory).stage() as staged:
        await staged.write(b"new" * 50_000)
        await staged.write(b"new" * 50_000)
        await staged.publish(name, if_absent=name == "lock")

def writer(directory, stop_at):
    for call in CALLS:
        setattr(os, call, counted(getattr(os, call), stop_at))
    asyncio.run(put(directory))
    os._exit(0)

stop_at = status = 1
while status:
    directory = top / str(stop_at)
    shutil.copytree(top / "before", directory)
    pid = os.fork()
    if not pid:
        writer(directory, stop_at)
    status = os.waitpid(pid, 0)[1]
    assert status in (0, signal.SIGKILL), status
    stop_at += 1
"""
"""Puts an object in the n-th copy of a store and dies by SIGKILL before or after one of its system calls, the n-th time that it can."""


@pytest.fixture
async def backend(tmp_path: Path) -> LocalBackend:
    made = LocalBackend(tmp_path / "store")
    await made.create()
    return made


@pytest.mark.parametrize("name", ["a/b", "new/directory/c", "lock"])
async def test_a_writer_killed_at_any_step_leaves_the_old_or_the_new(tmp_path: Path, name: str) -> None:
    before = LocalBackend(tmp_path / "before")
    await before.create()
    await put_bytes(before, "a/b", OLD)
    command = [sys.executable, "-c", WRITERS, str(tmp_path), name]
    ended = await asyncio.to_thread(subprocess.run, command, cwd=ROOT, capture_output=True, timeout=15)
    assert ended.returncode == 0, ended.stderr.decode()

    ways = sorted((path for path in tmp_path.iterdir() if path.name != "before"), key=lambda path: int(path.name))
    outcomes = [await state_after_crash(LocalBackend(path), name) for path in ways]
    assert len(outcomes) > 20
    turned = outcomes.index(NEW)
    assert set(outcomes[:turned]) == {OLD if name == "a/b" else None}
    assert set(outcomes[turned:]) == {NEW}


async def state_after_crash(backend: LocalBackend, name: str) -> bytes | None:
    """What ``name`` is, once what the crash left has been swept; everything else is as it was."""
    await backend.sweep()
    assert list(backend.staged.iterdir()) == []
    if name != "a/b":
        assert await get_bytes(backend, "a/b", max_bytes=MIB) == OLD
    async with aclosing(backend.list_("")) as infos:
        assert {info.name async for info in infos} <= {"a/b", name}
    try:
        return await get_bytes(backend, name, max_bytes=MIB)
    except NotFoundError:
        return None


async def test_a_sweep_spares_writers_that_live(backend: LocalBackend) -> None:
    (backend.staged / "left").write_bytes(b"x")
    async with backend.stage() as staged:
        await staged.write(b"data")
        assert await LocalBackend(backend.objects.parent).sweep() == 1
        await staged.publish("name")
        assert await backend.sweep() == 0
    assert await get_bytes(backend, "name", max_bytes=10) == b"data"
    assert list(backend.staged.iterdir()) == []


async def test_sweeps_and_writers_do_not_get_into_each_others_way(backend: LocalBackend) -> None:
    done = asyncio.Event()

    async def sweep() -> None:
        while not done.is_set():
            await LocalBackend(backend.objects.parent).sweep()

    async with asyncio.TaskGroup() as group:
        group.create_task(sweep())
        for number in range(60):
            await put_bytes(backend, f"n{number}", b"data")
        done.set()
    for number in range(60):
        assert await get_bytes(backend, f"n{number}", max_bytes=10) == b"data"


@contextlib.contextmanager
def small_disk(directory: Path, size_bytes: int) -> Iterator[None]:
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(directory)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(directory)], check=True)


@pytest.mark.needs_root
async def test_a_full_disk_is_told_and_takes_nothing_that_was_there(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 4 * MIB):
        backend = LocalBackend(tmp_path / "disk")
        await backend.create()
        store = Store(backend)
        digest = await put(store, OLD)
        for size_bytes in (3 * MIB, 5 * MIB, 64 * MIB):  # full in the middle of writing, or nearly
            with contextlib.suppress(ResourceExhaustedError):
                await put(store, os.urandom(size_bytes), another=MIB)
                pytest.fail(f"{size_bytes} bytes fit")
            assert list(backend.staged.iterdir()) == []
            async with aclosing(store.walk()) as blobs:
                assert [blob.digest async for blob in blobs] == [digest]
        assert await put(store, b"x" * MIB) == digest_of(b"x" * MIB)
        async with store.view(digest) as view:
            assert await view.read(max_bytes=MIB) == OLD


async def put(store: Store, data: bytes, *, another: int = 0) -> Digest:
    async def chunks() -> AsyncIterator[bytes]:
        for offset in range(0, len(data), MIB):
            yield data[offset : offset + MIB]
        yield bytes(another)

    return (await store.put(chunks(), max_bytes=len(data) + another)).digest


async def test_the_reserve_is_left_to_others(backend: LocalBackend) -> None:
    careful = LocalBackend(backend.objects.parent, reserve_bytes=1 << 60)
    with pytest.raises(ResourceExhaustedError, match="reserve"):
        await put_bytes(careful, "name", b"x")
    assert list(backend.staged.iterdir()) == []


async def test_what_the_file_system_refuses_is_our_error(tmp_path: Path, backend: LocalBackend) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Exception, match="begins, or is begun by") as caught:
        await LocalBackend(tmp_path / "file").create()
    assert not isinstance(caught.value, OSError)
    backend.staged.rmdir()
    with pytest.raises(NotFoundError):
        await put_bytes(backend, "name", b"")


async def test_links_in_the_directory_are_not_followed(tmp_path: Path, backend: LocalBackend) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (backend.objects / "link").symlink_to(tmp_path / "secret")
    (backend.objects / "way").symlink_to(tmp_path)
    with pytest.raises(InternalError):
        await get_bytes(backend, "link", max_bytes=100)
    async with aclosing(backend.list_("")) as infos:
        assert [info.name async for info in infos] == []


async def test_only_the_owner_can_read_what_is_stored(backend: LocalBackend) -> None:
    os.umask(os.umask(0))
    await put_bytes(backend, "a/b", b"data")
    for path in (backend.objects, backend.staged, backend.objects / "a", backend.objects / "a" / "b"):
        assert path.stat().st_mode & 0o077 == 0


async def test_a_bad_sector_is_lost_data(backend: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    await put_bytes(backend, "name", b"data")

    def pread(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pread", pread)
    with pytest.raises(DataLossError):
        await get_bytes(backend, "name", max_bytes=100)


async def test_a_huge_blob_passes_through_little_memory(backend: LocalBackend) -> None:
    store, size_bytes, piece = Store(backend), 256 * MIB, b"0123456789abcdef" * 65536

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(size_bytes // len(piece)):
            yield piece

    before = reset_peak_bytes()
    blob = await store.put(chunks(), max_bytes=size_bytes)
    async with store.view(blob.digest) as view:
        read = 0
        async for chunk in view.chunks():
            read += len(chunk)
    assert read == blob.size_bytes == size_bytes
    assert peak_bytes(os.getpid()) - before < 32 * MIB


async def test_a_name_that_must_be_absent_is_taken_once_by_many_processes(backend: LocalBackend) -> None:
    async def attempt(number: int) -> bool:
        try:
            await put_bytes(LocalBackend(backend.objects.parent), "lock", b"%d" % number, if_absent=True)
        except AlreadyExistsError:
            return False
        return True

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(attempt(number)) for number in range(20)]
    assert [task.result() for task in tasks].count(True) == 1
