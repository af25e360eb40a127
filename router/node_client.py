"""The sole speaker to sandboxd: the node API, and the raw calls that the data-plane proxy passes on."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Sequence
from typing import Any, Final, Self, TypeVar

import aiohttp
import grpc
from google.protobuf.message import Message

from cove.types import NodeId, SandboxId
from cove.wire import common_pb2, image_pb2, network_pb2, node_pb2, snapshot_pb2
from cove.wire.errors import decode
from router.access import AccessKey
from router.node_sandbox import NodeSandbox
from router.nodes import Node

R = TypeVar("R", bound=Message)
RelayedCall = grpc.aio.StreamStreamCall[bytes, bytes]

MAX_MESSAGE_BYTES: Final = 16 * 2**20
"""Largest message either way: a status list of a full node, or a data-plane chunk of 1 MiB, with room to spare."""

_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # Channels to one address would share a connection otherwise, and a bulk stream delay a create.
    ("grpc.use_local_subchannel_pool", 1),
)


class NodeClient:
    """Channels to all nodes, opened on first use: one for the node API and one for relayed calls."""

    def __init__(self, key: AccessKey, *, timeout_s: float) -> None:
        self._key, self._timeout_s = key, timeout_s
        self._channels: dict[tuple[NodeId, str], tuple[str, grpc.aio.Channel]] = {}
        self._http: aiohttp.ClientSession | None = None

    async def create(self, node: Node, request: node_pb2.NodeCreateRequest) -> None:
        """Ask for a sandbox; asking again with the same id is harmless.

        Raises:  cove.exception.Error: the node's refusal; ConnectionError or ServiceError leave open what happened.
        """
        await self._call(node, "Create", request, node_pb2.NodeCreateResponse)

    async def terminate(self, node: Node, sandbox_id: SandboxId) -> None:
        """End a sandbox; the node answers when it knows of it, not when it is done.

        Raises:  cove.exception.Error: NotFoundError if it has none.
        """
        await self._call(node, "Terminate", node_pb2.NodeTerminateRequest(sandbox_id=sandbox_id), node_pb2.NodeTerminateResponse)

    async def status(self, node: Node, sandbox_id: SandboxId) -> common_pb2.SandboxStatus:
        """What the node knows of one sandbox.

        Raises:  cove.exception.Error: NotFoundError if it has none.
        """
        return await self._call(node, "Status", node_pb2.NodeStatusRequest(sandbox_id=sandbox_id), common_pb2.SandboxStatus)

    async def list_(self, node: Node) -> Sequence[common_pb2.SandboxStatus]:
        """Everything the node has.

        Raises:  cove.exception.Error: it could not be asked.
        """
        answer = await self._call(node, "List", node_pb2.NodeListSandboxesRequest(), node_pb2.NodeListSandboxesResponse)
        return answer.sandboxes

    async def update_network(self, node: Node, sandbox_id: SandboxId, policy: network_pb2.NetworkPolicy) -> network_pb2.NetworkPolicy:
        """The policy as it is in force. Raises: cove.exception.Error: the node's refusal; ConnectionError leaves open what happened."""
        request = network_pb2.SandboxNetworkUpdateRequest(sandbox_id=sandbox_id, policy=policy)
        return (await self._call(node, "NetworkUpdate", request, network_pb2.SandboxNetworkUpdateResponse)).policy

    async def take_layer(self, node: Node, request: node_pb2.LayerSnapshotRequest, *, timeout_s: float) -> node_pb2.LayerSnapshotResponse:
        """Make a sandbox's changes a layer; asking again with the same layer id is harmless.

        Raises:  cove.exception.Error: the node's refusal; ConnectionError or ServiceError leave open what happened.
        """
        return await self._call(node, "LayerSnapshot", request, node_pb2.LayerSnapshotResponse, timeout_s=timeout_s)

    async def store_layer(self, node: Node, layer: image_pb2.LayerRef, *, timeout_s: float) -> image_pb2.LayerRef:
        """Have the node bring a layer to the store. Raises: cove.exception.Error: NotFoundError if it has none."""
        request = node_pb2.LayerStoreRequest(layer=layer)
        return await self._call(node, "LayerStore", request, image_pb2.LayerRef, timeout_s=timeout_s)

    async def list_layers(self, node: Node) -> Sequence[str]:
        """Ids of all layers on the node. Raises: cove.exception.Error: it could not be asked."""
        answer = await self._call(node, "LayerList", node_pb2.LayerListRequest(), node_pb2.LayerListResponse)
        return answer.layer_ids

    async def remove_layer(self, node: Node, layer_id: str) -> None:
        """Raises: cove.exception.Error: ConflictError if a sandbox uses it."""
        await self._call(node, "LayerRemove", node_pb2.LayerRemoveRequest(layer_id=layer_id), node_pb2.LayerRemoveResponse)

    async def take_memory(
        self, node: Node, request: snapshot_pb2.MemorySnapshotRequest, *, timeout_s: float
    ) -> snapshot_pb2.MemorySnapshotResponse:
        """Make a sandbox's memory a snapshot and its changes a layer; asking again with the same ids is harmless.

        Raises:  cove.exception.Error: the node's refusal; ConnectionError or ServiceError leave open what happened.
        """
        return await self._call(node, "MemorySnapshot", request, snapshot_pb2.MemorySnapshotResponse, timeout_s=timeout_s)

    async def pause(self, node: Node, sandbox_id: SandboxId, *, timeout_s: float) -> common_pb2.SandboxStatus:
        """Pause a sandbox; harmless where it is paused. Returns: how it is then. Raises: cove.exception.Error."""
        request = snapshot_pb2.SandboxPauseRequest(sandbox_id=sandbox_id)
        return await self._call(node, "Pause", request, common_pb2.SandboxStatus, timeout_s=timeout_s)

    async def resume(self, node: Node, sandbox_id: SandboxId, *, timeout_s: float) -> common_pb2.SandboxStatus:
        """Let a sandbox run; harmless where it does. Returns: how it is then. Raises: cove.exception.Error."""
        request = snapshot_pb2.SandboxResumeRequest(sandbox_id=sandbox_id)
        return await self._call(node, "Resume", request, common_pb2.SandboxStatus, timeout_s=timeout_s)

    async def store_memory(self, node: Node, snapshot_id: str, *, timeout_s: float) -> snapshot_pb2.MemoryRef:
        """Have the node bring a snapshot's memory to the store. Raises: cove.exception.Error: NotFoundError if it has none."""
        request = snapshot_pb2.MemoryStoreRequest(snapshot_id=snapshot_id)
        return await self._call(node, "MemoryStore", request, snapshot_pb2.MemoryRef, timeout_s=timeout_s)

    async def list_memories(self, node: Node) -> Sequence[str]:
        """Ids of all snapshots whose memory is on the node. Raises: cove.exception.Error: it could not be asked."""
        answer = await self._call(node, "MemoryList", snapshot_pb2.MemoryListRequest(), snapshot_pb2.MemoryListResponse)
        return answer.snapshot_ids

    async def remove_memory(self, node: Node, snapshot_id: str) -> None:
        """Raises: cove.exception.Error."""
        request = snapshot_pb2.MemoryRemoveRequest(snapshot_id=snapshot_id)
        await self._call(node, "MemoryRemove", request, snapshot_pb2.MemoryRemoveResponse)

    async def verify_memory(self, node: Node, memory: snapshot_pb2.MemoryRef, *, timeout_s: float) -> None:
        """Have every byte of a snapshot's memory compared. Raises: cove.exception.Error: DataLossError naming what is damaged."""
        request = snapshot_pb2.MemoryVerifyRequest(memory=memory)
        await self._call(node, "MemoryVerify", request, snapshot_pb2.MemoryVerifyResponse, timeout_s=timeout_s)

    async def diff(self, node: Node, request: node_pb2.NodeDiffRequest) -> AsyncIterator[image_pb2.FileChanges]:
        """What differs, in batches. Raises: cove.exception.Error."""
        channel = await self._channel(node, "relay")
        stub: Any = channel.unary_stream(
            "/cove.v1.Node/Diff",
            request_serializer=node_pb2.NodeDiffRequest.SerializeToString,
            response_deserializer=image_pb2.FileChanges.FromString,
        )
        try:
            async for changes in stub(request, metadata=self._bearer(node)):
                yield changes
        except grpc.RpcError as error:
            raise decode(error) from error

    async def sandbox(self, node: Node, sandbox_id: SandboxId) -> NodeSandbox:
        """One sandbox's data plane, for the router's own use."""
        return NodeSandbox(await self._channel(node, "relay"), self._session(), self._key, node, sandbox_id)

    def _session(self) -> aiohttp.ClientSession:
        if self._http is None:
            self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._timeout_s), trust_env=False)
        return self._http

    async def relay(
        self,
        node: Node,
        method: str,
        requests: AsyncIterable[bytes],
        *,
        metadata: Sequence[tuple[str, str | bytes]],
        timeout_s: float | None,
    ) -> RelayedCall:
        """Begin a call whose messages stay bytes; it is the caller's to read and to cancel."""
        channel = await self._channel(node, "relay")
        # Every cardinality looks the same on the wire, so that one kind of call serves all methods.
        start: Any = channel.stream_stream(method, request_serializer=bytes, response_deserializer=bytes)
        call: RelayedCall = start(requests, metadata=metadata, timeout=timeout_s)
        return call

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        channels, self._channels = self._channels, {}
        for _, channel in channels.values():
            await channel.close(grace=None)
        if self._http is not None:
            await self._http.close()

    def _bearer(self, node: Node) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self._key.node_token(node.node_id)}"),)

    async def _call(self, node: Node, method: str, request: Message, response: type[R], *, timeout_s: float = 0) -> R:
        """``timeout_s``: 0 is that of calls which only admit work."""
        channel = await self._channel(node, "api")
        stub: Any = channel.unary_unary(
            f"/cove.v1.Node/{method}", request_serializer=type(request).SerializeToString, response_deserializer=response.FromString
        )
        try:
            answer: R = await stub(request, metadata=self._bearer(node), timeout=timeout_s or self._timeout_s)
        except grpc.RpcError as error:
            raise decode(error) from error
        return answer

    async def _channel(self, node: Node, purpose: str) -> grpc.aio.Channel:
        """The channel to the node's present address; one to an earlier address is closed.

        So is one that could not connect: until its next attempt, in a second or in two minutes, calls would fail, though the node is back.
        """
        address = node.record.grpc_address
        known = self._channels.get((node.node_id, purpose))
        if known and known[0] == address and known[1].get_state() is not grpc.ChannelConnectivity.TRANSIENT_FAILURE:
            return known[1]
        channel = grpc.aio.insecure_channel(address, options=_OPTIONS)
        self._channels[node.node_id, purpose] = (address, channel)
        if known:
            await known[1].close(grace=self._timeout_s)
        return channel
