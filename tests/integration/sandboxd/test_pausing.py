"""Pausing and waking over simulated containers: who waits, who wakes, what a daemon that dies leaves, what no room means."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cove.exception import ConflictError, InternalFailure, ResourceExhaustedError
from cove.types import SandboxId
from cove.wire import common_pb2, data_pb2, snapshot_pb2
from sandboxd.journal import Entry
from sandboxd.lifecycle import State
from sandboxd.node import Capacity
from sandboxd.sandbox import Sandbox
from sandboxd.sim.assembly import SimAssembly
from sandboxd.sim.runtime import SimMachine
from tests.integration.sandboxd.test_node import error_of, output, start, wait, write
from tests.integration.sandboxd.test_ports import until as holds
from tests.support.leaks import descriptors
from tests.support.sim_node import SimDaemon

pytestmark = pytest.mark.timeout(60)


async def pause(daemon: SimDaemon, sandbox_id: str) -> common_pb2.SandboxStatus:
    status: common_pb2.SandboxStatus = await daemon.api.Pause(
        snapshot_pb2.SandboxPauseRequest(sandbox_id=sandbox_id), metadata=daemon.router_auth()
    )
    return status


async def resume(daemon: SimDaemon, sandbox_id: str) -> common_pb2.SandboxStatus:
    status: common_pb2.SandboxStatus = await daemon.api.Resume(
        snapshot_pb2.SandboxResumeRequest(sandbox_id=sandbox_id), metadata=daemon.router_auth()
    )
    return status


async def until(sandbox: Sandbox, state: State) -> None:
    while sandbox.state is not state:
        await sandbox.wait_change()


async def test_a_paused_sandbox_reserves_nothing_and_says_since_when(daemon: SimDaemon) -> None:
    sandbox_id = await daemon.create()
    await resume(daemon, sandbox_id)
    before = daemon.node.reserved()
    status = await pause(daemon, sandbox_id)
    assert (status.state, status.paused_at > 0, status.expires_at) == (common_pb2.SANDBOX_STATE_RUNNING, True, 0)
    assert (before.sandboxes, daemon.node.reserved().sandboxes, daemon.node.reserved().memory_bytes) == (1, 0, 0)
    status = await resume(daemon, sandbox_id)
    assert (status.paused_at, status.expires_at > 0, daemon.node.reserved()) == (0, True, before)


async def test_whoever_comes_at_once_wakes_it_once(daemon: SimDaemon) -> None:
    sandbox_id = await daemon.create()
    await resume(daemon, sandbox_id)
    await pause(daemon, sandbox_id)
    async with asyncio.TaskGroup() as group:
        for number in range(50):
            group.create_task(start(daemon, sandbox_id, "true", exec_id=f"e{number}"))
    assert [state for _, state in daemon.changed].count(State.WAKING) == 1


async def test_calls_during_the_pause_wait_and_wake(daemon: SimDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox_id = await daemon.create()
    await resume(daemon, sandbox_id)
    written, let_on = slow_pausing(monkeypatch)
    pausing = asyncio.create_task(pause(daemon, sandbox_id))
    await written.wait()
    called = asyncio.create_task(start(daemon, sandbox_id, "echo", "on"))
    let_on.set()
    await pausing
    await called
    assert await output(daemon, sandbox_id) == b"on\n"


async def test_input_that_waits_for_room_goes_on_after_a_pause(daemon: SimDaemon) -> None:
    sandbox_id = await daemon.create()
    await start(daemon, sandbox_id, "sleep", "1000")
    data = bytes(2**20)
    writing = asyncio.create_task(write(daemon, sandbox_id, 0, data))
    process = daemon.node.get(sandbox_id).processes.get("e1")
    await holds(lambda: process.stdin_offset > 0)
    assert process.stdin_offset < len(data)
    for _ in range(10):  # each new session with a guest gives room for some more
        await pause(daemon, sandbox_id)
        await resume(daemon, sandbox_id)
    assert await writing == len(data)


async def test_what_cannot_be_written_leaves_it_running_and_says_why(daemon: SimDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox_id = await daemon.create()
    await start(daemon, sandbox_id, "cat")

    @contextlib.asynccontextmanager
    async def pausing(self: SimAssembly, entry: Entry) -> AsyncIterator[None]:
        raise ConflictError("A deleted file is open.")
        yield

    with monkeypatch.context() as patch:
        patch.setattr(SimAssembly, "pausing", pausing)
        assert "deleted file" in (await error_of(pause(daemon, sandbox_id))).cause
    assert await write(daemon, sandbox_id, 0, b"still here", eof=True) == 10
    assert await output(daemon, sandbox_id) == b"still here"
    await pause(daemon, sandbox_id)


async def test_waking_needs_room_and_can_be_asked_for_again(machine: SimMachine, tmp_path: Path, key: Ed25519PrivateKey) -> None:
    small = Capacity(cpu_millis=10**9, memory_bytes=2**50, sandboxes=1)
    async with SimDaemon(machine, tmp_path, key).running(capacity=small) as daemon:
        first = await daemon.create()
        await resume(daemon, first)
        await pause(daemon, first)
        second = await daemon.create()
        assert isinstance(await error_of(resume(daemon, first)), ResourceExhaustedError)
        assert isinstance(await error_of(start(daemon, first, "true")), ResourceExhaustedError)
        daemon.node.get(second).terminate()
        await daemon.ended(second)
        await resume(daemon, first)


async def test_a_failure_to_wake_keeps_it_paused(daemon: SimDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox_id = await daemon.create()
    await resume(daemon, sandbox_id)
    await pause(daemon, sandbox_id)

    async def make(self: SimAssembly, entry: Entry) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(SimAssembly, "make", make)
        assert isinstance(await error_of(resume(daemon, sandbox_id)), InternalFailure)
    assert daemon.node.get(sandbox_id).state is State.PAUSED
    await start(daemon, sandbox_id, "true")


@pytest.mark.parametrize("state", [State.PAUSING, State.PAUSED, State.WAKING])
async def test_it_can_be_terminated_whatever_it_is_doing(daemon: SimDaemon, monkeypatch: pytest.MonkeyPatch, state: State) -> None:
    sandbox_id = await daemon.create()
    await resume(daemon, sandbox_id)
    sandbox = daemon.node.get(sandbox_id)
    async with asyncio.TaskGroup() as group:
        if state is State.PAUSING:
            slow_pausing(monkeypatch)
            group.create_task(refused(pause(daemon, sandbox_id)))
        else:
            await pause(daemon, sandbox_id)
        if state is State.WAKING:
            slow_making(monkeypatch)
            group.create_task(refused(resume(daemon, sandbox_id)))
        await until(sandbox, state)
        sandbox.terminate()
        await until(sandbox, State.STOPPED)
    assert await daemon.assembly.owners() == frozenset()


@pytest.mark.parametrize("state", [State.PAUSING, State.PAUSED, State.WAKING])
async def test_a_daemon_that_dies_meanwhile_loses_nothing(
    machine: SimMachine, tmp_path: Path, key: Ed25519PrivateKey, monkeypatch: pytest.MonkeyPatch, state: State
) -> None:
    async with SimDaemon(machine, tmp_path, key).running() as daemon:
        sandbox_id = await daemon.create()
        await start(daemon, sandbox_id, "cat")
        await write(daemon, sandbox_id, 0, b"before ")
        sandbox = daemon.node.get(sandbox_id)
        with monkeypatch.context() as patch:
            if state is State.PAUSING:
                slow_pausing(patch)
                waiting = asyncio.create_task(refused(pause(daemon, sandbox_id)))
            else:
                await pause(daemon, sandbox_id)
            if state is State.WAKING:
                slow_making(patch)
                waiting = asyncio.create_task(refused(resume(daemon, sandbox_id)))
            await until(sandbox, state)
    if state is not State.PAUSED:
        await waiting
    async with SimDaemon(machine, tmp_path, key).running() as daemon:
        assert await write(daemon, sandbox_id, 7, b"after", eof=True) == 12
        assert await output(daemon, sandbox_id) == b"before after"
        assert (await wait(daemon, sandbox_id)).exit_code == 0


async def test_a_reboot_takes_running_sandboxes_but_not_paused_ones(
    machine: SimMachine, tmp_path: Path, key: Ed25519PrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with SimDaemon(machine, tmp_path, key).running() as daemon:
        paused, ran = await daemon.create(), await daemon.create()
        for sandbox_id in (paused, ran):
            await resume(daemon, sandbox_id)
        await pause(daemon, paused)
    await machine.kill(SandboxId(ran))
    for module in ("body", "node"):
        monkeypatch.setattr(f"sandboxd.{module}.boot_id", lambda: "another")
    async with SimDaemon(machine, tmp_path, key).running() as daemon:
        await resume(daemon, paused)
        assert (await daemon.ended(ran)).entry.result is not None
    async with SimDaemon(machine, tmp_path, key).running() as daemon:
        await start(daemon, paused, "true")


async def test_streams_are_whole_however_often_it_is_paused(daemon: SimDaemon) -> None:
    """A reader, a writer, and pauses between any two of their steps."""
    sandbox_id = await daemon.create()
    await start(daemon, sandbox_id, "cat")
    data = random.Random(7).randbytes(2**20)

    async def feed() -> None:
        offset = 0
        while offset < len(data):
            offset = await write(daemon, sandbox_id, offset, data[offset : offset + 50_000], eof=offset + 50_000 >= len(data))
            await asyncio.sleep(0)

    async def stop_and_go() -> None:
        while (await wait(daemon, sandbox_id, timeout_s=0)).state == data_pb2.PROCESS_STATE_RUNNING:
            await pause(daemon, sandbox_id)

    async with asyncio.TaskGroup() as group:
        read = group.create_task(output(daemon, sandbox_id))
        group.create_task(feed())
        group.create_task(stop_and_go())
    assert read.result() == data


def slow_pausing(monkeypatch: pytest.MonkeyPatch) -> tuple[asyncio.Event, asyncio.Event]:
    """Pausing stands at its end until the second event; the first one tells that it does."""
    reached, let_on, really = asyncio.Event(), asyncio.Event(), SimAssembly.pausing

    @contextlib.asynccontextmanager
    async def pausing(self: SimAssembly, entry: Entry) -> AsyncIterator[None]:
        async with really(self, entry):
            reached.set()
            await let_on.wait()
            yield

    monkeypatch.setattr(SimAssembly, "pausing", pausing)
    return reached, let_on


def slow_making(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing comes up any more."""

    async def make(self: SimAssembly, entry: Entry) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(SimAssembly, "make", make)


async def refused(call: object) -> None:
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.CancelledError):
        await call  # type: ignore[misc]  # any call of a stub


@pytest.mark.timeout(180)
async def test_a_thousand_paused_ones_hold_neither_descriptors_nor_room(daemon: SimDaemon) -> None:
    before = descriptors(os.getpid())
    sandbox_ids = [await daemon.create() for _ in range(1000)]
    for start_at in range(0, len(sandbox_ids), 100):
        async with asyncio.TaskGroup() as group:
            for sandbox_id in sandbox_ids[start_at : start_at + 100]:
                group.create_task(pause_after_use(daemon, sandbox_id))
    assert daemon.node.reserved().sandboxes == 0
    guests = 2 * len(sandbox_ids)  # of the simulation: on a real node they are on disk
    assert descriptors(os.getpid()) - guests < before + 100
    await start(daemon, sandbox_ids[500], "true", exec_id="e2")


async def pause_after_use(daemon: SimDaemon, sandbox_id: str) -> None:
    await start(daemon, sandbox_id, "echo", "used")
    await pause(daemon, sandbox_id)
