"""Bounds and defaults of what a sandbox may ask for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cove.exception import InvalidError
from cove.wire.common_pb2 import Resources, SandboxSpec
from policies.limits import DEFAULT_LIMITS, GIB, MIB, TIB, fill_resources
from policies.specs import fill_spec

UINT32 = st.integers(0, 2**32 - 1)
UINT64 = st.integers(0, 2**64 - 1)


def test_the_documented_defaults() -> None:
    assert fill_resources(Resources()) == Resources(
        cpu_request_millis=125,
        cpu_limit_millis=16_125,
        memory_request_bytes=128 * MIB,
        memory_limit_bytes=0,
        disk_limit_bytes=16 * GIB,
        max_tasks=4096,
    )
    spec = fill_spec(SandboxSpec())
    assert (spec.timeout_s, spec.idle_timeout_s, spec.image.debian) == (300, 0, "3.11")


@pytest.mark.parametrize(
    ("asked", "filled"),
    [
        ({"cpu_request_millis": 8000}, {"cpu_limit_millis": 24_000}),
        ({"cpu_request_millis": 1000, "cpu_limit_millis": 1000}, {"cpu_request_millis": 1000, "cpu_limit_millis": 1000}),
        ({"cpu_limit_millis": 50}, {"cpu_request_millis": 50, "cpu_limit_millis": 50}),
        ({"memory_limit_bytes": 64 * MIB}, {"memory_request_bytes": 64 * MIB}),
        ({"memory_limit_bytes": GIB}, {"memory_request_bytes": 128 * MIB}),
        ({"disk_limit_bytes": 3 * TIB}, {"disk_limit_bytes": 3 * TIB}),
    ],
)
def test_requests_and_limits_fill_each_other(asked: dict[str, int], filled: dict[str, int]) -> None:
    result = fill_resources(Resources(**asked))
    assert {name: getattr(result, name) for name in filled} == filled


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"cpu_request_millis": 2_000_000}, ("cpu request", "2000000", "1 to 1024000")),
        ({"cpu_request_millis": 2000, "cpu_limit_millis": 1000}, ("cpu request", "2000", "1000")),
        ({"memory_request_bytes": 2 * GIB, "memory_limit_bytes": GIB}, ("memory request", str(2 * GIB), str(GIB))),
        ({"memory_limit_bytes": 1}, ("memory limit", "1", str(16 * MIB))),
        ({"memory_request_bytes": 2**64 - 1}, ("memory request", str(2**64 - 1), str(64 * TIB))),
        ({"disk_limit_bytes": 3 * TIB + 1}, ("disk limit", str(3 * TIB + 1), str(3 * TIB))),
        ({"max_tasks": 15}, ("max_tasks", "15", "16 to")),
    ],
)
def test_what_is_out_of_range_is_named_with_its_value_and_range(fields: dict[str, int], said: tuple[str, ...]) -> None:
    with pytest.raises(InvalidError) as caught:
        fill_resources(Resources(**fields))
    assert all(part in str(caught.value) for part in said)
    assert caught.value.context["field"] == said[0]


@pytest.mark.parametrize(("timeout_s", "passes"), [(1, True), (86_400, True), (86_401, False), (2**32 - 1, False)])
def test_the_lifetime_is_at_most_a_day(timeout_s: int, passes: bool) -> None:
    if passes:
        assert fill_spec(SandboxSpec(timeout_s=timeout_s)).timeout_s == timeout_s
    else:
        with pytest.raises(InvalidError, match="timeout"):
            fill_spec(SandboxSpec(timeout_s=timeout_s))


def test_an_operator_moves_the_longest_lifetime_both_ways() -> None:
    week = DEFAULT_LIMITS.with_max_timeout(7 * 86_400)
    assert fill_spec(SandboxSpec(timeout_s=86_401, idle_timeout_s=90_000), week).timeout_s == 86_401
    minute = DEFAULT_LIMITS.with_max_timeout(60)
    assert fill_spec(SandboxSpec(), minute).timeout_s == 60
    with pytest.raises(InvalidError, match="idle_timeout"):
        fill_spec(SandboxSpec(idle_timeout_s=61), minute)


resources = st.fixed_dictionaries(
    {
        "cpu_request_millis": UINT32,
        "cpu_limit_millis": UINT32,
        "memory_request_bytes": UINT64,
        "memory_limit_bytes": UINT64,
        "disk_limit_bytes": UINT64,
        "max_tasks": UINT32,
    }
)
near = st.fixed_dictionaries(
    {
        "cpu_request_millis": st.integers(0, 20_000),
        "cpu_limit_millis": st.integers(0, 20_000),
        "memory_request_bytes": st.integers(0, GIB),
        "memory_limit_bytes": st.integers(0, GIB),
    }
)


@given(resources | near)
def test_anything_is_refused_or_filled_consistently(fields: dict[str, Any]) -> None:
    try:
        filled = fill_resources(Resources(**fields))
    except InvalidError:
        return
    assert 1 <= filled.cpu_request_millis <= filled.cpu_limit_millis
    assert filled.memory_limit_bytes == 0 or filled.memory_request_bytes <= filled.memory_limit_bytes
    for name, value in fields.items():
        assert value in (0, getattr(filled, name)), "what was asked for is given, not bent"
    assert fill_resources(filled) == filled
