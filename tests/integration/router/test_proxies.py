"""Proxies as the router knows them: by what nodes say of themselves."""

from __future__ import annotations

import pytest

from cove.exception import ConflictError, NotFoundError, ResourceExhaustedError
from cove.wire import common_pb2, control_pb2, network_pb2
from tests.integration.router.conftest import Cluster
from tests.support.fake_node import FakeNode


def asking(name: str, environment: str = "") -> control_pb2.ProxyGetRequest:
    return control_pb2.ProxyGetRequest(name=name, environment=environment)


async def with_proxy(cluster: Cluster, name: str) -> FakeNode:
    """Another node of the cluster, which has the proxy."""
    node = await cluster.node(f"node-with-{name}")
    node.proxies = [name]
    await node.register()
    await node.report(complete=True)
    return node


async def test_a_proxy_is_found_by_name_and_also_while_its_node_is_away(cluster: Cluster) -> None:
    await cluster.node()
    with pytest.raises(NotFoundError, match="'exit'"):
        await cluster.client.call("ProxyGet", asking("exit"))
    await with_proxy(cluster, "exit")
    found = await cluster.client.call("ProxyGet", asking("exit"))
    assert (found.name, found.proxy_id[:3]) == ("exit", "pr-")
    cluster.clock.advance(60.0)
    assert await cluster.client.call("ProxyGet", asking("exit", "dev")) == found


async def test_sandboxes_go_where_their_proxy_is(cluster: Cluster) -> None:
    await cluster.node()
    node, app = await with_proxy(cluster, "exit"), await cluster.client.app()
    for _ in range(5):
        made = await cluster.client.create(app, spec=common_pb2.SandboxSpec(network=network_pb2.NetworkPolicy(proxy="exit")))
        assert made.sandbox_id in node.created
    with pytest.raises(ResourceExhaustedError, match="'other'"):
        await cluster.client.create(app, spec=common_pb2.SandboxSpec(network=network_pb2.NetworkPolicy(proxy="other")))


async def test_a_proxy_that_the_sandboxs_node_lacks_is_no_policy_for_it(cluster: Cluster) -> None:
    await cluster.node()
    made = await cluster.client.create(await cluster.client.app())
    await with_proxy(cluster, "exit")
    policy = network_pb2.NetworkPolicy(proxy="exit")
    with pytest.raises(ConflictError, match="'exit'"):
        await cluster.client.call(
            "SandboxNetworkUpdate", network_pb2.SandboxNetworkUpdateRequest(sandbox_id=made.sandbox_id, policy=policy)
        )
