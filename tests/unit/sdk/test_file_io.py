"""Open files: the same as Python's own, whatever is asked in whatever order; few messages; nothing lost when the connection breaks."""

from __future__ import annotations

import asyncio
import gc
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cove import _file_buffer
from cove._async import file_io
from cove._async.sandbox import _Sandbox
from cove.exception import ConnectionError, FilesystemExecutionError, InternalFailure, RequestSizeError
from cove.wire import data_pb2
from tests.support.fake_server import FakeServer, World

MODES = ["r", "r+", "w", "w+", "a", "a+", "x", "x+"]
TEXT = "one\ntwo\r\nümläut €\n\n" + "x" * 50 + "\nlast without newline"

_STEP = st.one_of(
    st.tuples(st.just("read"), st.one_of(st.none(), st.integers(-1, 40))),
    st.tuples(st.just("readline"), st.none()),
    st.tuples(st.just("readlines"), st.none()),
    st.tuples(st.just("write"), st.binary(max_size=20)),
    st.tuples(st.just("seek"), st.tuples(st.integers(0, 60), st.just(0))),
    st.tuples(st.just("seek"), st.tuples(st.integers(-5, 5), st.sampled_from([1, 2]))),
    st.tuples(st.just("flush"), st.none()),
    st.tuples(st.just("tell"), st.none()),
)


@pytest.mark.parametrize("mode", MODES)
async def test_binary_files_are_like_pythons(
    sandbox: _Sandbox, world: World, tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every sequence of operations gives the same results, the same errors and the same file."""
    monkeypatch.setattr(file_io, "READ_AHEAD_BYTES", 16)  # so that buffers end where the operations are
    monkeypatch.setattr(file_io, "BLOCK_BYTES", 8)
    monkeypatch.setattr(file_io, "MAX_MESSAGE_BYTES", 16)

    @given(content=st.binary(max_size=60), steps=st.lists(_STEP, max_size=12))
    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None)
    def examples(content: bytes, steps: list[Any]) -> None:
        runs.append((content, steps))

    runs: list[tuple[bytes, list[Any]]] = []
    examples()
    for content, steps in runs:
        await _compare(sandbox, world, tmp_path / "file", mode + "b", content, steps)


async def _compare(sandbox: _Sandbox, world: World, path: Path, mode: str, content: bytes, steps: list[Any]) -> None:
    path.unlink(missing_ok=True)
    world.only.files.pop(b"/file", None)
    if "x" not in mode:
        path.write_bytes(content)
        world.only.files[b"/file"] = bytearray(content)
    with path.open(mode) as local:
        remote: Any = await sandbox.open("/file", mode)  # type: ignore[call-overload]  # modes from a list
        for name, argument in steps:
            if name == "tell" and "a" in mode:  # where appended bytes end is known once they are written: Python guesses before
                local.flush()
                await remote.flush()
            here = _outcome_here(local, name, argument)
            there = await _outcome_there(remote, name, argument)
            assert there == here, (mode, content, steps, name, argument)
        await remote.close()
    assert bytes(world.only.files[b"/file"]) == path.read_bytes(), (mode, content, steps)
    assert not world.only.handles or await _empty(world)


async def _empty(world: World) -> bool:
    """Whether all handles are closed, when the errands that close them are done."""
    for _ in range(200):
        if not world.only.handles:
            return True
        await asyncio.sleep(0.005)
    return False


def _outcome_here(file: Any, name: str, argument: Any) -> object:
    arguments = argument if isinstance(argument, tuple) else () if argument is None and name != "read" else (argument,)
    try:
        result = getattr(file, name)(*arguments)
    except OSError as error:
        return OSError, isinstance(error, io.UnsupportedOperation)
    return None if name in ("write", "seek", "flush") else result


async def _outcome_there(file: Any, name: str, argument: Any) -> object:
    arguments = argument if isinstance(argument, tuple) else () if argument is None and name != "read" else (argument,)
    try:
        result = getattr(file, name)(*arguments)
        return await result if asyncio.iscoroutine(result) else result
    except OSError as error:
        return OSError, isinstance(error, io.UnsupportedOperation)


@given(text=st.text(max_size=60), counts=st.lists(st.integers(0, 9), max_size=12), cut=st.integers(1, 7))
def test_characters_are_counted_right_wherever_the_buffer_ends(text: str, counts: list[int], cut: int) -> None:
    data, buffer, got = text.encode(), _file_buffer.ReadBuffer(), ""
    pieces = [data[at : at + cut] for at in range(0, len(data), cut)]
    for count in counts:
        size, found = buffer.characters_size(count)
        while found < count and pieces:
            buffer.feed(pieces.pop(0))
            size, found = buffer.characters_size(count)
        taken = buffer.take(size).decode()
        assert len(taken) == min(count, len(text) - len(got))
        got += taken
    assert text.startswith(got)


async def test_text(sandbox: _Sandbox, world: World) -> None:
    async with await sandbox.open("/file", "w") as writer:
        await writer.write(TEXT)
    assert world.only.files[b"/file"].decode() == TEXT
    async with await sandbox.open("file") as reader:
        assert await reader.read(5) == "one\nt"
        assert await reader.readline() == "wo\r\n"
        assert await reader.read(3) == "üml"
        assert reader.tell() == len("one\ntwo\r\nüml".encode())
        await reader.seek(0)
        lines = await reader.readlines()
        assert "".join(lines) == TEXT
        assert lines[-1] == "last without newline"
        await reader.seek(0)
        assert [line async for line in reader] == lines
        assert await reader.read() == ""


async def test_text_that_is_not_utf8(sandbox: _Sandbox, world: World) -> None:
    world.only.files[b"/file"] = bytearray(b"good \xff bad")
    file = await sandbox.open("/file")
    assert await file.read(5) == "good "
    with pytest.raises(UnicodeDecodeError):
        await file.read(1)
    with pytest.raises(UnicodeDecodeError):
        await file.read()
    await file.close()


async def test_a_character_cut_off_by_the_end_of_the_file(sandbox: _Sandbox, world: World) -> None:
    world.only.files[b"/file"] = bytearray("a€".encode()[:-1])
    async with await sandbox.open("/file") as file:
        with pytest.raises(UnicodeDecodeError):
            await file.read(2)


async def test_a_small_file_costs_one_call_to_read(sandbox: _Sandbox, world: World) -> None:
    world.only.files[b"/file"] = bytearray(b"small\n" * 1000)
    world.calls.clear()
    file = await sandbox.open("/file")
    assert len(await file.readlines()) == 1000
    assert dict(world.calls) == {"FileOpen": 1}
    await file.close()
    assert await _empty(world)


async def test_a_small_file_costs_two_calls_to_write(sandbox: _Sandbox, world: World) -> None:
    world.calls.clear()
    async with await sandbox.open("/file", "w") as file:
        for _ in range(100):
            await file.write("line\n")
    assert dict(world.calls) == {"FileOpen": 1, "FileWrite": 1}
    assert world.only.files[b"/file"] == b"line\n" * 100


async def test_lines_of_a_large_file_do_not_cost_a_call_each(sandbox: _Sandbox, world: World) -> None:
    world.only.files[b"/file"] = bytearray(b"a line of some bytes\n" * 50_000)
    world.calls.clear()
    async with await sandbox.open("/file", "rb") as file:
        count = 0
        while await file.readline():
            count += 1
    assert count == 50_000
    assert world.calls["FileRead"] < 10


async def test_a_file_that_grows_is_read_on(sandbox: _Sandbox, world: World) -> None:
    world.only.files[b"/log"] = bytearray(b"first\n")
    async with await sandbox.open("/log") as file:
        assert await file.readline() == "first\n"
        assert await file.readline() == ""
        world.only.files[b"/log"] += b"second\n"
        assert await file.readline() == "second\n"


async def test_large_writes_go_in_pieces(sandbox: _Sandbox, world: World) -> None:
    content = bytes(range(256)) * 4096 * 3 + b"rest"
    async with await sandbox.open("/file", "wb") as file:
        await file.write(content)
        await file.write(b"more")
    assert world.only.files[b"/file"] == content + b"more"
    assert world.calls["FileWrite"] == 4


async def test_flush_reaches_the_disk(sandbox: _Sandbox, world: World) -> None:
    file = await sandbox.open("/file", "w")
    await file.write("x")
    assert world.only.files[b"/file"] == b""
    await file.flush()
    assert world.only.files[b"/file"] == b"x"
    await file.flush()
    assert world.calls["FileFlush"] == 1
    await file.close()


async def test_no_more_than_100_mib_at_once(sandbox: _Sandbox, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_io, "MAX_READ_BYTES", 1000)
    world.only.files[b"/file"] = bytearray(b"0123456789" * 30_000)
    async with await sandbox.open("/file", "rb") as file:
        with pytest.raises(RequestSizeError, match="download"):
            await file.read()
        with pytest.raises(RequestSizeError):
            await file.read(1001)
        with pytest.raises(RequestSizeError):
            await file.readline()
        assert await file.read(10) == b"0123456789"


async def test_no_more_than_1_gib_at_once(sandbox: _Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_io, "MAX_WRITE_BYTES", 10)
    async with await sandbox.open("/file", "wb") as file:
        with pytest.raises(RequestSizeError):
            await file.write(b"x" * 11)


@pytest.mark.parametrize(
    ("path", "mode", "error"),
    [("/absent", "r", FileNotFoundError), ("/", "r", IsADirectoryError), ("/there", "x", FileExistsError)],
)
async def test_errors_are_pythons(sandbox: _Sandbox, world: World, path: str, mode: str, error: type[OSError]) -> None:
    world.only.files[b"/there"] = bytearray()
    with pytest.raises(error) as caught:
        await sandbox.open(path, mode)  # type: ignore[call-overload]  # modes from a list
    assert caught.value.filename == path
    assert caught.value.errno


async def test_an_error_without_a_number_is_ours(sandbox: _Sandbox, world: World) -> None:
    world.fail_next["FileOpen"] = [FilesystemExecutionError("strange")]
    with pytest.raises(FilesystemExecutionError):
        await sandbox.open("/file", "w")


@pytest.mark.parametrize("mode", ["", "rw", "z", "rbt", "rr", "b", "+", "r++"])
async def test_bad_modes(sandbox: _Sandbox, world: World, mode: Any) -> None:
    world.calls.clear()
    with pytest.raises(ValueError, match="invalid mode"):
        await sandbox.open("/file", mode)
    assert not world.calls


async def test_closed_and_wrong_uses(sandbox: _Sandbox, world: World) -> None:
    world.only.files[b"/file"] = bytearray(b"x")
    reader = await sandbox.open("/file")
    with pytest.raises(io.UnsupportedOperation):
        await reader.write("x")
    with pytest.raises(ValueError, match="whence"):
        await reader.seek(0, 3)
    await reader.close()
    await reader.close()
    assert reader.closed
    with pytest.raises(ValueError, match="closed"):
        await reader.read()
    writer = await sandbox.open("/file", "wb")
    with pytest.raises(io.UnsupportedOperation):
        await writer.read()
    with pytest.raises(TypeError):
        await writer.write("text")  # type: ignore[arg-type]  # that is the point
    await writer.close()


async def test_a_read_that_was_cut_goes_on(sandbox: _Sandbox, world: World) -> None:
    content = bytes(range(256)) * 8000
    world.only.files[b"/file"] = bytearray(content)
    world.fail_next["FileRead piece"] = [ConnectionError("cut"), ConnectionError("cut")]
    async with await sandbox.open("/file", "rb") as file:
        assert await file.read() == content
    assert world.calls["FileSeek"] == 2


async def test_a_read_survives_a_server_that_is_gone_for_a_moment(server: FakeServer, sandbox: _Sandbox, world: World) -> None:
    content = bytes(range(256)) * 2000
    world.only.files[b"/file"] = bytearray(content)
    file = await sandbox.open("/file", "rb")
    await server.stop()
    reading = asyncio.ensure_future(file.read())
    await asyncio.sleep(0.1)
    await server.start()
    assert await reading == content
    await file.close()


async def test_a_read_that_was_cancelled_goes_on(sandbox: _Sandbox, world: World) -> None:
    content = bytes(range(256)) * 8000
    world.only.files[b"/file"] = bytearray(content)
    file = await sandbox.open("/file", "rb")
    reading = asyncio.ensure_future(file.read())
    await world.until_called("FileRead")
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert await file.read() == content
    await file.close()


async def test_a_handle_that_the_daemon_lost_is_an_error(sandbox: _Sandbox, world: World) -> None:
    world.only.files[b"/file"] = bytearray(bytes(1_000_000))
    file = await sandbox.open("/file", "rb")
    world.only.handles.clear()
    with pytest.raises(OSError, match="Bad file descriptor"):
        await file.read()
    await file.close()


async def test_a_write_that_was_cut_is_told(sandbox: _Sandbox, world: World) -> None:
    file = await sandbox.open("/file", "w")
    await file.write("x")
    world.fail_next["FileWrite"] = [ConnectionError("cut")]
    with pytest.raises(ConnectionError, match="may or may not"):
        await file.flush()
    await file.flush()  # to a position, so again does no harm
    await file.close()
    assert world.only.files[b"/file"] == b"x"


async def test_an_append_that_was_cut_is_not_repeated(sandbox: _Sandbox, world: World) -> None:
    file = await sandbox.open("/file", "a")
    await file.write("x")
    world.fail_next["FileWrite"] = [ConnectionError("cut")]
    with pytest.raises(ConnectionError):
        await file.flush()
    await file.close()
    assert world.only.files[b"/file"] == b""


async def test_close_tells_what_went_wrong_and_closes(sandbox: _Sandbox, world: World) -> None:
    file = await sandbox.open("/file", "w")
    await file.write("x")
    world.fail_next["FileWrite"] = [InternalFailure("disk gone")]
    with pytest.raises(InternalFailure):
        await file.close()
    assert file.closed
    assert await _empty(world)


async def test_files_that_nobody_closed_are_closed(sandbox: _Sandbox, world: World) -> None:
    world.only.files[b"/file"] = bytearray(b"x")
    assert await (await sandbox.open("/file")).read() == "x"
    gc.collect()
    assert await _empty(world)


async def test_directories(sandbox: _Sandbox, world: World) -> None:
    with pytest.raises(FileNotFoundError):
        await sandbox.mkdir("/a/b")
    await sandbox.mkdir("/a/b", parents=True)
    await sandbox.mkdir("/a/b", parents=True)
    with pytest.raises(FileExistsError):
        await sandbox.mkdir("/a/b")
    world.only.files[b"/a/file"] = bytearray(b"12345")
    world.only.files[b"/a/\xff"] = bytearray()
    assert await sandbox.ls("/a") == ["b", "file", "\udcff"]
    assert (await sandbox.stat("/a")).is_dir()
    info = await sandbox.stat("/a/file")
    assert (info.name, info.size_bytes, info.is_file()) == ("file", 5, True)
    assert (await sandbox.stat("/a/\udcff")).name == "\udcff"
    with pytest.raises(NotADirectoryError):
        await sandbox.ls("/a/file")
    await sandbox.rename("/a/file", "/a/other")
    with pytest.raises(FileNotFoundError):
        await sandbox.stat("/a/file")
    with pytest.raises(OSError, match="not empty"):
        await sandbox.rm("/a")
    await sandbox.rm("/a", recursive=True)
    assert await sandbox.ls("/") == []


@pytest.mark.parametrize("path", ["", "nul\0", b"bytes"])
async def test_bad_paths(sandbox: _Sandbox, world: World, path: Any) -> None:
    world.calls.clear()
    for call in (sandbox.ls(path), sandbox.stat(path), sandbox.rm(path), sandbox.open(path), sandbox.mkdir(path)):
        with pytest.raises(Exception, match="path"):
            await call
    assert not world.calls


def event(kind: data_pb2.FileWatchEventType, *paths: bytes, overflow: bool = False) -> data_pb2.FileWatchEvent:
    return data_pb2.FileWatchEvent(type=kind, paths=paths, overflow=overflow)


async def test_watching(sandbox: _Sandbox, world: World) -> None:
    kinds = file_io.FileWatchEventType
    world.only.watch_events.extend(
        [
            event(data_pb2.FILE_WATCH_EVENT_TYPE_ACCESS, b"/a"),
            event(data_pb2.FILE_WATCH_EVENT_TYPE_CREATE, b"/\xff"),
            event(data_pb2.FILE_WATCH_EVENT_TYPE_MODIFY, b"/a", b"/b"),
            event(data_pb2.FILE_WATCH_EVENT_TYPE_UNKNOWN, overflow=True),
        ]
    )
    watch = sandbox.watch("/", filter=[kinds.Create, kinds.Modify], timeout=1)
    assert [(item.type, item.paths) async for item in watch] == [
        (kinds.Create, ["/\udcff"]),
        (kinds.Modify, ["/a", "/b"]),
        (kinds.Unknown, []),
    ]


async def test_watching_nothing(sandbox: _Sandbox) -> None:
    with pytest.raises(FileNotFoundError):
        await anext(sandbox.watch("/absent"))


async def test_a_watch_that_was_cut_is_an_error(server: FakeServer, sandbox: _Sandbox, world: World) -> None:
    watch = sandbox.watch("/")
    waiting = asyncio.ensure_future(anext(watch))
    await world.until_called("FileWatch")
    await server.stop()
    with pytest.raises(ConnectionError):
        await waiting
