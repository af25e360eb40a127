"""Creates under the ids of containers that nodes have booted ahead: each is given once, and none costs a create."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from cove.exception import AlreadyExistsError, InvalidError, ResourceExhaustedError
from cove.types import new_id
from cove.wire import common_pb2, control_pb2
from cove.wire.errors import decode
from policies.egress import policy_from_wire
from policies.shapes import shape_key
from policies.specs import fill_spec
from tests.integration.router.conftest import Cluster
from tests.support.fake_node import FakeNode


def shape(spec: common_pb2.SandboxSpec | None = None) -> str:
    """As a node would find it for a spec, or for an empty one."""
    filled = fill_spec(spec or common_pb2.SandboxSpec())
    return shape_key(f"debian:{filled.image.debian}", filled.resources, policy_from_wire(filled.network))


async def offer(node: FakeNode, count: int = 1, of: str = "") -> list[str]:
    """Have the node tell that it has ``count`` more spares; returns their ids."""
    ids = [new_id("sb") for _ in range(count)]
    node.spares |= dict.fromkeys(ids, of or shape())
    await node.report()
    return ids


async def test_a_create_that_fits_gets_a_spares_id_and_node(cluster: Cluster) -> None:
    nodes = [await cluster.node(f"node-{letter}") for letter in "abcd"]
    app_id = await cluster.client.app()
    for node in nodes:
        ids = await offer(node)
        made = await cluster.client.create(app_id)
        assert [made.sandbox_id] == ids == node.created


@pytest.mark.parametrize(
    "spec",
    [
        common_pb2.SandboxSpec(resources=common_pb2.Resources(memory_limit_bytes=2**30)),
        common_pb2.SandboxSpec(image=common_pb2.ImageRef(rootfs_path="/srv/a.tar")),
    ],
)
async def test_another_shape_gets_none(cluster: Cluster, spec: common_pb2.SandboxSpec) -> None:
    node = await cluster.node()
    ids = await offer(node)
    made = await cluster.client.create(await cluster.client.app(), spec=spec)
    assert made.sandbox_id not in ids


async def test_a_hundred_at_once_share_fifty(cluster: Cluster) -> None:
    node = await cluster.node()
    ids = await offer(node, 50)
    app_id = await cluster.client.app()
    made = await asyncio.gather(*(cluster.client.create(app_id) for _ in range(100)))
    given = [one.sandbox_id for one in made]
    assert len(set(given)) == 100
    assert set(ids) <= set(given)


async def test_old_news_give_no_id_twice(cluster: Cluster) -> None:
    node = await cluster.node()
    ids = await offer(node, 2)
    app_id = await cluster.client.app()
    made = []
    for _ in range(3):
        made.append((await cluster.client.create(app_id)).sandbox_id)
        await node.report()  # which still tells of both
    assert set(ids) < set(made)
    assert len(set(made)) == 3


async def test_an_id_that_somebody_has_is_passed_over(cluster: Cluster) -> None:
    """As with two routers over one database that were told of the same spare; or with a node that makes ids up."""
    node = await cluster.node()
    app_id = await cluster.client.app()
    (spare,) = await offer(node)
    assert (await cluster.client.create(app_id)).sandbox_id == spare
    await node.register()
    await node.report()
    other = await cluster.client.create(app_id, name="n", tags={"a": "b"})
    assert other.sandbox_id != spare
    assert (await cluster.client.get(other.sandbox_id)).tags == {"a": "b"}


async def test_a_refusing_node_with_a_spare_sends_the_sandbox_to_the_next(cluster: Cluster) -> None:
    first, second = await cluster.node("node-a"), await cluster.node("node-b")
    (spare,) = await offer(first)
    first.refusal = ResourceExhaustedError("full")
    made = await cluster.client.create(await cluster.client.app())
    assert made.sandbox_id == spare
    assert made.sandbox_id in second.sandboxes


async def test_a_create_that_fails_gives_the_spare_back(cluster: Cluster) -> None:
    node = await cluster.node()
    app_id = await cluster.client.app()
    await cluster.client.create(app_id, name="n")
    (spare,) = await offer(node)
    with pytest.raises(AlreadyExistsError):
        await cluster.client.create(app_id, name="n")
    node.refusal = ResourceExhaustedError("full")
    with pytest.raises(ResourceExhaustedError):
        await cluster.client.create(app_id)
    node.refusal = None
    assert (await cluster.client.create(app_id)).sandbox_id == spare


async def test_one_key_is_one_create_with_spares_too(cluster: Cluster) -> None:
    node = await cluster.node()
    ids = await offer(node, 20)
    app_id, key = await cluster.client.app(), new_id("ik")
    results = await asyncio.gather(*(cluster.client.create(app_id, idempotency_key=key) for _ in range(20)))
    assert len({one.sandbox_id for one in results}) == 1
    others = [(await cluster.client.create(app_id)).sandbox_id for _ in range(19)]
    assert {results[0].sandbox_id, *others} == set(ids)


async def test_an_unusable_node_gives_none(cluster: Cluster) -> None:
    first, second = await cluster.node("node-a"), await cluster.node("node-b")
    (spare,) = await offer(first)
    first.draining = True
    await first.report()
    made = await cluster.client.create(await cluster.client.app())
    assert made.sandbox_id != spare
    assert made.sandbox_id in second.sandboxes


@pytest.mark.parametrize("spare", [("sb-x", shape()), (new_id("sb"), "no key"), (new_id("sb"), shape() + "0")])
async def test_malformed_offers_are_refused_whole(cluster: Cluster, spare: tuple[str, str]) -> None:
    node = await cluster.node()
    node.spares = {new_id("sb"): shape(), spare[0]: spare[1]}
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await node.report()
    assert isinstance(decode(caught.value), InvalidError)
    (info,) = (await cluster.client.call("NodeList")).nodes
    assert info.spares == 0


async def test_node_list_tells(cluster: Cluster) -> None:
    node = await cluster.node()
    await offer(node, 3)
    answer: control_pb2.NodeListResponse = await cluster.client.call("NodeList")
    assert [info.spares for info in answer.nodes] == [3]
