"""The spool keeps beginning and end, counts all, and never hurts the writer."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandboxd.spool import Spool


def pattern(start: int, size: int) -> bytes:
    return bytes((start + index) % 251 for index in range(size))


def read_all(spool: Spool) -> tuple[bytes, int]:
    """Everything kept, and how many bytes were skipped."""
    offset, skipped, kept = 0, 0, b""
    while True:
        start, data = spool.read(offset)
        if not data:
            return kept, skipped
        assert data == pattern(start, len(data))
        skipped += start - offset
        kept += data
        offset = start + len(data)


def test_small_output_is_whole_and_makes_no_tail(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "out", head_bytes=100, tail_bytes=50)
    spool.append(0, pattern(0, 100))
    assert read_all(spool) == (pattern(0, 100), 0)
    assert not (tmp_path / "out.tail").exists()


def test_no_output_makes_no_files(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "out", head_bytes=100, tail_bytes=50)
    spool.end()
    assert spool.read(0) == (0, b"")
    assert list(tmp_path.iterdir()) == []


@given(sizes=st.lists(st.integers(1, 700), max_size=30), head=st.integers(0, 300), tail=st.integers(1, 300))
@settings(max_examples=150, deadline=None)
def test_head_and_tail_survive_any_writes(tmp_path_factory: pytest.TempPathFactory, sizes: list[int], head: int, tail: int) -> None:
    directory = tmp_path_factory.mktemp("spool")
    spool = Spool(directory / "out", head_bytes=head, tail_bytes=tail)
    total = 0
    for size in sizes:
        spool.append(total, pattern(total, size))
        total += size
    again = Spool(directory / "out", head_bytes=head, tail_bytes=tail)
    for seen in (spool, again):
        assert seen.total == total
        kept, skipped = read_all(seen)
        assert len(kept) + skipped == total
        assert len(kept) == min(total, head + min(tail, max(0, total - head)))
    spool.close()


def test_what_is_sent_again_is_taken_once(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "out", head_bytes=64, tail_bytes=64)
    spool.append(0, pattern(0, 40))
    spool.append(10, pattern(10, 50))
    spool.append(0, pattern(0, 5))
    assert (spool.total, read_all(spool)) == (60, (pattern(0, 60), 0))


def test_gap_is_counted_as_dropped(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "out", head_bytes=64, tail_bytes=64)
    spool.append(0, pattern(0, 10))
    spool.append(30, pattern(30, 10))
    assert spool.total == 40
    assert read_all(spool) == (pattern(0, 10) + pattern(30, 10), 20)


def test_full_disk_costs_output_not_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    spool = Spool(tmp_path / "out", head_bytes=100, tail_bytes=100)
    spool.append(0, pattern(0, 10))
    real = os.pwrite

    def full(fd: int, data: bytes, offset: int) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    spool.append(10, pattern(10, 20))
    monkeypatch.setattr(os, "pwrite", real)
    spool.append(30, pattern(30, 20))
    assert spool.total == 50
    assert read_all(spool) == (pattern(0, 10) + pattern(30, 20), 20)


async def test_follower_gets_everything_as_it_comes_and_then_the_end(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "out", head_bytes=1000, tail_bytes=1000)

    async def follow() -> bytes:
        return b"".join([data async for _, data in spool.follow(0)])

    async with asyncio.TaskGroup() as group:
        follower = group.create_task(follow())
        for index in range(20):
            spool.append(index * 7, pattern(index * 7, 7))
            await asyncio.sleep(0)
        spool.end()
    assert follower.result() == pattern(0, 140)
