"""The storage pool on a real btrfs: limits hold to the byte's neighbourhood, and nothing survives its removal."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from cove.exception import ConflictError, InternalFailure, InvalidError, NotFoundError, ResourceExhaustedError
from cove.types import SandboxId, new_id
from sandboxd import kernel
from sandboxd.storage_pool import StoragePool, btrfs, filesystem, loop

pytestmark = pytest.mark.needs_root

MIB = 2**20
POOL_BYTES = 512 * MIB


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
async def pool(state_dir: Path, instance: str) -> AsyncIterator[StoragePool]:
    opened = await StoragePool.open(state_dir, instance=instance, size_bytes=POOL_BYTES)
    yield opened
    for sandbox in opened.list_():
        await opened.remove_upper(sandbox)
    await opened.close()


def fill(file: Path, size_bytes: int) -> int:
    """Write until done or refused for quota; returns how much went in."""
    written = 0
    with file.open("wb", buffering=0) as handle:
        try:
            while written < size_bytes:
                written += handle.write(b"x" * min(64 * 1024, size_bytes - written))
        except OSError as error:
            assert error.errno == errno.EDQUOT
    return written


def ids(count: int) -> list[SandboxId]:
    return [SandboxId(new_id("sb")) for _ in range(count)]


async def test_a_limit_stops_one_sandbox_alone(pool: StoragePool) -> None:
    greedy, modest = ids(2)
    full = pool.create_upper(greedy, 8 * MIB)
    other = pool.create_upper(modest, 8 * MIB)
    assert 8 * MIB * 0.95 <= fill(full.upper_dir / "data", 64 * MIB) <= 8 * MIB
    assert pool.usage(greedy) <= 8 * MIB
    assert fill(other.upper_dir / "data", 4 * MIB) == 4 * MIB
    assert pool.usage(modest) >= 4 * MIB
    assert pool.usage(modest) < 5 * MIB


async def test_deleting_makes_room_again(pool: StoragePool, sandbox_id: SandboxId) -> None:
    upper = pool.create_upper(sandbox_id, 8 * MIB)
    for _ in range(3):
        assert fill(upper.upper_dir / "data", 6 * MIB) == 6 * MIB
        (upper.upper_dir / "data").unlink()


async def test_many_small_files_count(pool: StoragePool, sandbox_id: SandboxId) -> None:
    upper = pool.create_upper(sandbox_id, MIB // 4)
    with pytest.raises(OSError, match="quota"):
        for number in range(100_000):
            (upper.upper_dir / str(number)).write_bytes(b"x" * 100)


async def test_creating_again_keeps_files_and_changes_the_limit(pool: StoragePool, sandbox_id: SandboxId) -> None:
    upper = pool.create_upper(sandbox_id, 4 * MIB)
    (upper.upper_dir / "kept").write_text("kept")
    assert pool.create_upper(sandbox_id, 16 * MIB) == upper
    assert (upper.upper_dir / "kept").read_text() == "kept"
    assert fill(upper.upper_dir / "data", 10 * MIB) == 10 * MIB


async def test_the_root_directory_is_readable_inside_whatever_the_umask(pool: StoragePool, sandbox_id: SandboxId) -> None:
    before = os.umask(0o077)
    try:
        upper = pool.create_upper(sandbox_id, MIB)
    finally:
        os.umask(before)
    assert upper.upper_dir.stat().st_mode & 0o777 == 0o755
    assert pool.path.stat().st_mode & 0o077 == 0


async def test_removal_is_idempotent_and_takes_what_is_half_made(pool: StoragePool) -> None:
    whole, bare, plain = ids(3)
    pool.create_upper(whole, MIB)
    with filesystem.directory(pool.path / "sandboxes") as fd:
        btrfs.create_subvolume(fd, bare, MIB)
    (pool.path / "sandboxes" / plain / "upper/deep").mkdir(parents=True)
    assert pool.list_() == {whole, bare, plain}
    for sandbox in (whole, bare, plain) * 2:
        await pool.remove_upper(sandbox)
    assert pool.list_() == frozenset()
    with pytest.raises(NotFoundError):
        pool.usage(whole)


async def test_a_half_made_upper_is_completed(pool: StoragePool, sandbox_id: SandboxId) -> None:
    with filesystem.directory(pool.path / "sandboxes") as fd:
        btrfs.create_subvolume(fd, sandbox_id, MIB)
    upper = pool.create_upper(sandbox_id, MIB)
    assert upper.work_dir.is_dir()


async def test_a_symbolic_link_in_place_of_an_upper_leads_nowhere(pool: StoragePool, sandbox_id: SandboxId, tmp_path: Path) -> None:
    treasure = tmp_path / "treasure"
    treasure.mkdir()
    (treasure / "gold").touch()
    (pool.path / "sandboxes" / sandbox_id).symlink_to(treasure)
    with pytest.raises(OSError, match=r"."):
        pool.create_upper(sandbox_id, MIB)
    await pool.remove_upper(sandbox_id)
    assert (treasure / "gold").exists()
    assert pool.list_() == frozenset()


async def test_concurrent_removal_of_the_same_upper(pool: StoragePool, sandbox_id: SandboxId) -> None:
    fill(pool.create_upper(sandbox_id, 64 * MIB).upper_dir / "data", 32 * MIB)
    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(pool.remove_upper(sandbox_id))
    assert pool.list_() == frozenset()


async def test_strangers_are_not_listed_and_bad_ids_go_nowhere(pool: StoragePool) -> None:
    (pool.path / "sandboxes" / "lost+found").mkdir()
    (pool.path / "sandboxes" / "sb-tooshort").touch()
    assert pool.list_() == frozenset()
    for bad in ("..", "../../etc", "", "lost+found"):
        with pytest.raises(InvalidError):
            pool.create_upper(SandboxId(bad), MIB)
        with pytest.raises(InvalidError):
            await pool.remove_upper(SandboxId(bad))


async def test_a_new_daemon_finds_everything(pool: StoragePool, state_dir: Path, instance: str, sandbox_id: SandboxId) -> None:
    upper = pool.create_upper(sandbox_id, 8 * MIB)
    (upper.upper_dir / "file").write_text("content")
    again = await StoragePool.open(state_dir, instance=instance)
    assert again.list_() == {sandbox_id}
    assert len([entry for entry in kernel.mounts() if entry.path == pool.path]) == 1
    await pool.close()
    await pool.close()
    reopened = await StoragePool.open(state_dir, instance=instance)
    assert (upper.upper_dir / "file").read_text() == "content"
    assert fill(upper.upper_dir / "data", 64 * MIB) < 8 * MIB
    assert reopened.usage(sandbox_id) <= 8 * MIB


async def test_two_openers_at_once_make_one_pool(state_dir: Path, instance: str) -> None:
    pools = await asyncio.gather(*(StoragePool.open(state_dir, instance=instance, size_bytes=POOL_BYTES) for _ in range(4)))
    assert len([entry for entry in kernel.mounts() if entry.path == pools[0].path]) == 1
    await pools[0].close()


async def test_a_crash_while_making_the_file_is_made_good(state_dir: Path, instance: str) -> None:
    state_dir.mkdir()
    (state_dir / "pool.new").write_bytes(b"half of a file system")
    (state_dir / "pool").mkdir()
    pool = await StoragePool.open(state_dir, instance=instance, size_bytes=POOL_BYTES)
    await pool.close()
    assert not (state_dir / "pool.new").exists()


async def test_a_stranger_at_the_mount_point_is_left_alone(state_dir: Path, instance: str) -> None:
    (state_dir / "pool").mkdir(parents=True)
    kernel.mount("stranger", state_dir / "pool", "tmpfs")
    try:
        with pytest.raises(InternalFailure, match="something else"):
            await StoragePool.open(state_dir, instance=instance, size_bytes=POOL_BYTES)
    finally:
        kernel.umount(state_dir / "pool")


async def test_a_damaged_file_fails_and_is_not_overwritten(state_dir: Path, instance: str) -> None:
    state_dir.mkdir()
    (state_dir / "pool.btrfs").write_bytes(bytes(16 * MIB))
    with pytest.raises(OSError, match="pool"):
        await StoragePool.open(state_dir, instance=instance)
    assert (state_dir / "pool.btrfs").stat().st_size == 16 * MIB


async def test_no_room_is_said_before_anything_is_made(state_dir: Path, instance: str) -> None:
    with pytest.raises(ResourceExhaustedError, match="reserve"):
        await StoragePool.open(state_dir, instance=instance, reserve_bytes=2**60)
    assert not (state_dir / "pool.btrfs").exists()


async def test_free_bytes_is_the_least_of_pool_and_host(pool: StoragePool, state_dir: Path, instance: str) -> None:
    assert 0 < pool.free_bytes() <= POOL_BYTES
    cautious = await StoragePool.open(state_dir, instance=instance, reserve_bytes=2**60)
    assert cautious.free_bytes() == 0


async def test_a_pool_in_use_is_not_closed(pool: StoragePool, sandbox_id: SandboxId) -> None:
    upper = pool.create_upper(sandbox_id, MIB)
    with (upper.upper_dir / "open").open("w"), pytest.raises(ConflictError):
        await pool.close()
    assert pool.list_() == {sandbox_id}


@pytest.fixture
def another_mount_namespace() -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Starts a process with a copy of every mount there is then; it ends when its input does."""
    with contextlib.ExitStack() as stack:

        def start() -> subprocess.Popen[bytes]:
            argv = ["unshare", "--mount", "sh", "-c", "echo ready; exec cat"]
            process = stack.enter_context(subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
            assert process.stdout
            assert process.stdout.readline() == b"ready\n"
            return process

        yield start


async def test_closing_waits_for_other_mount_namespaces(
    state_dir: Path,
    instance: str,
    another_mount_namespace: Callable[[], subprocess.Popen[bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = await StoragePool.open(state_dir, instance=instance, size_bytes=POOL_BYTES)
    holder = another_mount_namespace()
    with monkeypatch.context() as patched, pytest.raises(ConflictError, match="another mount namespace"):
        patched.setattr(filesystem, "_RELEASE_TIMEOUT_S", 0.05)
        await pool.close()
    holder.communicate()
    await pool.close()
    assert not loop.is_attached(state_dir / "pool.btrfs")


async def test_two_hundred_uppers_leave_nothing(pool: StoragePool) -> None:
    for sandbox in ids(200):
        upper = pool.create_upper(sandbox, MIB)
        (upper.upper_dir / "file").write_bytes(b"x" * 4096)
        await pool.remove_upper(sandbox)
    assert pool.list_() == frozenset()
    with filesystem.directory(pool.path) as fd:
        identity = filesystem.filesystem_id(fd, pool.path)
        left = [number for number in btrfs.qgroup_ids(identity) if btrfs.subvolume_exists(fd, number)]
        kept = pool.create_upper(ids(1)[0], MIB)
        with filesystem.directory(kept.path) as upper_fd:
            assert btrfs.subvolume_exists(fd, btrfs.subvolume_id(upper_fd))
    assert left == []


async def test_a_pool_on_btrfs_is_a_subvolume_with_limits(pool: StoragePool, instance: str, sandbox_id: SandboxId) -> None:
    inner = await StoragePool.open(pool.path / "state", instance=instance)
    assert (pool.path / "state/pool").stat().st_ino == btrfs.SUBVOLUME_INODE
    assert not (pool.path / "state/pool.btrfs").exists()
    upper = inner.create_upper(sandbox_id, 4 * MIB)
    assert fill(upper.upper_dir / "data", 64 * MIB) <= 4 * MIB
    assert inner.free_bytes() > 0
    again = await StoragePool.open(pool.path / "state", instance=instance)
    assert again.list_() == {sandbox_id}
    await again.remove_upper(sandbox_id)
    await inner.close()


def test_one_file_never_gets_two_loop_devices(tmp_path: Path) -> None:
    file = tmp_path / "file"
    with file.open("wb") as handle:
        handle.truncate(16 * MIB)
    with loop.attached(file) as first:
        assert loop.backing_file(str(first)) == file
        with loop.attached(file) as second:
            assert first == second
        assert loop.is_attached(file)
    assert not loop.is_attached(file)
