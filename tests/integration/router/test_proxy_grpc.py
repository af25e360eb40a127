"""The data plane through the router: what a client sees must be what the node said, in every cardinality."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from cove.exception import AuthError, ConnectionError, NotFoundError
from cove.wire import common_pb2, data_pb2
from cove.wire.errors import decode
from tests.integration.router.conftest import Cluster
from tests.support.fake_data_plane import CHUNK, FakeDataPlane

EOF: Any = vars(grpc.aio)["EOF"]  # the stubs lack it


class Plane:
    """A client that was sent to the router instead of the node."""

    def __init__(self, cluster: Cluster, node: FakeDataPlane, access: common_pb2.Access, sandbox_id: str) -> None:
        self.cluster, self.node, self.access, self.sandbox_id = cluster, node, access, sandbox_id
        self.channel = cluster.client.channel
        self.metadata: tuple[tuple[str, str | bytes], ...] = (("authorization", f"Bearer {access.token}"),)

    def unary(self, method: str, request: Any, response: Any = data_pb2.ProcessStatus, **options: Any) -> Any:
        stub: Any = self.channel.unary_unary(
            f"/cove.v1.DataPlane/{method}", request_serializer=type(request).SerializeToString, response_deserializer=response.FromString
        )
        return stub(request, metadata=options.pop("metadata", self.metadata), **options)

    def output(self) -> Any:
        stub: Any = self.channel.unary_stream(
            "/cove.v1.DataPlane/ProcessOutput",
            request_serializer=data_pb2.ProcessOutputRequest.SerializeToString,
            response_deserializer=data_pb2.OutputChunk.FromString,
        )
        return stub(data_pb2.ProcessOutputRequest(sandbox_id=self.sandbox_id), metadata=self.metadata)


@pytest.fixture
async def plane(cluster: Cluster) -> Plane:
    data_plane = FakeDataPlane()
    node = await cluster.node(extra=(data_plane.handler(),))
    made = await cluster.client.create(await cluster.client.app())
    await node.run(made.sandbox_id)
    return Plane(cluster, data_plane, made.access, made.sandbox_id)


async def test_unary_keeps_message_and_metadata_both_ways(plane: Plane) -> None:
    metadata = (*plane.metadata, ("x-mine", "1"), ("x-mine-bin", b"\x00\xfe"), ("cove-token-secret", "as-secret"))
    call = plane.unary("ProcessGet", data_pb2.ProcessGetRequest(exec_id="e\u00e9"), metadata=metadata, timeout=7)
    assert (await call).exec_id == "e\u00e9"
    assert plane.node.metadata["x-mine"] == "1"
    assert plane.node.metadata["x-mine-bin"] == b"\x00\xfe"
    assert plane.node.metadata["authorization"] == f"Bearer {plane.access.token}"
    assert "cove-token-secret" not in plane.node.metadata
    assert plane.node.deadline_s is not None and plane.node.deadline_s < 8  # gRPC rounds up
    initial, trailing = dict(await call.initial_metadata()), dict(await call.trailing_metadata())
    assert (initial["initial"], initial["initial-bin"]) == ("first", b"\0\xff")
    assert (trailing["trailing"], trailing["trailing-bin"]) == ("last", b"\xff\0")


async def test_errors_keep_their_record(plane: Plane) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await plane.unary("ProcessList", data_pb2.ProcessListRequest())
    error = decode(caught.value)
    assert isinstance(error, NotFoundError)
    assert (error.cause, error.remedy, error.context) == ("no such thing", "look elsewhere", {"a": "b"})


async def test_a_call_that_the_node_ends_as_cancelled_is_cancelled_for_the_client(plane: Plane) -> None:
    call = plane.unary("ProcessSignal", data_pb2.ProcessSignalRequest())
    with contextlib.suppress(asyncio.CancelledError, grpc.aio.AioRpcError):
        await call
    assert await call.code() is grpc.StatusCode.CANCELLED
    assert await call.details() == "cancelled by the node"


async def test_server_stream_arrives_whole_and_in_order(plane: Plane) -> None:
    chunks = [chunk async for chunk in plane.output()]
    assert [chunk.offset for chunk in chunks] == [0, len(CHUNK), 2 * len(CHUNK), 3 * len(CHUNK)]
    assert b"".join(chunk.data for chunk in chunks) == CHUNK * 3
    assert chunks[-1].eof


async def test_a_slow_reader_stops_the_node(plane: Plane) -> None:
    """No buffering in between: what the node could send is bounded by the windows of two connections, not by memory."""
    plane.node.chunks = 0
    call = plane.output()
    await call.read()
    sent = -1
    while sent != plane.node.sent:
        sent = plane.node.sent
        await asyncio.sleep(0.2)
    assert sent * len(CHUNK) < 64 << 20
    call.cancel()
    await asyncio.wait_for(plane.node.cancelled.wait(), 5)


async def test_cancelling_reaches_the_node(plane: Plane) -> None:
    call = plane.unary("ProcessWait", data_pb2.ProcessWaitRequest())
    await asyncio.wait_for(plane.node.hanging.wait(), 5)
    call.cancel()
    await asyncio.wait_for(plane.node.cancelled.wait(), 5)


async def test_a_deadline_reaches_the_node(plane: Plane) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await plane.unary("ProcessWait", data_pb2.ProcessWaitRequest(), timeout=0.2)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await asyncio.wait_for(plane.node.cancelled.wait(), 5)


async def test_client_stream_and_bidirectional_stream(plane: Plane) -> None:
    async def messages() -> AsyncIterator[bytes]:
        for part in (b"a", b"", b"b" * 1_000_000):
            yield part

    upload: Any = plane.channel.stream_unary("/cove.v1.DataPlane/Upload", request_serializer=bytes, response_deserializer=bytes)
    assert await upload(messages(), metadata=plane.metadata) == b"a" + b"b" * 1_000_000
    assert len(plane.node.streamed) == 3

    talk: Any = plane.channel.stream_stream("/cove.v1.DataPlane/Talk", request_serializer=bytes, response_deserializer=bytes)
    call = talk(metadata=plane.metadata)
    for word in (b"one", b"two"):
        await call.write(word)
        assert await call.read() == word.upper()
    await call.done_writing()
    assert await call.read() is EOF
    assert await call.code() is grpc.StatusCode.OK


@pytest.mark.parametrize("authorization", [None, "", "Bearer ", "Bearer x.y.z", "Basic abc", "Bearer " + "a" * 8192])
async def test_nothing_passes_without_a_valid_token(plane: Plane, authorization: str | None) -> None:
    metadata = () if authorization is None else (("authorization", authorization),)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await plane.unary("ProcessGet", data_pb2.ProcessGetRequest(), metadata=metadata)
    assert isinstance(decode(caught.value), AuthError)
    assert plane.node.metadata == {}


async def test_an_expired_token_says_so_even_if_it_was_good_before(plane: Plane) -> None:
    await plane.unary("ProcessGet", data_pb2.ProcessGetRequest())
    plane.cluster.clock.advance(901)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await plane.unary("ProcessGet", data_pb2.ProcessGetRequest())
    error = decode(caught.value)
    assert (caught.value.code(), error.code) == (grpc.StatusCode.UNAUTHENTICATED, "token_expired")


async def test_the_token_of_one_role_does_not_open_another(plane: Plane) -> None:
    node_token = plane.cluster.router.parts.secrets.access_key.node_token("node-a")  # type: ignore[arg-type]  # a literal id
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await plane.unary("ProcessGet", data_pb2.ProcessGetRequest(), metadata=(("authorization", f"Bearer {node_token}"),))
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_dead_node_is_unreachable_not_an_internal_error(plane: Plane, cluster: Cluster) -> None:
    await cluster.nodes["node-a"].stop()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await plane.unary("ProcessGet", data_pb2.ProcessGetRequest())
    error = decode(caught.value)
    assert isinstance(error, ConnectionError) and error.retryable
    assert "127.0.0.1" not in str(error)


async def test_a_node_that_dies_in_mid_stream_ends_the_stream_with_an_error(plane: Plane, cluster: Cluster) -> None:
    plane.node.chunks = 0
    call = plane.output()
    await call.read()
    stopping = asyncio.create_task(cluster.nodes["node-a"].stop())
    with pytest.raises(grpc.aio.AioRpcError):
        while await call.read() is not EOF:
            pass
    await stopping


async def test_other_services_do_not_pass(plane: Plane) -> None:
    stub: Any = plane.channel.unary_unary("/cove.v1.Node/List", request_serializer=bytes, response_deserializer=bytes)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub(b"", metadata=plane.metadata)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
