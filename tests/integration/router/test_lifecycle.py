"""One sandbox from create to its end, through the router's real edges."""

from __future__ import annotations

import asyncio

import pytest

from cove.exception import NotFoundError
from cove.wire import common_pb2, control_pb2
from tests.integration.router.conftest import Cluster


async def test_create_run_wait_stop(cluster: Cluster) -> None:
    node = await cluster.node()
    app_id = await cluster.client.app()
    made = await cluster.client.create(app_id, name="one", tags={"k": "v"})
    assert node.created == [made.sandbox_id]
    assert (made.access.grpc_address, made.access.http_url) == (node.address, node.http_url)

    info = await cluster.client.get(made.sandbox_id)
    assert (info.name, dict(info.tags), info.node_id, info.task_id) == ("one", {"k": "v"}, "node-a", made.task_id)
    assert info.status.state == common_pb2.SANDBOX_STATE_PENDING

    await node.run(made.sandbox_id)
    assert (await cluster.client.get(made.sandbox_id)).status.state == common_pb2.SANDBOX_STATE_RUNNING
    waiting = asyncio.create_task(cluster.client.wait(made.sandbox_id, 30))
    await node.end(made.sandbox_id, "END_REASON_FAILURE", 3)
    status = await waiting
    assert (status.state, status.result.reason, status.result.exit_code) == (
        common_pb2.SANDBOX_STATE_STOPPED,
        common_pb2.END_REASON_FAILURE,
        3,
    )
    assert (await cluster.client.call("SandboxAccess", control_pb2.SandboxAccessRequest(sandbox_id=made.sandbox_id))).token


async def test_terminate_reaches_the_node_and_is_idempotent(cluster: Cluster) -> None:
    node = await cluster.node()
    made = await cluster.client.create(await cluster.client.app())
    await node.run(made.sandbox_id)
    await cluster.client.terminate(made.sandbox_id)
    await node.report(made.sandbox_id)
    await cluster.client.terminate(made.sandbox_id)
    status = await cluster.client.wait(made.sandbox_id, 0)
    assert status.result.reason == common_pb2.END_REASON_TERMINATED
    assert [method for method, _ in node.calls] == ["Create", "Terminate"]


async def test_wait_gives_the_state_after_its_time(cluster: Cluster) -> None:
    await cluster.node()
    made = await cluster.client.create(await cluster.client.app())
    assert (await cluster.client.wait(made.sandbox_id, 0.05)).state == common_pb2.SANDBOX_STATE_PENDING
    with pytest.raises(NotFoundError):
        await cluster.client.wait("sb-" + "0" * 22, 10)


async def test_hello_tells_workspace_and_pythons(cluster: Cluster) -> None:
    await cluster.node()
    hello = await cluster.client.call("Hello")
    assert (hello.workspace, hello.environment, list(hello.debian_pythons)) == ("main", "main", ["3.11"])
    assert hello.server_version
