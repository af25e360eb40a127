"""Processes: ends of every kind, signals, terminals, finding them again, and what a call costs."""

from __future__ import annotations

import signal

import pytest

from cove._async.app import _App
from cove._async.client import _Client
from cove._async.sandbox import _Sandbox
from cove._async.secret import _Secret
from cove.exception import ConflictError, ExecTimeoutError, InvalidError, NotFoundError, UnimplementedError
from cove.wire import data_pb2
from tests.support.fake_server import World


@pytest.mark.parametrize(("program", "code"), [("true", 0), ("false", 1)])
async def test_wait_returns_the_exit_code(sandbox: _Sandbox, program: str, code: int) -> None:
    process = await sandbox.exec(program)
    with pytest.raises(InvalidError, match="not known to have ended"):
        assert process.returncode
    assert await process.wait() == code
    assert process.returncode == code
    assert await process.wait() == code


async def test_poll(sandbox: _Sandbox, world: World) -> None:
    process = await sandbox.exec("script")
    assert await process.poll() is None
    world.last_process.end(3)
    assert await process.poll() == 3
    assert await process.poll() == 3


async def test_what_a_call_costs(sandbox: _Sandbox, world: World) -> None:
    world.calls.clear()
    process = await sandbox.exec("true")
    await process.wait()
    assert process.returncode == 0
    assert dict(world.calls) == {"ProcessStart": 1, "ProcessWait": 1}


async def test_a_timeout_raises_in_wait_and_keeps_the_output(sandbox: _Sandbox, world: World) -> None:
    process = await sandbox.exec("script", timeout=2.5)
    script = world.last_process
    script.write(b"as far as it came")
    script.end(124, data_pb2.PROCESS_STATE_TIMED_OUT)
    with pytest.raises(ExecTimeoutError, match=r"2\.5 s") as caught:
        await process.wait()
    assert caught.value.context["stdout_bytes"] == "17"
    assert isinstance(caught.value, TimeoutError)
    assert (process.returncode, await process.poll()) == (124, 124)
    assert await process.stdout.read() == "as far as it came"
    with pytest.raises(ExecTimeoutError):
        await process.wait()


async def test_a_process_that_the_sandbox_took_along(sandbox: _Sandbox, world: World) -> None:
    process = await sandbox.exec("script")
    await sandbox.terminate()
    assert await process.wait() == 137


async def test_signals(sandbox: _Sandbox, world: World) -> None:
    process = await sandbox.exec("script")
    await process.signal(signal.SIGINT, tree=True)
    assert world.last_process.signals == [(2, True)]
    assert await process.wait() == 130
    for wrong in (0, 65, -1):
        with pytest.raises(InvalidError):
            await process.signal(wrong)


async def test_terminals(sandbox: _Sandbox, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINES", "33")
    monkeypatch.setenv("COLUMNS", "99")
    process = await sandbox.exec("script", pty=True)
    request = data_pb2.ProcessStartRequest.FromString(world.last_process.request)
    assert (request.pty.rows, request.pty.columns) == (33, 99)
    await process.resize(50, 120)
    assert world.last_process.sizes == [(50, 120)]
    for rows, columns in ((0, 5), (5, 65_536), (-1, 1)):
        with pytest.raises(InvalidError):
            await process.resize(rows, columns)


async def test_everything_asked_for_is_in_the_request(sandbox: _Sandbox, world: World) -> None:
    await sandbox.exec(
        "program",
        "arg with space",
        "\udcff",
        timeout=1.5,
        workdir="/tmp",
        env={"A": "env", "GONE": None},
        secrets=[_Secret.from_dict({"A": "one", "B": "two"}), _Secret.from_dict({"B": "three", "GONE": "x"})],
        user="1000:1000",
    )
    request = data_pb2.ProcessStartRequest.FromString(world.last_process.request)
    assert list(request.argv) == [b"program", b"arg with space", b"\xff"]
    assert dict(request.env) == {"A": "env", "B": "three"}
    assert (request.timeout_s, request.workdir, request.user) == (1.5, "/tmp", "1000:1000")
    assert not request.HasField("pty")
    assert request.exec_id


async def test_a_missing_program_fails_exec_itself(sandbox: _Sandbox) -> None:
    with pytest.raises(InvalidError) as caught:
        await sandbox.exec("missing")
    assert caught.value.code == "exec_failed"


async def test_exec_in_a_sandbox_that_has_ended(sandbox: _Sandbox) -> None:
    await sandbox.terminate()
    with pytest.raises(ConflictError) as caught:
        await sandbox.exec("true")
    assert caught.value.code == "sandbox_ended"


async def test_nonsense_is_refused_before_it_is_sent(sandbox: _Sandbox, world: World) -> None:
    world.calls.clear()
    with pytest.raises(InvalidError):
        await sandbox.exec()
    with pytest.raises(InvalidError):
        await sandbox.exec("a\0b")
    with pytest.raises(InvalidError):
        await sandbox.exec("sleep", 5)  # type: ignore[call-overload]  # that is the point
    for timeout in (0, -1, float("nan"), float("inf"), True):
        with pytest.raises(InvalidError):
            await sandbox.exec("true", timeout=timeout)
    with pytest.raises(InvalidError):
        await sandbox.exec("true", text=False, bufsize=1)  # type: ignore[call-overload]  # as above
    for env in ({"": "x"}, {"A=B": "x"}, {"A": "x\0"}, {"A": 5}):
        with pytest.raises(InvalidError):
            await sandbox.exec("true", env=env)  # type: ignore[arg-type]  # as above
    with pytest.raises(UnimplementedError, match="pty_info"):
        await sandbox.exec("true", pty_info=object())
    assert not world.calls


async def test_a_bad_value_is_not_repeated_in_the_error(sandbox: _Sandbox) -> None:
    with pytest.raises(InvalidError) as caught:
        await sandbox.exec("true", env={"TOKEN": "hunter2\0"})
    assert "hunter2" not in str(caught.value)


async def test_a_process_is_found_again(sandbox: _Sandbox, world: World) -> None:
    started = await sandbox.exec("script")
    started.stdin.write(b"12345")
    await started.stdin.drain()
    again = await sandbox.process(started.exec_id)
    again.stdin.write(b"678")
    await again.stdin.drain()
    script = world.last_process
    assert script.stdin == b"12345678"
    script.write(b"out\n")
    script.end(4)
    assert [line async for line in again.stdout] == ["out\n"]
    assert (await again.wait(), await started.wait()) == (4, 4)
    assert await (await sandbox.process(started.exec_id, text=False)).stdout.read() == b"out\n"
    with pytest.raises(NotFoundError):
        await sandbox.process("nobody")


async def test_running_processes_are_listed(sandbox: _Sandbox) -> None:
    running = await sandbox.exec("script")
    await sandbox.exec("true")
    assert [process.exec_id for process in await sandbox.processes()] == [running.exec_id]


async def test_the_main_process_has_streams(client: _Client) -> None:
    app = await _App.lookup("app", client=client, create_if_missing=True)
    sandbox = await _Sandbox.create("cat", app=app, client=client)
    sandbox.stdin.write("hello\n")
    sandbox.stdin.write_eof()
    await sandbox.stdin.drain()
    assert await sandbox.stdout.read() == "hello\n"
    assert await sandbox.stderr.read() == ""
    found = await _Sandbox.from_id(sandbox.object_id, client=client)
    assert [line async for line in found.stdout] == ["hello\n"]
