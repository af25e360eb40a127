"""The warm pool over simulated containers: claims, refills, and everything that can go wrong in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cove.types import SandboxId, new_id
from cove.wire import data_pb2, image_pb2, node_pb2
from sandboxd.lifecycle import State
from sandboxd.node import Capacity
from sandboxd.runtime import ContainerStatus
from sandboxd.sim.assembly import SimAssembly
from sandboxd.sim.runtime import SimMachine
from tests.support.sim_node import SimDaemon, spec


@pytest.fixture
async def warm(machine: SimMachine, tmp_path: Path, key: Ed25519PrivateKey) -> AsyncIterator[SimDaemon]:
    async with SimDaemon(machine, tmp_path, key).running(spares=4) as daemon:
        yield daemon
        await daemon.node.terminate_all()
    assert machine.containers == {}


async def spare(daemon: SimDaemon, *gone: str) -> SandboxId:
    """The id of one that waits and is none of ``gone``."""
    while not (ids := daemon.node.warm.waiting().keys() - set(gone)):
        await daemon.node.warm.wait_change()
    return next(iter(ids))


async def echo(daemon: SimDaemon, sandbox_id: str) -> bytes:
    """What a process in the sandbox says."""
    start = data_pb2.ProcessStartRequest(sandbox_id=sandbox_id, exec_id="e1", argv=[b"echo", b"hi"])
    await daemon.data.ProcessStart(start, metadata=daemon.auth(sandbox_id))
    request = data_pb2.ProcessOutputRequest(sandbox_id=sandbox_id, exec_id="e1", fd=1, follow=True)
    return b"".join([chunk.data async for chunk in daemon.data.ProcessOutput(request, metadata=daemon.auth(sandbox_id))])


async def test_a_create_is_the_spare_whose_id_it_has(warm: SimDaemon) -> None:
    first = await warm.create()
    assert await echo(warm, first) == b"hi\n"
    ahead = await spare(warm)
    container = warm.machine.containers[ahead]
    assert container.status is ContainerStatus.PAUSED
    assert await warm.create("sleep", "100", sandbox_id=ahead) == ahead
    assert await echo(warm, ahead) == b"hi\n"
    assert warm.machine.containers[ahead] is container
    assert (warm.node.warm.figures.warm, warm.node.warm.figures.cold) == (1, 1)
    assert await spare(warm, ahead) != ahead


async def test_another_shape_under_a_spares_id_is_booted_afresh(warm: SimDaemon) -> None:
    await warm.create()
    ahead = await spare(warm)
    container = warm.machine.containers[ahead]
    await warm.create(sandbox_id=ahead, image="3.12")
    assert await echo(warm, ahead) == b"hi\n"
    assert warm.machine.containers[ahead] is not container
    assert warm.node.warm.figures.warm == 0


async def test_a_spare_whose_sentry_dies_is_freed_and_replaced(warm: SimDaemon) -> None:
    await warm.create()
    ahead = await spare(warm)
    await warm.machine.kill(ahead)
    other = await spare(warm, ahead)
    assert warm.machine.containers[other].status is ContainerStatus.PAUSED
    while ahead in warm.machine.containers:
        await warm.node.warm.wait_change()
    await warm.create(sandbox_id=ahead)  # its id is as good as any
    assert await echo(warm, ahead) == b"hi\n"


async def test_a_create_is_not_lost_when_the_sentry_dies_under_the_claim(warm: SimDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    await warm.create()
    ahead = await spare(warm)
    thaw = warm.assembly.thaw

    async def die(sandbox_id: SandboxId) -> None:
        await thaw(sandbox_id)
        await warm.machine.kill(sandbox_id)

    monkeypatch.setattr(warm.assembly, "thaw", die)
    await warm.create(sandbox_id=ahead)
    assert await echo(warm, ahead) == b"hi\n"
    assert warm.node.warm.figures.warm == 0


async def test_a_freezer_that_is_stuck_costs_a_spare_and_no_more(warm: SimDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    await warm.create()
    ahead = await spare(warm)

    async def stuck(sandbox_id: SandboxId) -> None:
        raise OSError(16, "stuck")

    monkeypatch.setattr(warm.assembly, "thaw", stuck)
    await warm.create(sandbox_id=ahead)
    assert await echo(warm, ahead) == b"hi\n"


async def test_what_cannot_be_made_ahead_is_made_when_asked_for(warm: SimDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    async def stuck(sandbox_id: SandboxId) -> None:
        raise OSError(16, "stuck")

    tried, freed = asyncio.Event(), warm.assembly.free

    async def free(sandbox_id: SandboxId) -> None:
        await freed(sandbox_id)
        tried.set()

    monkeypatch.setattr(warm.assembly, "freeze", stuck)
    monkeypatch.setattr(warm.assembly, "free", free)
    sandbox_id = await warm.create()
    await tried.wait()
    assert await echo(warm, sandbox_id) == b"hi\n"
    assert warm.machine.containers.keys() == {sandbox_id}


async def test_draining_gives_up_every_spare(warm: SimDaemon) -> None:
    sandbox_id = await warm.create()
    await spare(warm)
    warm.node.draining = True
    warm.node.get(sandbox_id).terminate()
    await warm.ended(sandbox_id)
    await warm.node.warm.close()
    assert warm.machine.containers == {}


async def test_spares_leave_room_for_sandboxes(machine: SimMachine, tmp_path: Path, key: Ed25519PrivateKey) -> None:
    capacity = Capacity(cpu_millis=10**9, memory_bytes=2**50, sandboxes=3)
    async with SimDaemon(machine, tmp_path, key).running(spares=4, capacity=capacity) as daemon:
        for _ in range(2):
            await daemon.create()
        ahead = await spare(daemon)
        await daemon.create()
        while daemon.node.warm.held():
            await daemon.node.warm.wait_change()
        assert ahead not in machine.containers
        assert len(machine.containers) == 3
        await daemon.node.terminate_all()


async def test_a_layer_goes_with_what_stands_on_it(warm: SimDaemon) -> None:
    layer_id, image_id = new_id("ly"), new_id("im")
    layers = [image_pb2.LayerRef(base="debian:3.11"), image_pb2.LayerRef(layer_id=layer_id)]
    request = node_pb2.NodeCreateRequest(
        sandbox_id=new_id("sb"),
        task_id=new_id("ta"),
        spec=spec(),
        image=image_pb2.ImageManifest(image_id=image_id, layers=layers),
    )
    request.spec.image.image_id = image_id
    await warm.api.Create(request, metadata=warm.router_auth())
    ahead = await spare(warm)
    await warm.node.warm.release_layer(new_id("ly"))
    assert ahead in warm.machine.containers
    await warm.node.warm.release_layer(layer_id)
    assert warm.machine.containers.keys() == {request.sandbox_id}
    assert not warm.node.warm.held()


async def test_terminated_in_the_middle_of_a_claim(warm: SimDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    await warm.create()
    ahead = await spare(warm)
    reached = asyncio.Event()

    async def hold(sandbox_id: SandboxId) -> None:
        reached.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(warm.assembly, "thaw", hold)
    await warm.create(sandbox_id=ahead)
    await reached.wait()
    warm.node.get(ahead).terminate()
    assert (await warm.ended(ahead)).state is State.STOPPED
    assert ahead not in warm.machine.containers


async def test_a_restarted_daemon_frees_what_nobody_claimed_and_keeps_what_somebody_did(
    machine: SimMachine, tmp_path: Path, key: Ed25519PrivateKey
) -> None:
    async with SimDaemon(machine, tmp_path, key).running(spares=4) as daemon:
        first = await daemon.create()
        claimed = await spare(daemon)
        await daemon.create(sandbox_id=claimed)
        assert await echo(daemon, claimed) == b"hi\n"
        ahead = await spare(daemon, claimed)
    async with SimDaemon(machine, tmp_path, key).running(spares=4) as daemon:
        await daemon.node.warm.cleared()
        assert machine.containers.keys() == {first, claimed}
        await daemon.node.get(claimed).wait_booted()
        assert daemon.node.get(claimed).state is State.RUNNING
        await daemon.create(sandbox_id=ahead)
        assert await echo(daemon, ahead) == b"hi\n"


async def test_a_create_under_the_id_of_what_a_dead_daemon_left_waits_until_that_is_gone(
    machine: SimMachine, tmp_path: Path, key: Ed25519PrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the daemon dies between a router's call and the record, and the call comes again."""
    async with SimDaemon(machine, tmp_path, key).running(spares=4) as daemon:
        await daemon.create()
        ahead = await spare(daemon)
    free, go = SimAssembly.free, asyncio.Event()

    async def held(assembly: SimAssembly, sandbox_id: SandboxId) -> None:
        await go.wait()
        await free(assembly, sandbox_id)

    monkeypatch.setattr(SimAssembly, "free", held)
    async with SimDaemon(machine, tmp_path, key).running() as daemon:
        await daemon.create(sandbox_id=ahead)
        assert ahead in daemon.node.warm.held()
        asyncio.get_running_loop().call_soon(go.set)
        assert await echo(daemon, ahead) == b"hi\n"
        await daemon.node.reconcile()
        assert ahead in machine.containers


async def test_the_reconciler_leaves_spares_alone(warm: SimDaemon) -> None:
    await warm.create()
    ahead = await spare(warm)
    await warm.node.reconcile()
    assert ahead in warm.machine.containers
    assert ahead in warm.node.warm.waiting()
