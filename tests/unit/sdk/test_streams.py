"""Output by offset, input by offset: cuts, expired tokens, lost bytes, impatient readers."""

from __future__ import annotations

import asyncio

import pytest

from cove._async.container_process import _ContainerProcess
from cove._async.sandbox import _Sandbox
from cove.exception import AuthError, ConflictError, ConnectionError, InvalidError, ServiceError
from cove.stream_type import StreamType
from tests.support.fake_server import World
from tests.support.fake_server.world import Process

LINES = "".join(f"line {number} äöü€\n" for number in range(500))


@pytest.fixture
async def process(sandbox: _Sandbox) -> _ContainerProcess[str]:
    """A process that does what ``script`` says."""
    return await sandbox.exec("script")


@pytest.fixture
def script(world: World, process: _ContainerProcess[str]) -> Process:
    return world.last_process


async def test_read_waits_for_the_end_and_gives_everything(process: _ContainerProcess[str], script: Process) -> None:
    reading = asyncio.ensure_future(process.stdout.read())
    script.write(b"one\ntw")
    await asyncio.sleep(0)
    assert not reading.done()
    script.write(b"o")
    script.end()
    assert await reading == "one\ntwo"


async def test_lines_come_while_the_process_runs(process: _ContainerProcess[str], script: Process) -> None:
    script.write(b"one\ntw")
    assert await anext(process.stdout) == "one\n"
    script.write(b"o\nthree")
    assert await anext(process.stdout) == "two\n"
    script.end()
    assert [line async for line in process.stdout] == ["three"]
    assert [line async for line in process.stdout] == []


async def test_stdout_and_stderr_are_apart(process: _ContainerProcess[str], script: Process) -> None:
    script.write(b"out", fd=1)
    script.write(b"err", fd=2)
    script.end()
    assert (await process.stdout.read(), await process.stderr.read()) == ("out", "err")
    assert (process.stdout.file_descriptor, process.stderr.file_descriptor) == (1, 2)


async def test_read_goes_on_where_iteration_stopped(process: _ContainerProcess[str], script: Process) -> None:
    script.write(b"one\ntwo\nthree\n")
    script.end()
    assert await anext(process.stdout) == "one\n"
    assert await process.stdout.read() == "two\nthree\n"
    assert await process.stdout.read() == ""


async def test_replay_reads_again_from_any_offset(process: _ContainerProcess[str], script: Process) -> None:
    script.write(b"0123456789")
    script.end()
    assert await process.stdout.read() == "0123456789"
    assert await process.stdout.replay().read() == "0123456789"
    assert await process.stdout.read(offset=7) == "789"
    assert await process.stdout.replay(10).read() == ""
    with pytest.raises(InvalidError):
        process.stdout.replay(-1)


async def test_bytes_are_not_decoded(sandbox: _Sandbox, world: World) -> None:
    process = await sandbox.exec("script", text=False)
    world.last_process.write(b"\xff\x00\xfe")
    world.last_process.end()
    assert await process.stdout.read() == b"\xff\x00\xfe"
    assert [chunk async for chunk in process.stdout.replay()] == [b"\xff\x00\xfe"]


@pytest.mark.parametrize("chunk_bytes", [1, 7, 100])
@pytest.mark.parametrize("end_early", [False, True])
async def test_a_stream_that_is_cut_all_the_time_loses_nothing(sandbox: _Sandbox, world: World, chunk_bytes: int, end_early: bool) -> None:
    process = await sandbox.exec("script")
    text = LINES[: chunk_bytes * 40]
    world.chunk_bytes, world.cut_after, world.end_early = chunk_bytes, 7, end_early
    world.last_process.write(text.encode())
    world.last_process.end()
    assert await process.stdout.read() == text
    assert world.calls["ProcessOutput"] > 4
    assert process.stdout.dropped_bytes == 0


async def test_a_stream_that_always_ends_early_is_given_up(world: World, sandbox: _Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    process = await sandbox.exec("script")
    monkeypatch.setattr(process.stdout._stream._attempts, "_patience_s", 0.2)
    world.last_process.write(b"x")
    world.cut_after, world.end_early = 0, True
    with pytest.raises(ServiceError, match="before its end"):
        await process.stdout.read()


async def test_an_expired_token_is_renewed_in_mid_stream(process: _ContainerProcess[str], script: Process, world: World) -> None:
    script.write(b"before\n")
    assert await anext(process.stdout) == "before\n"
    world.expire_tokens()
    script.write("nächste\n".encode())
    assert await anext(process.stdout) == "nächste\n"
    script.end()
    assert await process.stdout.read() == ""
    assert world.calls["SandboxAccess"] == 1


async def test_a_token_is_renewed_once_for_many(sandbox: _Sandbox, world: World) -> None:
    processes = [await sandbox.exec("echo", str(number)) for number in range(10)]
    world.expire_tokens()
    outputs = await asyncio.gather(*(process.stdout.read() for process in processes))
    assert outputs == [f"{number}\n" for number in range(10)]
    assert world.calls["SandboxAccess"] == 1


async def test_a_token_that_is_never_good_is_an_error(sandbox: _Sandbox, world: World) -> None:
    process = await sandbox.exec("true")
    error = AuthError("no", code="token_expired")
    world.fail_next["ProcessWait"] = [error, error]
    with pytest.raises(AuthError):
        await process.wait()


async def test_dropped_output_shows(process: _ContainerProcess[str], script: Process) -> None:
    script.write(b"head\nmissing missing\ntail\n")
    script.outputs[1].drop(5, 21)
    script.end()
    assert await process.stdout.read() == "head\n[cove: 16 bytes of output were dropped here]\ntail\n"
    assert process.stdout.dropped_bytes == 16


async def test_output_dropped_before_the_end_shows_too(process: _ContainerProcess[str], script: Process) -> None:
    script.write(b"head and lost")
    script.outputs[1].drop(4, 13)
    script.end()
    assert await process.stdout.read() == "head\n[cove: 9 bytes of output were dropped here]\n"


async def test_a_reader_that_gave_up_loses_nothing(process: _ContainerProcess[str], script: Process) -> None:
    script.write(b"one\ntwo")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(process.stdout.read(), 0.1)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(process.stdout.read(), 0.01)
    script.write(b"\n")
    script.end()
    assert await process.stdout.read() == "one\ntwo\n"


async def test_two_readers_share_the_lines(process: _ContainerProcess[str], script: Process) -> None:
    async def collect() -> list[str]:
        return [line async for line in process.stdout]

    both = asyncio.gather(collect(), collect())
    await asyncio.sleep(0)
    script.write(LINES.encode())
    script.end()
    first, second = await both
    assert sorted(first + second) == sorted(LINES.splitlines(keepends=True))


async def test_streams_sent_elsewhere_cannot_be_read_but_replayed(sandbox: _Sandbox, world: World) -> None:
    process = await sandbox.exec("echo", "hello", stdout=StreamType.DEVNULL)
    with pytest.raises(InvalidError, match="DEVNULL"):
        await process.stdout.read()
    with pytest.raises(InvalidError):
        await anext(process.stdout)
    assert await process.wait() == 0
    assert world.calls["ProcessOutput"] == 0
    assert await process.stdout.replay().read() == "hello\n"


async def test_what_goes_to_stdout_is_printed_when_wait_returns(sandbox: _Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    process = await sandbox.exec("echo", "grüße", stdout=StreamType.STDOUT, stderr=StreamType.STDOUT)
    await process.wait()
    assert capsys.readouterr().out == "grüße\n"


async def test_stdin_is_sent_by_drain_only(process: _ContainerProcess[str], script: Process, world: World) -> None:
    process.stdin.write("text ä\n")
    process.stdin.write(b"bytes\n")
    process.stdin.write(memoryview(b"view\n"))
    assert world.calls["ProcessInput"] == 0
    await process.stdin.drain()
    assert script.stdin == "text ä\nbytes\nview\n".encode()
    assert not script.status.stdin_closed
    await process.stdin.drain()
    assert world.calls["ProcessInput"] == 1


async def test_eof_goes_with_the_last_bytes(sandbox: _Sandbox, world: World) -> None:
    process = await sandbox.exec("cat")
    process.stdin.write(b"all")
    process.stdin.write_eof()
    with pytest.raises(ValueError, match="write_eof"):
        process.stdin.write(b"more")
    await process.stdin.drain()
    await process.stdin.drain()
    assert world.calls["ProcessInput"] == 1
    assert await process.stdout.read() == "all"


async def test_large_input_goes_in_pieces(process: _ContainerProcess[str], script: Process, world: World) -> None:
    content = bytes(range(256)) * 4096 * 3 + b"end"
    process.stdin.write(content)
    process.stdin.write_eof()
    await process.stdin.drain()
    assert script.stdin == content
    assert script.status.stdin_closed
    assert world.calls["ProcessInput"] == 4


async def test_input_whose_answer_was_lost_is_not_sent_twice(process: _ContainerProcess[str], script: Process, world: World) -> None:
    process.stdin.write(b"first ")
    await process.stdin.drain()
    script.stdin += b"second "  # taken, but the answer never came
    world.fail_next["ProcessInput"] = [ConnectionError("cut")]
    process.stdin.write(b"second ")
    await process.stdin.drain()
    process.stdin.write(b"third")
    await process.stdin.drain()
    assert script.stdin == b"first second third"


async def test_input_for_a_process_that_has_ended_fails(process: _ContainerProcess[str], script: Process) -> None:
    script.end()
    process.stdin.write(b"too late")
    with pytest.raises(ConflictError) as caught:
        await process.stdin.drain()
    assert caught.value.code == "stdin_closed"
    await process.stdin.drain()


async def test_only_the_end_of_input_for_a_process_that_has_ended_is_no_error(process: _ContainerProcess[str], script: Process) -> None:
    script.end()
    process.stdin.write_eof()
    await process.stdin.drain()


async def test_a_second_writer_is_noticed(sandbox: _Sandbox, process: _ContainerProcess[str]) -> None:
    other = await sandbox.process(process.exec_id)
    process.stdin.write(b"mine is longer")
    await process.stdin.drain()
    other.stdin.write(b"theirs")
    with pytest.raises(ConflictError, match="Somebody else"):
        await other.stdin.drain()


async def test_what_cannot_be_written_is_refused_at_once(process: _ContainerProcess[str]) -> None:
    with pytest.raises(TypeError):
        process.stdin.write(5)  # type: ignore[arg-type]  # that is the point
