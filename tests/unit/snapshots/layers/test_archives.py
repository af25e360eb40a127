"""The children: real processes in a real change of root, fed, cut off, cancelled and killed, and nothing of them left."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cove.exception import ConnectionError, DataLossError, InternalError, InvalidError, RequestSizeError
from snapshots.children import ended
from snapshots.digest import digest_of
from snapshots.layers.archives import pack_layer, unpack_archive
from snapshots.layers.limits import Expected, Limits
from tests.unit.snapshots.layers.layer_trees import read_layer
from tests.unit.snapshots.layers.tar_making import directory, file, symlink, tar

pytestmark = pytest.mark.needs_root


@pytest.fixture
def into(tmp_path: Path) -> Path:
    place = tmp_path / "into"
    place.mkdir()
    return place


async def pieces(data: bytes, size: int = 10_000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def test_a_layer_makes_the_journey(tmp_path: Path, into: Path) -> None:
    layer = tmp_path / "layer"
    (layer / "d").mkdir(parents=True)
    (layer / "d/file").write_bytes(os.urandom(3_000_000))
    (layer / "link").symlink_to("/etc/passwd")
    packed = await pack_layer(layer, tmp_path / "archive")
    data = (tmp_path / "archive").read_bytes()
    assert (packed.digest, packed.size_bytes, packed.members) == (digest_of(data), len(data), 4)
    unpacked = await unpack_archive(pieces(data), into, expect=Expected(packed.digest, packed.diff_id, packed.size_bytes))
    assert (unpacked.diff_id, unpacked.tar_bytes, unpacked.members) == (packed.diff_id, packed.tar_bytes, 4)
    assert read_layer(into) == read_layer(layer)


async def test_absolute_names_and_links_are_inside(tmp_path: Path, into: Path) -> None:
    archive = tar(file(f"{tmp_path}/escaped"), symlink("link", str(tmp_path)), directory("/"))
    await unpack_archive(pieces(archive), into)
    assert not (tmp_path / "escaped").exists()
    assert (into / str(tmp_path).lstrip("/") / "escaped").exists()


async def test_the_childs_errors_keep_their_types(tmp_path: Path, into: Path) -> None:
    archive = tar(file("a", bytes(100_000)))
    with pytest.raises(DataLossError):
        await unpack_archive(pieces(archive), into, expect=Expected(digest_of(b"")))
    for number, (data, limits, error) in enumerate(
        [(archive[:5000], Limits(), InvalidError), (archive, Limits(declared_bytes=9), RequestSizeError)]
    ):
        place = tmp_path / str(number)
        place.mkdir()
        with pytest.raises(error):
            await unpack_archive(pieces(data), place, limits=limits)


async def test_a_child_that_has_enough_stops_its_source(into: Path) -> None:
    """An endless stream ends with the first error, not with the disk."""

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"no archive at all" * 1000

    with pytest.raises(InvalidError):
        await unpack_archive(endless(), into)


async def test_a_sources_failure_is_the_calls(into: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield tar(file("a", bytes(50_000)))[:20_000]
        raise ConnectionError("The registry is gone.")

    with pytest.raises(ConnectionError, match="gone"):
        await unpack_archive(broken(), into)


async def test_a_cancelled_call_leaves_no_child(into: Path) -> None:
    started, never = asyncio.Event(), asyncio.Event()

    async def stuck() -> AsyncIterator[bytes]:
        yield tar(file("a", bytes(50_000)))[:20_000]
        started.set()
        await never.wait()

    async with asyncio.TaskGroup() as group:
        call = group.create_task(unpack_archive(stuck(), into))
        await started.wait()
        call.cancel()
    assert call.cancelled()


async def test_a_killed_child_is_an_error_with_a_retry(into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def killing(pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        await ended(pid)

    monkeypatch.setattr("snapshots.layers.child.ended", killing)
    with pytest.raises(InternalError, match="status -9") as raised:
        await unpack_archive(pieces(tar(file("a"))), into)
    assert raised.value.retryable


async def test_a_failed_pack_leaves_no_archive(tmp_path: Path, into: Path) -> None:
    (into / ".wh.x").touch()
    with pytest.raises(InvalidError):
        await pack_layer(into, tmp_path / "archive")
    assert not (tmp_path / "archive").exists()


async def test_what_is_there_is_never_written_over(tmp_path: Path, into: Path) -> None:
    (tmp_path / "archive").write_bytes(b"precious")
    with pytest.raises(FileExistsError):
        await pack_layer(into, tmp_path / "archive")
    assert (tmp_path / "archive").read_bytes() == b"precious"
    (into / "file").touch()
    with pytest.raises(FileExistsError):
        await unpack_archive(pieces(tar(file("a"))), into)


async def test_the_event_loop_goes_on_meanwhile(into: Path) -> None:
    """A hundred turns of the loop while 50 MB are unpacked: the work is elsewhere."""
    turns = 0

    async def data() -> AsyncIterator[bytes]:
        nonlocal turns
        async for piece in pieces(tar(file("a", bytes(50_000_000))), 100_000):
            turns += 1
            yield piece

    unpacked = await unpack_archive(data(), into)
    assert turns > 100 and unpacked.tar_bytes > 50_000_000
