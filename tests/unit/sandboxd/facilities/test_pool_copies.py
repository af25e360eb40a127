"""Copies of uppers in the storage pool: whole, apart from their source, and on nobody's bill but the source's."""

from __future__ import annotations

import asyncio
import fcntl
import os
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cove.types import SandboxId, new_id
from sandboxd.storage_pool import StoragePool, Upper

pytestmark = pytest.mark.needs_root

MIB = 2**20
BTRFS_IOC_SYNC = 0x9408


@pytest.fixture
async def pool(tmp_path: Path, instance: str) -> AsyncIterator[StoragePool]:
    opened = await StoragePool.open(tmp_path / "state", instance=instance, size_bytes=512 * MIB)
    yield opened
    for path in list(opened.layers.iterdir()):
        await opened.remove_tree(path)
    for sandbox in opened.list_():
        await opened.remove_upper(sandbox)
    await opened.close()


@pytest.fixture
def upper(pool: StoragePool, sandbox_id: SandboxId) -> Upper:
    return pool.create_upper(sandbox_id, 16 * MIB)


async def test_a_copy_has_what_was_written_last_and_nothing_later(pool: StoragePool, sandbox_id: SandboxId, upper: Upper) -> None:
    with (upper.upper_dir / "file").open("wb", buffering=0) as file:
        for number in range(20):
            file.write(bytes([number]) * 100_000)  # in memory alone
            await pool.copy_upper(sandbox_id, pool.layers / str(number))
    for number in range(20):
        content = (pool.layers / str(number) / "upper/file").read_bytes()
        assert content == b"".join(bytes([one]) * 100_000 for one in range(number + 1))


async def test_writing_goes_on_beside_it(pool: StoragePool, sandbox_id: SandboxId, upper: Upper) -> None:
    """Without a stop a file is some prefix of itself; never something else."""
    stop = threading.Event()

    with (upper.upper_dir / "file").open("wb", buffering=0) as file:

        def write() -> None:
            for number in range(1_000_000):
                if stop.is_set():
                    return
                file.write(b"%07d\n" % number)

        writer = threading.Thread(target=write)
        writer.start()
        try:
            for number in range(10):
                await pool.copy_upper(sandbox_id, pool.layers / str(number))
        finally:
            stop.set()
            writer.join()
    sizes = []
    for number in range(10):
        lines = (pool.layers / str(number) / "upper/file").read_bytes().splitlines()
        assert lines == [b"%07d" % line for line in range(len(lines))]
        sizes.append(len(lines))
    assert sizes == sorted(sizes)


async def test_a_name_that_is_taken(pool: StoragePool, sandbox_id: SandboxId, upper: Upper) -> None:
    (pool.layers / "taken").mkdir()
    (pool.layers / "taken/file").touch()
    with pytest.raises(FileExistsError):
        await pool.copy_upper(sandbox_id, pool.layers / "taken")
    assert [path.name for path in (pool.layers / "taken").iterdir()] == ["file"]


async def test_a_sandbox_without_files(pool: StoragePool) -> None:
    with pytest.raises(FileNotFoundError):
        await pool.copy_upper(SandboxId(new_id("sb")), pool.layers / "copy")
    assert list(pool.layers.iterdir()) == []


async def test_a_full_upper_is_copied_and_its_copy_outlives_it(pool: StoragePool, sandbox_id: SandboxId, upper: Upper) -> None:
    with pytest.raises(OSError, match="quota"):
        (upper.upper_dir / "file").write_bytes(os.urandom(32 * MIB))
    size = (upper.upper_dir / "file").stat().st_size
    await pool.copy_upper(sandbox_id, pool.layers / "copy")
    await pool.remove_upper(sandbox_id)
    assert (pool.layers / "copy/upper/file").stat().st_size == size
    fresh = pool.create_upper(SandboxId(new_id("sb")), 16 * MIB)
    (fresh.upper_dir / "file").write_bytes(os.urandom(12 * MIB))


async def test_a_copy_that_is_removed_gives_its_room_back(pool: StoragePool, sandbox_id: SandboxId, upper: Upper) -> None:
    """What a sandbox deletes counts on it for as long as a copy has it, and until the kernel has cleaned up after the copy."""
    (upper.upper_dir / "file").write_bytes(os.urandom(10 * MIB))
    await pool.copy_upper(sandbox_id, pool.layers / "copy")
    (upper.upper_dir / "file").unlink()
    _sync(pool)
    assert pool.usage(sandbox_id) > 10 * MIB
    await pool.remove_tree(pool.layers / "copy")
    await pool.remove_tree(pool.layers / "copy")
    deadline = time.monotonic() + 15
    while pool.usage(sandbox_id) > MIB:
        assert time.monotonic() < deadline
        _sync(pool)
        await asyncio.sleep(0.05)
    (upper.upper_dir / "file").write_bytes(os.urandom(10 * MIB))


async def test_removing_follows_no_link(pool: StoragePool, tmp_path: Path) -> None:
    treasure = tmp_path / "treasure"
    treasure.mkdir()
    (treasure / "gold").touch()
    (pool.layers / "link").symlink_to(treasure)
    (pool.layers / "tree/below").mkdir(parents=True)
    (pool.layers / "tree/below/link").symlink_to(treasure)
    await pool.remove_tree(pool.layers / "link")
    await pool.remove_tree(pool.layers / "tree")
    assert (treasure / "gold").exists()
    assert list(pool.layers.iterdir()) == []


def _sync(pool: StoragePool) -> None:
    """Write out the pool's file system, and wake who cleans it up (by itself that happens every half minute)."""
    fd = os.open(pool.path, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, BTRFS_IOC_SYNC)
    finally:
        os.close(fd)


async def test_trees_made_after_one_another_share_no_inode_number(pool: StoragePool, sandbox_id: SandboxId, upper: Upper) -> None:
    """overlayfs passes the numbers on, and programs tell files apart by them."""
    (upper.upper_dir / "first").touch()
    await pool.copy_upper(sandbox_id, pool.layers / "taken")
    fetched = await pool.create_tree(pool.layers / "fetched", after=pool.layers / "taken")
    (fetched / "second").touch()
    other = pool.create_upper(SandboxId(new_id("sb")), 4 * MIB, after=pool.layers / "fetched")
    (other.upper_dir / "third").touch()
    numbers = [path.stat().st_ino for path in (pool.layers / "taken/upper/first", fetched / "second", other.upper_dir / "third")]
    assert numbers == sorted(set(numbers))
    assert list(fetched.iterdir()) == [fetched / "second"] and list(other.work_dir.iterdir()) == []


async def test_what_is_set_aside_is_on_nobodys_bill(pool: StoragePool, sandbox_id: SandboxId, upper: Upper) -> None:
    (upper.upper_dir / "data").write_bytes(os.urandom(12 * MIB))
    await pool.copy_upper(sandbox_id, pool.layers / "taken")
    other = pool.create_upper(SandboxId(new_id("sb")), 4 * MIB, after=pool.layers / "taken")
    (other.upper_dir / "fits").write_bytes(bytes(2 * MIB))
    with pytest.raises(OSError, match="quota"), (other.upper_dir / "too-much").open("wb", buffering=0) as file:
        for _ in range(8):
            file.write(os.urandom(MIB))
            os.fsync(file.fileno())
