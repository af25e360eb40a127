"""Images as tests ask for them: a node with a workbench, definitions, builds read to their end."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import msgspec

from cove.types import new_id
from cove.wire import common_pb2, control_pb2, image_pb2
from tests.integration.router.conftest import Cluster
from tests.support.fake_node import FakeNode
from tests.support.fake_workbench import Workbench
from tests.support.router_client import ControlClient


class Bench(msgspec.Struct):
    """A node that builds."""

    cluster: Cluster
    node: FakeNode
    work: Workbench

    @property
    def commands(self) -> list[str]:
        """Scripts that ran, in order."""
        return [process.argv[-1] for process in self.work.commands]

    def running(self) -> list[str]:
        """Sandboxes that have not ended."""
        return [item for item, status in self.node.sandboxes.items() if status.state != common_pb2.SANDBOX_STATE_STOPPED]


@asynccontextmanager
async def bench_on(cluster: Cluster, node_id: str = "node-a") -> AsyncIterator[Bench]:
    """A node with a data plane, joined to the cluster."""
    work = Workbench()
    async with work.serving():
        node = await cluster.node(node_id, http_url=work.http_url, layers=work.layers, extra=(work.handler(),))
        yield Bench(cluster, node, work)


class Built(msgspec.Struct):
    """What a build told."""

    image: image_pb2.ImageInfo
    logs: list[image_pb2.ImageBuildLog]

    @property
    def output(self) -> bytes:
        return b"".join(event.data for event in self.logs)


def layer(*commands: str, **fields: object) -> image_pb2.ImageLayer:
    return image_pb2.ImageLayer(commands=commands, **fields)  # type: ignore[arg-type]  # fields of any of its types


def definition(*layers: image_pb2.ImageLayer | str, debian: str = "3.11", **base: object) -> image_pb2.ImageDefinition:
    made = [layer(item) if isinstance(item, str) else item for item in layers]
    if base:
        return image_pb2.ImageDefinition(layers=made, **base)  # type: ignore[arg-type]  # fields of any of its types
    return image_pb2.ImageDefinition(debian=debian, layers=made)


async def build(client: ControlClient, what: image_pb2.ImageDefinition, *, force_build: bool = False, ignore_cache: bool = False) -> Built:
    """The build to its end. Raises: cove.exception.Error."""
    logs: list[image_pb2.ImageBuildLog] = []
    request = image_pb2.ImageBuildRequest(definition=what, force_build=force_build, ignore_cache=ignore_cache)
    async for event in client.stream("ImageBuild", request):
        if event.WhichOneof("event") == "image":
            return Built(event.image, logs)
        logs.append(event.log)
    raise AssertionError("the build ended without an image")


async def sandbox_of(client: ControlClient, image_id: str = "", **fields: object) -> str:
    """A new sandbox of an image."""
    reference = common_pb2.ImageRef(image_id=image_id) if image_id else common_pb2.ImageRef(debian="3.11")
    spec = common_pb2.SandboxSpec(image=reference, **fields)  # type: ignore[arg-type]  # fields of any of its types
    made: control_pb2.SandboxCreateResponse = await client.create(await client.app(), spec=spec)
    return made.sandbox_id


async def snapshot(client: ControlClient, sandbox_id: str, key: str = "", **fields: float) -> image_pb2.ImageInfo:
    request = image_pb2.SandboxSnapshotFilesystemRequest(sandbox_id=sandbox_id, idempotency_key=key or new_id("ik"), **fields)
    image: image_pb2.ImageInfo = await client.call("SandboxSnapshotFilesystem", request)
    return image


async def image_ids(client: ControlClient) -> list[str]:
    """All images, newest first."""
    return [image.image_id for image in (await client.call("ImageList")).images]


async def context_file(cluster: Cluster, path: str, content: bytes, mode: int = 0o644) -> image_pb2.ContextFile:
    """A file that was uploaded."""
    sha256 = hashlib.sha256(content)
    headers = {"cove-token-id": cluster.credentials.token_id, "cove-token-secret": cluster.credentials.token_secret}
    url = f"{cluster.http}/v1/blobs/sha256:{sha256.hexdigest()}"
    async with aiohttp.ClientSession() as session, session.put(url, data=content, headers=headers) as response:
        assert response.status == 201
    return image_pb2.ContextFile(path=path.encode(), mode=stat.S_IFREG | mode, sha256=sha256.digest(), size_bytes=len(content))


def directory(path: str, mode: int = 0o755) -> image_pb2.ContextFile:
    return image_pb2.ContextFile(path=path.encode(), mode=stat.S_IFDIR | mode)


def link(path: str, target: str) -> image_pb2.ContextFile:
    return image_pb2.ContextFile(path=path.encode(), mode=stat.S_IFLNK | 0o777, link_target=target.encode())
