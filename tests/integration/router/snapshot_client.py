"""Calls about memory snapshots, shortened, and the cluster of the tests that make them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from cove.types import new_id
from cove.wire import control_pb2, image_pb2, snapshot_pb2
from tests.integration.router.conftest import Cluster, running_cluster, settings_for
from tests.support.fake_node import FakeNode
from tests.support.router_client import ControlClient


@pytest.fixture
async def patient(tmp_path: Path) -> AsyncIterator[Cluster]:
    """A router that gives no node up however far its clock is moved."""
    async with running_cluster(settings_for(tmp_path, node_unreachable_after_s=1e6, node_lost_after_s=2e6)) as cluster:
        yield cluster


@pytest.fixture
async def node(patient: Cluster) -> FakeNode:
    return await patient.node()


async def take(client: ControlClient, sandbox_id: str, key: str = "", **fields: Any) -> snapshot_pb2.SnapshotInfo:
    request = snapshot_pb2.SandboxSnapshotRequest(sandbox_id=sandbox_id, idempotency_key=key or new_id("rq"), **fields)
    info: snapshot_pb2.SnapshotInfo = await client.call("SandboxSnapshot", request)
    return info


async def restore(client: ControlClient, snapshot_id: str, key: str = "", **fields: Any) -> str:
    request = snapshot_pb2.SandboxRestoreRequest(snapshot_id=snapshot_id, idempotency_key=key or new_id("rq"), **fields)
    answer: control_pb2.SandboxCreateResponse = await client.call("SandboxRestore", request)
    return answer.sandbox_id


async def get(client: ControlClient, snapshot_id: str) -> snapshot_pb2.SnapshotInfo:
    info: snapshot_pb2.SnapshotInfo = await client.call("SnapshotGet", snapshot_pb2.SnapshotGetRequest(snapshot_id=snapshot_id))
    return info


async def delete(client: ControlClient, snapshot_id: str) -> None:
    await client.call("SnapshotDelete", snapshot_pb2.SnapshotDeleteRequest(snapshot_id=snapshot_id))


async def pin(client: ControlClient, snapshot_id: str, *, pinned: bool = True, ttl_s: float = 0) -> snapshot_pb2.SnapshotInfo:
    request = snapshot_pb2.SnapshotPinRequest(snapshot_id=snapshot_id, pinned=pinned, ttl_s=ttl_s)
    info: snapshot_pb2.SnapshotInfo = await client.call("SnapshotPin", request)
    return info


async def verify(client: ControlClient, snapshot_id: str) -> None:
    await client.call("SnapshotVerify", snapshot_pb2.SnapshotVerifyRequest(snapshot_id=snapshot_id))


async def listed(client: ControlClient, **fields: Any) -> list[str]:
    """Ids, newest first."""
    answer: snapshot_pb2.SnapshotListResponse = await client.call("SnapshotList", snapshot_pb2.SnapshotListRequest(**fields))
    return [info.snapshot_id for info in answer.snapshots]


async def until(node: FakeNode, condition: Callable[[], bool]) -> None:
    """Wait until what the node was told to store or to remove fulfils the condition."""
    async with asyncio.timeout(5):
        while not condition():
            node.memory.changed.clear()
            await node.memory.changed.wait()


async def stored(client: ControlClient, snapshot_id: str) -> None:
    """Wait until memory and files are in the store."""
    async with asyncio.timeout(5):
        while True:
            info = await get(client, snapshot_id)
            image = await client.call("ImageGet", image_pb2.ImageGetRequest(image_id=info.image_id))
            if info.stored and image.stored:
                return
            await asyncio.sleep(0.005)


async def sweep(cluster: Cluster) -> None:
    await cluster.router.parts.snapshots.sweeper.round()
