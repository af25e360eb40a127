"""What crosses the wire, in both directions; what a node sends is hostile."""

from __future__ import annotations

import base64
import contextlib
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from cove.exception import InvalidError
from cove.types import AppId, EndReason, NodeId, SandboxId, TaskId
from cove.wire import common_pb2, node_pb2
from router.convert import from_cursor, from_registration, from_status, to_cursor, to_status
from router.db.records import Observed, SandboxRecord, SandboxState

ID = SandboxId("sb-" + "0" * 22)
times = st.floats(0, 2e9)


def record(observed: Observed, created_at: float = 1.0) -> SandboxRecord:
    return SandboxRecord(
        sandbox_id=ID,
        task_id=TaskId("ta-1"),
        workspace="w",
        environment="e",
        app_id=AppId("ap-1"),
        name="",
        created_at=created_at,
        node_id=NodeId("n"),
        observed=observed,
    )


def observations() -> st.SearchStrategy[Observed]:
    alive = st.builds(Observed, st.sampled_from([SandboxState.PENDING, SandboxState.RUNNING]), times, times, times)
    ended = st.builds(
        Observed,
        st.sampled_from([SandboxState.STOPPING, SandboxState.STOPPED]),
        times,
        times,
        times,
        st.sampled_from(EndReason),
        st.integers(-(2**31), 2**31 - 1),
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=1024),
        st.floats(1, 2e9),
    )
    return alive | ended


@given(observations())
def test_a_status_survives_the_round_trip(observed: Observed) -> None:
    assert from_status(to_status(record(observed)), now=5.0) == (ID, observed)


def test_every_end_reason_of_the_contract_has_its_twin() -> None:
    names = {name.removeprefix("END_REASON_") for name in common_pb2.EndReason.keys()}  # noqa: SIM118  # not a dict
    assert names - {"UNSPECIFIED"} == {reason.name for reason in EndReason}
    assert {name.removeprefix("SANDBOX_STATE_"): number for name, number in common_pb2.SandboxState.items() if number} == {
        state.name: state.value for state in SandboxState
    }


@pytest.mark.parametrize("reason", [0, 99])
def test_an_end_without_a_known_reason_is_an_end(reason: int) -> None:
    status = common_pb2.SandboxStatus(sandbox_id=ID, state=common_pb2.SANDBOX_STATE_STOPPED)
    status.result.reason = reason  # type: ignore[assignment]  # a newer node's
    _, observed = from_status(status, now=7.0)
    assert (observed.reason, observed.ended_at) == (EndReason.INTERNAL_FAILURE, 7.0)


def test_a_result_counts_only_at_the_end_and_is_cut() -> None:
    status = common_pb2.SandboxStatus(sandbox_id=ID, state=common_pb2.SANDBOX_STATE_RUNNING)
    status.result.message = "x" * 5000 + "\0"
    assert from_status(status, now=7.0)[1] == Observed(SandboxState.RUNNING)
    status.state = common_pb2.SANDBOX_STATE_STOPPING
    assert len(from_status(status, now=7.0)[1].message) == 1024


@given(st.binary(max_size=200))
def test_any_bytes_are_a_status_or_an_invalid_one(data: bytes) -> None:
    try:
        status = common_pb2.SandboxStatus.FromString(data)
    except DecodeError:
        return
    with contextlib.suppress(InvalidError):
        from_status(status, now=1.0)


@given(st.text())
def test_cursors_of_others_are_invalid(text: str) -> None:
    try:
        found = from_cursor(text)
    except InvalidError:
        return
    assert found is None or from_cursor(to_cursor(*found)) == found


@given(times)
def test_a_cursor_says_where_to_go_on(created_at: float) -> None:
    assert from_cursor(to_cursor(created_at, ID)) == (created_at, ID)


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b'["1", "x"]', b'[1, "x", 2]', b"[NaN, 1]", b'[1e999, "x"]', b"\xff"])
def test_cursors_that_decode_to_something_else(content: bytes) -> None:
    encoded = base64.urlsafe_b64encode(content).decode()
    if encoded:
        with pytest.raises(InvalidError):
            from_cursor(encoded)


@pytest.mark.parametrize("address", ["10.0.0.1:1", "[::1]:80", "node-1.example:65535"])
def test_addresses_of_nodes(address: str) -> None:
    request = node_pb2.RegisterRequest(node_id="n", grpc_address=address, http_url=f"https://{address}/base/")
    assert from_registration(request).http_url == f"https://{address}/base"


@pytest.mark.parametrize(
    "change",
    [
        {"grpc_address": "h:1\n"},
        {"grpc_address": "unix:x"},
        {"grpc_address": "dns:///h:1"},
        {"http_url": "http://h/?q"},
        {"http_url": "http://h/#f"},
        {"http_url": "gopher://h/"},
        {"http_url": "http://h/" + "x" * 600},
        {"debian_pythons": ["3.11"] * 33},
        {"proxies": ["exit"] * 257},
        {"capacity": common_pb2.Resources(memory_request_bytes=2**63)},
    ],
)
def test_registrations_that_would_lead_elsewhere(change: dict[str, Any]) -> None:
    fields = {"node_id": "n", "grpc_address": "h:1", "http_url": "http://h", **change}
    with pytest.raises(InvalidError):
        from_registration(node_pb2.RegisterRequest(**fields))
