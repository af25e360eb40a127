"""The node daemon over simulated containers: its two gRPC services, its journal, its restarts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cove.exception import (
    AlreadyExistsError,
    AuthError,
    ConflictError,
    Error,
    InvalidError,
    NotFoundError,
    PermissionDeniedError,
    ResourceExhaustedError,
)
from cove.types import NodeId, new_id
from cove.wire import data_pb2, node_pb2
from cove.wire.errors import decode
from sandboxd.assembly import Made
from sandboxd.journal import Entry
from sandboxd.node import Capacity
from sandboxd.sim.runtime import SimMachine
from tests.support.sim_node import SimDaemon, spec


async def error_of(call: Awaitable[object]) -> Error:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return decode(caught.value)


async def start(daemon: SimDaemon, sandbox_id: str, *argv: str, exec_id: str = "e1", **fields: Any) -> data_pb2.ProcessStatus:
    request = data_pb2.ProcessStartRequest(sandbox_id=sandbox_id, exec_id=exec_id, argv=[arg.encode() for arg in argv], **fields)
    status: data_pb2.ProcessStatus = await daemon.data.ProcessStart(request, metadata=daemon.auth(sandbox_id))
    return status


async def wait(daemon: SimDaemon, sandbox_id: str, exec_id: str = "e1", timeout_s: float = 10) -> data_pb2.ProcessStatus:
    request = data_pb2.ProcessWaitRequest(sandbox_id=sandbox_id, exec_id=exec_id, timeout_s=timeout_s)
    status: data_pb2.ProcessStatus = await daemon.data.ProcessWait(request, metadata=daemon.auth(sandbox_id))
    return status


async def output(daemon: SimDaemon, sandbox_id: str, exec_id: str = "e1", fd: int = 1, offset: int = 0, follow: bool = True) -> bytes:
    request = data_pb2.ProcessOutputRequest(sandbox_id=sandbox_id, exec_id=exec_id, fd=fd, offset=offset, follow=follow)
    return b"".join([chunk.data async for chunk in daemon.data.ProcessOutput(request, metadata=daemon.auth(sandbox_id))])


async def write(daemon: SimDaemon, sandbox_id: str, offset: int, data: bytes, *, eof: bool = False, exec_id: str = "e1") -> int:
    request = data_pb2.ProcessInputRequest(sandbox_id=sandbox_id, exec_id=exec_id, offset=offset, data=data, eof=eof)
    response: data_pb2.ProcessInputResponse = await daemon.data.ProcessInput(request, metadata=daemon.auth(sandbox_id))
    return response.offset


async def test_exec_runs_and_its_output_and_code_come_back(daemon: SimDaemon) -> None:
    sandbox_id = await daemon.create()
    started = await start(daemon, sandbox_id, "echo", "hello", "world")
    assert (started.state, started.pid > 0) == (data_pb2.PROCESS_STATE_RUNNING, True) or started.exit_code == 0
    assert await output(daemon, sandbox_id) == b"hello world\n"
    assert (await wait(daemon, sandbox_id)).exit_code == 0


async def test_a_boot_that_fails_without_a_word_says_what_it_was(daemon: SimDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(entry: Entry) -> Made:
        raise TimeoutError

    monkeypatch.setattr(daemon.assembly, "make", hang)
    sandbox_id = await daemon.create()
    assert "could not be started: TimeoutError" in str(await error_of(start(daemon, sandbox_id, "true")))


async def test_input_is_taken_once_at_its_offset(daemon: SimDaemon) -> None:
    sandbox_id = await daemon.create()
    await start(daemon, sandbox_id, "cat")
    assert await write(daemon, sandbox_id, 0, b"hello ") == 6
    assert await write(daemon, sandbox_id, 0, b"hello wor") == 9
    error = await error_of(write(daemon, sandbox_id, 20, b"gap"))
    assert (error.code, error.context["expected_offset"]) == ("out_of_range", "9")
    assert await write(daemon, sandbox_id, 9, b"ld", eof=True) == 11
    assert await write(daemon, sandbox_id, 9, b"ld", eof=True) == 11
    assert await output(daemon, sandbox_id) == b"hello world"
    assert (await error_of(write(daemon, sandbox_id, 11, b"more"))).code == "stdin_closed"


async def test_large_input_and_output_pass_every_window(daemon: SimDaemon) -> None:
    sandbox_id = await daemon.create()
    await start(daemon, sandbox_id, "cat")
    blob = bytes(range(256)) * 4096
    offset = 0
    for _ in range(2):
        offset = await write(daemon, sandbox_id, offset, blob, eof=offset > 0)
    assert await output(daemon, sandbox_id) == blob * 2


async def test_output_beyond_the_cap_keeps_both_ends_and_counts(machine: SimMachine, tmp_path: Path, key: Ed25519PrivateKey) -> None:
    async with SimDaemon(machine, tmp_path, key).running(spool_bytes=100_000) as daemon:
        sandbox_id = await daemon.create()
        await start(daemon, sandbox_id, "spew", "3000000")
        status = await wait(daemon, sandbox_id)
        assert status.stdout_bytes == 3_000_000
        kept = await output(daemon, sandbox_id)
        assert len(kept) == 200_000
        assert kept[:3] == bytes([0, 1, 2])
        assert kept[-1] == (3_000_000 - 1) % 251


async def test_missing_binary_fails_the_start(daemon: SimDaemon) -> None:
    sandbox_id = await daemon.create()
    error = await error_of(start(daemon, sandbox_id, "no-such-thing"))
    assert isinstance(error, InvalidError)
    assert error.code == "exec_failed"
    assert "no-such-thing" in error.cause
    assert (
        await daemon.data.ProcessList(data_pb2.ProcessListRequest(sandbox_id=sandbox_id), metadata=daemon.auth(sandbox_id))
    ).processes == []


async def test_start_is_idempotent_by_id_and_request(daemon: SimDaemon) -> None:
    sandbox_id = await daemon.create()
    first, second = await asyncio.gather(*(start(daemon, sandbox_id, "sleep", "100") for _ in range(2)))
    assert first.pid == second.pid
    assert isinstance(await error_of(start(daemon, sandbox_id, "sleep", "200")), AlreadyExistsError)


async def test_timeout_is_told_apart(daemon: SimDaemon) -> None:
    sandbox_id = await daemon.create()
    await start(daemon, sandbox_id, "sleep", "100", timeout_s=0.05)
    status = await wait(daemon, sandbox_id)
    assert (status.state, status.exit_code) == (data_pb2.PROCESS_STATE_TIMED_OUT, 124)


async def test_signal_ends_with_128_plus_n(daemon: SimDaemon) -> None:
    sandbox_id = await daemon.create()
    await start(daemon, sandbox_id, "sleep", "100")
    request = data_pb2.ProcessSignalRequest(sandbox_id=sandbox_id, exec_id="e1", signal=15)
    await daemon.data.ProcessSignal(request, metadata=daemon.auth(sandbox_id))
    status = await wait(daemon, sandbox_id)
    assert (status.state, status.exit_code, status.signal) == (data_pb2.PROCESS_STATE_SIGNALED, 143, 15)


async def test_main_process_ends_the_sandbox_and_its_output_stays(daemon: SimDaemon) -> None:
    sandbox_id = await daemon.create("echo", "bye")
    sandbox = await daemon.ended(sandbox_id)
    assert sandbox.entry.result is not None
    assert (sandbox.entry.result.reason, sandbox.entry.result.exit_code) == ("success", 0)
    assert await output(daemon, sandbox_id, "main") == b"bye\n"
    assert await daemon.assembly.owners() == frozenset()
    error = await error_of(start(daemon, sandbox_id, "true"))
    assert isinstance(error, ConflictError)
    assert error.code == "sandbox_ended"


@pytest.mark.parametrize(
    ("fields", "reason", "code"),
    [({"timeout_s": 1}, "timeout", 124), ({"idle_timeout_s": 1}, "idle_timeout", 124)],
)
async def test_time_ends_a_sandbox(daemon: SimDaemon, fields: dict[str, Any], reason: str, code: int) -> None:
    sandbox = await daemon.ended(await daemon.create(**fields))
    assert sandbox.entry.result is not None
    assert (sandbox.entry.result.reason, sandbox.entry.result.exit_code) == (reason, code)


async def test_running_exec_keeps_a_sandbox_from_being_idle(daemon: SimDaemon) -> None:
    sandbox_id = await daemon.create(idle_timeout_s=1)
    await start(daemon, sandbox_id, "sleep", "1.5")
    await wait(daemon, sandbox_id)
    assert daemon.node.get(sandbox_id).state == "running"
    sandbox = await daemon.ended(sandbox_id)
    assert sandbox.entry.ended_at - sandbox.entry.started_at > 2.3


async def test_unknown_image_is_an_init_failure(daemon: SimDaemon) -> None:
    sandbox_id = new_id("sb")
    wrong = spec()
    wrong.image.rootfs_path = "/no/such.tar"
    request = node_pb2.NodeCreateRequest(sandbox_id=sandbox_id, task_id=new_id("ta"), spec=wrong)
    await daemon.api.Create(request, metadata=daemon.router_auth())
    sandbox = await daemon.ended(sandbox_id)
    assert sandbox.entry.result is not None
    assert sandbox.entry.result.reason == "init_failure"


async def test_killed_container_is_reported_and_freed(daemon: SimDaemon, machine: SimMachine) -> None:
    sandbox_id = await daemon.create()
    await start(daemon, sandbox_id, "sleep", "100")
    await machine.kill(sandbox_id)  # type: ignore[arg-type]
    sandbox = await daemon.ended(sandbox_id)
    assert sandbox.entry.result is not None
    assert sandbox.entry.result.reason == "internal_failure"
    assert (await wait(daemon, sandbox_id)).state == data_pb2.PROCESS_STATE_LOST
    assert await daemon.assembly.owners() == frozenset()


async def test_restart_adopts_sandbox_processes_and_output(machine: SimMachine, tmp_path: Path, key: Ed25519PrivateKey) -> None:
    async with SimDaemon(machine, tmp_path, key).running() as daemon:
        sandbox_id = await daemon.create()
        await start(daemon, sandbox_id, "cat")
        await start(daemon, sandbox_id, "echo", "before", exec_id="e2")
        await wait(daemon, sandbox_id, "e2")
        await write(daemon, sandbox_id, 0, b"one ")
    async with SimDaemon(machine, tmp_path, key).running() as daemon:
        assert await output(daemon, sandbox_id, "e2") == b"before\n"
        status = await wait(daemon, sandbox_id, timeout_s=0.01)
        assert (status.state, status.stdin_offset) == (data_pb2.PROCESS_STATE_RUNNING, 4)
        await write(daemon, sandbox_id, 4, b"two", eof=True)
        assert await output(daemon, sandbox_id) == b"one two"
        assert (await wait(daemon, sandbox_id)).exit_code == 0
        await start(daemon, sandbox_id, "echo", "after", exec_id="e3")
        assert await output(daemon, sandbox_id, "e3") == b"after\n"


async def test_what_ended_while_the_daemon_was_away_is_told(machine: SimMachine, tmp_path: Path, key: Ed25519PrivateKey) -> None:
    async with SimDaemon(machine, tmp_path, key).running() as daemon:
        living, dying = await daemon.create(), await daemon.create()
        await start(daemon, living, "sleep", "0.2")
        await start(daemon, living, "spew", "200000", exec_id="e2")
        await start(daemon, dying, "sleep", "100")
    await machine.kill(dying)  # type: ignore[arg-type]
    await asyncio.sleep(0.3)
    async with SimDaemon(machine, tmp_path, key).running() as daemon:
        assert (await wait(daemon, living)).exit_code == 0
        assert len(await output(daemon, living, "e2")) == 200_000
        sandbox = await daemon.ended(dying)
        assert sandbox.entry.result is not None
        assert "restarted" in sandbox.entry.result.message


async def test_restart_in_the_middle_of_a_boot_leaves_nothing(machine: SimMachine, tmp_path: Path, key: Ed25519PrivateKey) -> None:
    async with SimDaemon(machine, tmp_path, key).running(boot_s=100) as daemon:
        sandbox_id = await daemon.create()
        await asyncio.sleep(0.05)
    async with SimDaemon(machine, tmp_path, key).running() as daemon:
        sandbox = await daemon.ended(sandbox_id)
        assert sandbox.entry.result is not None
        assert sandbox.entry.result.reason == "internal_failure"
        assert await daemon.assembly.owners() == frozenset()


async def test_orphans_are_freed(machine: SimMachine, tmp_path: Path, key: Ed25519PrivateKey) -> None:
    async with SimDaemon(machine, tmp_path, key).running() as daemon:
        sandbox_id = await daemon.create()
        await start(daemon, sandbox_id, "true")
    daemon.node._journal.directory(sandbox_id).remove()  # type: ignore[arg-type]
    async with SimDaemon(machine, tmp_path, key).running() as daemon:
        await daemon.node.warm.cleared()
        assert await daemon.assembly.owners() == frozenset()
        assert machine.containers == {}


async def test_terminate_during_boot(machine: SimMachine, tmp_path: Path, key: Ed25519PrivateKey) -> None:
    async with SimDaemon(machine, tmp_path, key).running(boot_s=100) as daemon:
        sandbox_id = await daemon.create()
        await daemon.api.Terminate(node_pb2.NodeTerminateRequest(sandbox_id=sandbox_id), metadata=daemon.router_auth())
        sandbox = await daemon.ended(sandbox_id)
        assert sandbox.entry.result is not None
        assert (sandbox.entry.result.reason, sandbox.entry.result.exit_code) == ("terminated", 137)


async def test_admission_refuses_what_does_not_fit(machine: SimMachine, tmp_path: Path, key: Ed25519PrivateKey) -> None:
    small = Capacity(cpu_millis=250, memory_bytes=2**40, sandboxes=10)
    async with SimDaemon(machine, tmp_path, key).running(capacity=small) as daemon:
        first, _ = await daemon.create(), await daemon.create()
        assert isinstance(await error_of(daemon.create()), ResourceExhaustedError)
        await daemon.api.Terminate(node_pb2.NodeTerminateRequest(sandbox_id=first), metadata=daemon.router_auth())
        await daemon.ended(first)
        await daemon.create()


async def test_nobody_passes_with_a_wrong_token(daemon: SimDaemon) -> None:
    sandbox_id, other = await daemon.create(), await daemon.create()
    call, request = daemon.data.ProcessList, data_pb2.ProcessListRequest(sandbox_id=sandbox_id)
    stranger = SimDaemon(daemon.machine, daemon.directory, Ed25519PrivateKey.generate())
    assert isinstance(await error_of(call(request)), AuthError)
    assert isinstance(await error_of(call(request, metadata=(("authorization", "Bearer x.y.z"),))), AuthError)
    assert isinstance(await error_of(call(request, metadata=stranger.auth(sandbox_id))), AuthError)
    assert isinstance(await error_of(call(request, metadata=daemon.router_auth())), AuthError)
    assert isinstance(await error_of(call(request, metadata=daemon.auth(other))), PermissionDeniedError)
    assert isinstance(await error_of(call(request, metadata=daemon.auth(sandbox_id, node_id=NodeId("node-2")))), PermissionDeniedError)
    assert (await error_of(call(request, metadata=daemon.auth(sandbox_id, lifetime_s=-1)))).code == "token_expired"
    assert isinstance(await error_of(daemon.api.List(node_pb2.NodeListSandboxesRequest(), metadata=daemon.auth(sandbox_id))), AuthError)
    gone = new_id("sb")
    missing = call(data_pb2.ProcessListRequest(sandbox_id=gone), metadata=daemon.auth(gone))
    assert isinstance(await error_of(missing), NotFoundError)


@pytest.mark.parametrize(
    "fields",
    [
        {"exec_id": ""},
        {"exec_id": "../../etc"},
        {"exec_id": "x" * 65},
        {"exec_id": "main"},
        {"argv": []},
        {"argv": [b"a\0b"]},
        {"argv": [b"x" * 200_000]},
        {"env": {"A=B": "c"}},
        {"env": {"A": "x\0y"}},
        {"env": {"A": "x" * 100_000}},
        {"workdir": "/a\0b"},
        {"workdir": "/" + "x" * 5000},
        {"user": "a b"},
        {"user": "root;id"},
        {"timeout_s": -1},
        {"timeout_s": 1e12},
        {"pty": data_pb2.PtySize(rows=0, columns=80)},
        {"pty": data_pb2.PtySize(rows=24, columns=70_000)},
    ],
)
async def test_bad_starts_are_refused_and_change_nothing(daemon: SimDaemon, fields: dict[str, Any]) -> None:
    sandbox_id = await daemon.create()
    request = data_pb2.ProcessStartRequest(**{"sandbox_id": sandbox_id, "exec_id": "e1", "argv": [b"true"], **fields})
    error = await error_of(daemon.data.ProcessStart(request, metadata=daemon.auth(sandbox_id)))
    assert isinstance(error, InvalidError)
    assert list(daemon.node.get(sandbox_id).processes) == []


async def test_files_are_written_read_listed_moved_and_removed(daemon: SimDaemon) -> None:
    sandbox_id = await daemon.create()
    auth, data = daemon.auth(sandbox_id), daemon.data
    await data.FileMakeDirectory(data_pb2.FileMakeDirectoryRequest(sandbox_id=sandbox_id, path=b"/a/b", parents=True), metadata=auth)
    opened = await data.FileOpen(data_pb2.FileOpenRequest(sandbox_id=sandbox_id, path=b"a/b/f", flags=2 | 4 | 8), metadata=auth)
    blob = bytes(range(256)) * 2500
    await data.FileWrite(data_pb2.FileWriteRequest(sandbox_id=sandbox_id, handle=opened.handle, data=blob, close=True), metadata=auth)
    again = await data.FileOpen(data_pb2.FileOpenRequest(sandbox_id=sandbox_id, path=b"/a/b/f", flags=1, read_ahead=1000), metadata=auth)
    assert (again.size_bytes, again.data, again.eof) == (len(blob), blob[:1000], False)
    rest = data.FileRead(data_pb2.FileReadRequest(sandbox_id=sandbox_id, handle=again.handle, count=10**7), metadata=auth)
    assert b"".join([chunk.data async for chunk in rest]) == blob[1000:]
    await data.FileRename(data_pb2.FileRenameRequest(sandbox_id=sandbox_id, source=b"/a/b/f", target=b"/a/g"), metadata=auth)
    listing = data.FileList(data_pb2.FileListRequest(sandbox_id=sandbox_id, path=b"/a"), metadata=auth)
    assert [entry.name for chunk in [c async for c in listing] for entry in chunk.entries] == ["b", "g"]
    await data.FileRemove(data_pb2.FileRemoveRequest(sandbox_id=sandbox_id, path=b"/a", recursive=True), metadata=auth)
    error = await error_of(data.FileStat(data_pb2.FileStatRequest(sandbox_id=sandbox_id, path=b"/a"), metadata=auth))
    assert (error.code, error.context["errno"]) == ("file_error", "2")


async def test_thousands_of_calls_at_once_are_all_answered(daemon: SimDaemon) -> None:
    """gRPC itself would drop some of them once 1,000 wait."""
    sandbox_id = await daemon.create()
    request = data_pb2.ProcessListRequest(sandbox_id=sandbox_id)
    async with asyncio.TaskGroup() as group:
        calls = [daemon.data.ProcessList(request, metadata=daemon.auth(sandbox_id)) for _ in range(3000)]
        for call in calls:
            group.create_task(_code(call))
    assert {await call.code() for call in calls} == {grpc.StatusCode.OK}


async def _code(call: grpc.aio.Call) -> grpc.StatusCode:
    return await call.code()
