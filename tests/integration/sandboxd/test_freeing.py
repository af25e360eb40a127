"""A hundred sandboxes that end at once: their memory is free at once, and what else they had goes a few at a time."""

from __future__ import annotations

import asyncio

import pytest

from cove.types import SandboxId
from sandboxd.freeing import FREED_AT_ONCE
from sandboxd.lifecycle import State
from tests.support.sim_node import SimDaemon

FORKS = 100


async def test_a_hundred_that_end_at_once_are_freed_a_few_at_a_time(daemon: SimDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    sandboxes = [daemon.node.get(await daemon.create()) for _ in range(FORKS)]
    free, killed = daemon.assembly.free, daemon.assembly.kill
    gate, full, all_dead = asyncio.Event(), asyncio.Event(), asyncio.Event()
    being_freed, most, dead = set[SandboxId](), 0, set[SandboxId]()

    async def slowly(sandbox_id: SandboxId) -> None:
        nonlocal most
        being_freed.add(sandbox_id)
        most = max(most, len(being_freed))
        if most == FREED_AT_ONCE:
            full.set()
        await gate.wait()
        await free(sandbox_id)
        being_freed.discard(sandbox_id)

    async def kill(sandbox_id: SandboxId) -> None:
        await killed(sandbox_id)
        dead.add(sandbox_id)
        if len(dead) == FORKS:
            all_dead.set()

    monkeypatch.setattr(daemon.assembly, "free", slowly)
    monkeypatch.setattr(daemon.assembly, "kill", kill)
    async with asyncio.timeout(20):
        for sandbox in sandboxes:
            sandbox.terminate()
        await full.wait()
        await all_dead.wait()
        assert daemon.node.freeing.pending == FORKS
        gate.set()
        for sandbox in sandboxes:
            while sandbox.state is not State.STOPPED:
                await sandbox.wait_change()
    assert most == FREED_AT_ONCE and daemon.node.freeing.pending == 0
