"""The table of remote methods against the contract, and the pauses between attempts."""

from __future__ import annotations

import asyncio
import itertools

import grpc
import pytest

from cove._transport import methods, plane, retry
from cove._transport.methods import Method, Streamed
from cove.exception import ConnectionError, Error, NotFoundError, ServiceError
from cove.wire import control_pb2, data_pb2

TABLE = {value.path: value for value in vars(methods).values() if isinstance(value, Method)}


def test_every_method_of_the_contract_is_there_with_its_types() -> None:
    described = {
        f"/{service.full_name}/{method.name}": method
        for service in (control_pb2.DESCRIPTOR.services_by_name["Control"], data_pb2.DESCRIPTOR.services_by_name["DataPlane"])
        for method in service.methods
    }
    operators_own = {"TokenCreate", "TokenList", "TokenRevoke", "NodeList"}  # of the command line, not of the SDK
    assert set(TABLE) == {path for path in described if path.rpartition("/")[2] not in operators_own}
    for path, method in TABLE.items():
        assert method.decode(b"").DESCRIPTOR is described[path].output_type
        assert isinstance(method, Streamed) == described[path].server_streaming
        assert not described[path].client_streaming


def test_pauses_grow_to_a_bound_and_differ() -> None:
    first, second = (list(itertools.islice(retry.pauses(), 20)) for _ in range(2))
    assert first != second
    assert all(retry.FIRST_PAUSE_S / 2 <= pause <= retry.LONGEST_PAUSE_S for pause in first)
    assert first[-1] >= retry.LONGEST_PAUSE_S / 2


async def test_patience_starts_anew_with_every_success() -> None:
    attempts, error = retry.Attempts(0.15), ConnectionError("gone")
    loop = asyncio.get_running_loop()
    start = loop.time()
    with pytest.raises(ConnectionError):
        while True:
            await attempts.pause(error)
    assert 0.1 < loop.time() - start < 2
    attempts.succeeded()
    await attempts.pause(error)


async def test_no_patience_is_no_second_attempt() -> None:
    with pytest.raises(ConnectionError):
        await retry.Attempts(0).pause(ConnectionError("gone"))


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (grpc.StatusCode.UNAVAILABLE, ConnectionError),
        (grpc.StatusCode.DEADLINE_EXCEEDED, ConnectionError),
        (grpc.StatusCode.CANCELLED, ConnectionError),  # the server's gRPC dropped it before any code of ours saw it
        (grpc.StatusCode.NOT_FOUND, NotFoundError),
        (grpc.StatusCode.UNKNOWN, ServiceError),
    ],
    ids=str,
)
def test_what_grpc_itself_says(code: grpc.StatusCode, expected: type[Error]) -> None:
    empty = grpc.aio.Metadata()
    assert type(plane.decode(grpc.aio.AioRpcError(code, empty, empty, code.name, None))) is expected
