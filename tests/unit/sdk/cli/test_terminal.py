"""Standard streams of every kind: pipes, files, terminals, closed ones; and the terminal is left as it was found."""

from __future__ import annotations

import asyncio
import fcntl
import os
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from cove.cli._terminal import READ_BYTES, Sink, Source, raw, size


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    for descriptor in (reader, writer):
        try:
            os.close(descriptor)
        except OSError:
            continue  # the test closed it


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Our side and the program's."""
    ours, theirs = os.openpty()
    yield ours, theirs
    os.close(theirs)
    os.close(ours)


async def read_all(source: Source) -> bytes:
    found = b""
    while data := await source.read():
        found += data
    return found


async def test_a_pipe_is_read_as_it_comes(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    source = Source(reader)
    waiting = asyncio.create_task(source.read())
    await asyncio.sleep(0)
    assert not waiting.done()
    os.write(writer, b"one")
    assert await waiting == b"one"
    os.close(writer)
    assert await source.read() == b""


async def test_a_cancelled_read_loses_nothing(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    source = Source(reader)
    waiting = asyncio.create_task(source.read())
    await asyncio.sleep(0)
    waiting.cancel()
    os.write(writer, b"kept")
    await asyncio.gather(waiting, return_exceptions=True)
    assert await source.read() == b"kept"


async def test_a_regular_file_is_read_to_its_end(tmp_path: Path) -> None:
    content = os.urandom(READ_BYTES * 2 + 17)
    (tmp_path / "in").write_bytes(content)
    with (tmp_path / "in").open("rb") as file:
        assert await read_all(Source(file.fileno())) == content


async def test_dev_null_ends_at_once_and_swallows() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    try:
        assert await Source(null).read() == b""
        await Sink(null).write(b"x" * 100_000)
    finally:
        os.close(null)


async def test_closed_input_ends_at_once(pipe: tuple[int, int]) -> None:
    reader, _ = pipe
    os.close(reader)
    assert await Source(reader).read() == b""


async def test_a_terminal_that_is_gone_ends_the_input() -> None:
    ours, theirs = os.openpty()
    os.close(ours)
    try:
        assert await Source(theirs).read() == b""
    finally:
        os.close(theirs)


async def test_a_slow_reader_does_not_stop_the_loop(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    content = os.urandom(500_000)
    writing = asyncio.create_task(Sink(writer).write(content))
    for _ in range(10):  # the loop turns though nobody reads
        await asyncio.sleep(0)
    assert not writing.done()
    source, found = Source(reader), b""
    while len(found) < len(content):
        found += await source.read()
    await writing
    assert found == content


async def test_writes_of_several_tasks_stay_together(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    sink, source, found = Sink(writer), Source(reader), b""
    async with asyncio.TaskGroup() as group:
        for letter in (b"a", b"b"):
            group.create_task(sink.write(letter * 200_000))
        while len(found) < 400_000:
            found += await source.read()
    assert found in (b"a" * 200_000 + b"b" * 200_000, b"b" * 200_000 + b"a" * 200_000)


async def test_descriptors_that_do_not_block_work_as_well(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    for descriptor in pipe:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_NONBLOCK)
    writing = asyncio.create_task(Sink(writer).write(b"x" * 300_000))
    source, found = Source(reader), 0
    while found < 300_000:
        found += len(await source.read())
    await writing


async def test_nobody_reads_any_more(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    os.close(reader)
    with pytest.raises(BrokenPipeError):
        await Sink(writer).write(b"x")


def test_raw_mode_passes_every_byte_and_ends_with_the_block(terminal: tuple[int, int]) -> None:
    ours, theirs = terminal
    before = termios.tcgetattr(theirs)
    with pytest.raises(ZeroDivisionError), raw(theirs):
        os.write(ours, b"\x03\x04\x1a\r")
        assert os.read(theirs, 10) == b"\x03\x04\x1a\r"
        raise ZeroDivisionError
    assert termios.tcgetattr(theirs) == before


def test_what_was_typed_ahead_is_kept(terminal: tuple[int, int]) -> None:
    ours, theirs = terminal
    os.write(ours, b"early\n")
    with raw(theirs):
        assert os.read(theirs, 10) == b"early\n"


def test_a_terminal_that_vanishes_in_raw_mode_is_no_error() -> None:
    ours, theirs = os.openpty()
    with raw(theirs):
        os.close(ours)
    os.close(theirs)


def test_a_terminal_without_a_size_has_one_for_programs(terminal: tuple[int, int]) -> None:
    _, theirs = terminal
    assert size(theirs) == (24, 80)
    termios.tcsetwinsize(theirs, (33, 101))
    assert size(theirs) == (33, 101)
