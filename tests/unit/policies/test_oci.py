"""Limits become cgroup values."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cove.wire.common_pb2 import Resources
from policies.oci import HOST_TASKS_PER_TASK, oci_resources, running_memory_limit, visible_cores

GIB = 2**30
NODE_MEMORY_BYTES = 24 * GIB


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    cpu_request_millis: int = 125
    cpu_limit_millis: int = 0
    memory_limit_bytes: int = 0
    max_tasks: int = 4096


def values(shape: Shape | Resources, cores: int = 4) -> dict[str, dict[str, int]]:
    return oci_resources(shape, cpus="0", cores=cores, node_memory_bytes=NODE_MEMORY_BYTES)


@pytest.mark.parametrize(
    ("limit_millis", "cores", "quota_us"),
    [(0, 4, None), (4000, 4, None), (16_125, 4, None), (3999, 4, 399_900), (500, 1, 50_000), (10, 4, 1000), (1, 2, 1000)],
)
def test_a_quota_only_where_it_throttles(limit_millis: int, cores: int, quota_us: int | None) -> None:
    cpu = values(Shape(cpu_limit_millis=limit_millis), cores)["cpu"]
    assert cpu.get("quota") == quota_us
    assert ("period" in cpu) == (quota_us is not None)


@settings(deadline=None)  # a busy machine
@given(st.integers(1, 1_024_000), st.integers(0, 1_040_000), st.integers(1, 256))
def test_the_kernel_takes_what_comes_out(request: int, limit: int, cores: int) -> None:
    """Bounds of cpu.shares and of quota and period: sched-design-CFS, sched-bwc in the kernel's documentation."""
    cpu = values(Shape(cpu_request_millis=request, cpu_limit_millis=limit), cores)["cpu"]
    assert 2 <= cpu["shares"] <= 262_144 or request > 256_000
    assert cpu.get("quota", 1000) >= 1000


def test_shares_follow_requests() -> None:
    assert values(Shape(cpu_request_millis=1000))["cpu"]["shares"] == 1024
    assert values(Shape(cpu_request_millis=1))["cpu"]["shares"] == 2


@pytest.mark.parametrize(
    ("asked", "given"), [(0, NODE_MEMORY_BYTES), (GIB, GIB), (NODE_MEMORY_BYTES, NODE_MEMORY_BYTES), (2**46, NODE_MEMORY_BYTES)]
)
def test_no_sandbox_may_have_more_memory_than_all_together(asked: int, given: int) -> None:
    assert values(Shape(memory_limit_bytes=asked))["memory"]["limit"] == given
    assert given <= running_memory_limit(asked, NODE_MEMORY_BYTES) <= NODE_MEMORY_BYTES


def test_a_running_sandbox_gets_the_sentrys_memory_on_top() -> None:
    assert running_memory_limit(GIB, NODE_MEMORY_BYTES) > GIB + 13 * 2**20


@settings(deadline=None)  # a busy machine
@given(st.integers(16, 131_072))
def test_the_hosts_task_limit_never_bites_before_the_sandboxs_own(max_tasks: int) -> None:
    assert values(Shape(max_tasks=max_tasks))["pids"]["limit"] > max_tasks * HOST_TASKS_PER_TASK + 100


def test_the_wire_type_fits() -> None:
    wire = Resources(cpu_request_millis=500, cpu_limit_millis=1000, memory_limit_bytes=GIB, max_tasks=64)
    shape = Shape(cpu_request_millis=500, cpu_limit_millis=1000, memory_limit_bytes=GIB, max_tasks=64)
    assert values(wire) == values(shape)


@pytest.mark.parametrize(("limit_millis", "cores", "visible"), [(0, 8, 8), (1, 8, 1), (1000, 8, 1), (1001, 8, 2), (16_000, 8, 8)])
def test_visible_cores(limit_millis: int, cores: int, visible: int) -> None:
    assert visible_cores(limit_millis, cores) == visible
