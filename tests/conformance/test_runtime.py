"""One suite for every Runtime: simulated containers and runsc must not differ in what the daemon relies on."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from cove.exception import UnimplementedError
from cove.types import SandboxId, new_id
from sandboxd.channel.client import Guest
from sandboxd.channel.link import Fifos
from sandboxd.runtime import Container, ContainerStatus, Runtime, RuntimeFailed
from sandboxd.sim.runtime import SimMachine, SimRuntime
from tests.support.bare_runsc import BareRunsc

SOON_S = 20.0


class Harness(msgspec.Struct):
    """A runtime, and what the daemon would prepare for it."""

    runtime: Runtime
    again: Callable[[], Runtime]
    """Another runtime over the same containers, as a restarted daemon has."""
    prepare: Callable[[SandboxId], Container]
    kill: Callable[[SandboxId], Awaitable[None]]


@pytest.fixture(params=["sim", pytest.param("runsc", marks=[pytest.mark.needs_root, pytest.mark.needs_runsc])])
async def harness(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Harness]:
    if request.param == "sim":
        machine = SimMachine()
        yield Harness(
            SimRuntime(machine), lambda: SimRuntime(machine), lambda sandbox_id: _sim_container(tmp_path, sandbox_id), machine.kill
        )
        for sandbox_id in list(machine.containers):
            await machine.kill(sandbox_id)
        return
    async with BareRunsc.in_directory(tmp_path) as bare:
        yield Harness(bare.runtime(), bare.runtime, bare.prepare, bare.kill)


def _sim_container(tmp_path: Path, sandbox_id: SandboxId) -> Container:
    directory = tmp_path / sandbox_id
    directory.mkdir()
    return Container(
        sandbox_id=sandbox_id,
        directory=directory,
        rootfs=directory,
        init="/.cove/init",
        hostname="sim",
        env={},
        resources={},
        cgroups_path="/sim",
        netns=None,
    )


@contextlib.asynccontextmanager
async def fifos_in(container: Container) -> AsyncIterator[Fifos]:
    fifos = Fifos(container.directory)
    fifos.make()
    fifos.open()
    try:
        yield fifos
    finally:
        fifos.close()


@contextlib.asynccontextmanager
async def running(harness: Harness) -> AsyncIterator[tuple[Container, Fifos]]:
    """A container that runs."""
    container = harness.prepare(SandboxId(new_id("sb")))
    async with fifos_in(container) as fifos:
        await harness.runtime.create(container, stdin=fifos.to_guest, stdout=fifos.from_guest)
        await harness.runtime.start(container)
        try:
            yield container, fifos
        finally:
            await harness.runtime.delete(container.sandbox_id)


def guest_of(fifos: Fifos, marker: bytes) -> Guest:
    def violated(error: Exception) -> None:
        raise error

    return Guest(fifos, marker, violated=violated, api_opened=lambda stream, peer: stream.close())


async def test_create_then_start_then_delete(harness: Harness) -> None:
    container = harness.prepare(SandboxId(new_id("sb")))
    sandbox_id = container.sandbox_id
    assert await harness.runtime.status(sandbox_id) is None
    async with fifos_in(container) as fifos:
        await harness.runtime.create(container, stdin=fifos.to_guest, stdout=fifos.from_guest)
        assert await harness.runtime.status(sandbox_id) is ContainerStatus.CREATED
        await harness.runtime.start(container)
        assert await harness.runtime.status(sandbox_id) is ContainerStatus.RUNNING
        assert await harness.runtime.list_() == {sandbox_id}
        await harness.runtime.delete(sandbox_id)
    assert await harness.runtime.status(sandbox_id) is None
    assert await harness.runtime.list_() == frozenset()


async def test_guest_serves_over_the_fifos_and_outlives_the_daemon(harness: Harness) -> None:
    marker = secrets.token_bytes(32)
    async with running(harness) as (container, fifos):
        guest = guest_of(fifos, marker)
        async with asyncio.timeout(SOON_S):
            await guest.start()
            await guest.ping(1)
        guest.close()
        fifos.close()
        fifos.open()
        assert await harness.again().status(container.sandbox_id) is ContainerStatus.RUNNING
        guest = guest_of(fifos, marker)
        async with asyncio.timeout(SOON_S):
            assert await guest.reset() == ()
            await guest.ping(2)
        guest.close()


async def test_death_is_told_to_those_who_wait(harness: Harness) -> None:
    async with running(harness) as (container, _):
        waiting = [asyncio.create_task(runtime.died(container.sandbox_id)) for runtime in (harness.runtime, harness.again())]
        done, _ = await asyncio.wait(waiting, timeout=0.2)
        assert not done
        await harness.kill(container.sandbox_id)
        async with asyncio.timeout(SOON_S):
            await asyncio.gather(*waiting)
            await harness.runtime.died(container.sandbox_id)
        assert await harness.runtime.status(container.sandbox_id) in (None, ContainerStatus.STOPPED)


async def test_died_returns_at_once_for_the_unknown(harness: Harness) -> None:
    async with asyncio.timeout(SOON_S):
        await harness.runtime.died(SandboxId(new_id("sb")))


async def test_pause_holds_the_guest_and_resume_lets_it_answer(harness: Harness) -> None:
    async with running(harness) as (container, fifos):
        guest = guest_of(fifos, secrets.token_bytes(32))
        async with asyncio.timeout(SOON_S):
            await guest.start()
            await harness.runtime.pause(container.sandbox_id)
            assert await harness.runtime.status(container.sandbox_id) is ContainerStatus.PAUSED
            ping = asyncio.create_task(guest.ping(3))
            done, _ = await asyncio.wait([ping], timeout=0.3)
            assert not done
            await harness.runtime.resume(container.sandbox_id)
            assert (await ping).token == 3
        guest.close()


async def test_memory_is_written_between_pause_and_resume(harness: Harness, tmp_path: Path) -> None:
    async with running(harness) as (container, fifos):
        guest = guest_of(fifos, secrets.token_bytes(32))
        async with asyncio.timeout(SOON_S):
            await guest.start()
            try:
                async with harness.runtime.ready_checkpoint(container.sandbox_id, tmp_path / "memory") as checkpoint:
                    await guest.ping(1)
                    await checkpoint.pause()
                    await checkpoint.write()
                    assert await harness.runtime.status(container.sandbox_id) is ContainerStatus.PAUSED
                    await checkpoint.resume()
            except UnimplementedError:
                assert isinstance(harness.runtime, SimRuntime)
            assert await harness.runtime.status(container.sandbox_id) is ContainerStatus.RUNNING
            assert (await guest.ping(2)).token == 2
        guest.close()


async def test_a_checkpoint_that_is_given_up_changes_nothing(harness: Harness, tmp_path: Path) -> None:
    async with running(harness) as (container, fifos):
        guest = guest_of(fifos, secrets.token_bytes(32))
        async with asyncio.timeout(SOON_S):
            await guest.start()
            with contextlib.suppress(UnimplementedError, ZeroDivisionError):
                async with harness.runtime.ready_checkpoint(container.sandbox_id, tmp_path / "memory"):
                    await guest.ping(1)
                    raise ZeroDivisionError
            assert (await guest.ping(2)).token == 2
            assert await harness.runtime.list_() == {container.sandbox_id}
        guest.close()


async def test_wrong_order_fails_and_says_so(harness: Harness) -> None:
    async with running(harness) as (container, _):
        with pytest.raises(RuntimeFailed):
            await harness.runtime.resume(container.sandbox_id)
    with pytest.raises(RuntimeFailed):
        await harness.runtime.pause(container.sandbox_id)


async def test_delete_is_idempotent_and_takes_the_unknown(harness: Harness) -> None:
    async with running(harness) as (container, _):
        await harness.runtime.delete(container.sandbox_id)
        await harness.runtime.delete(container.sandbox_id)
    await harness.runtime.delete(SandboxId(new_id("sb")))


async def test_same_id_twice_fails_and_leaves_the_first(harness: Harness) -> None:
    async with running(harness) as (container, fifos):
        with pytest.raises(RuntimeFailed):
            await harness.runtime.create(container, stdin=fifos.to_guest, stdout=fifos.from_guest)
        assert await harness.runtime.status(container.sandbox_id) is ContainerStatus.RUNNING


async def test_created_but_never_started_can_be_deleted(harness: Harness) -> None:
    container = harness.prepare(SandboxId(new_id("sb")))
    async with fifos_in(container) as fifos:
        await harness.runtime.create(container, stdin=fifos.to_guest, stdout=fifos.from_guest)
        await harness.runtime.delete(container.sandbox_id)
    assert await harness.runtime.list_() == frozenset()
