"""What a container booted ahead and a sandbox must have in common."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from cove.wire.common_pb2 import Resources as WireResources
from policies.egress import EgressPolicy, Mode
from policies.shapes import KEY_LENGTH, shape_key
from sandboxd.journal import Resources

RESOURCES = Resources(
    cpu_request_millis=125,
    cpu_limit_millis=16_125,
    memory_request_bytes=2**27,
    memory_limit_bytes=0,
    disk_limit_bytes=2**34,
    max_tasks=4096,
)
OPEN = EgressPolicy()


def test_router_and_node_find_the_same_key() -> None:
    wire = WireResources(**msgspec.structs.asdict(RESOURCES))
    key = shape_key("debian:3.11", RESOURCES, OPEN)
    assert key == shape_key("debian:3.11", wire, OPEN)
    assert len(key) == KEY_LENGTH


@pytest.mark.parametrize("field", msgspec.structs.fields(Resources), ids=lambda field: field.name)
def test_each_quantity_makes_another_shape(field: msgspec.structs.FieldInfo) -> None:
    other = msgspec.structs.replace(RESOURCES, **{field.name: getattr(RESOURCES, field.name) + 1})
    assert shape_key("debian:3.11", RESOURCES, OPEN) != shape_key("debian:3.11", other, OPEN)


def test_numbers_do_not_run_together() -> None:
    one = msgspec.structs.replace(RESOURCES, cpu_request_millis=1, cpu_limit_millis=21)
    other = msgspec.structs.replace(RESOURCES, cpu_request_millis=12, cpu_limit_millis=1)
    assert shape_key("debian:3.11", one, OPEN) != shape_key("debian:3.11", other, OPEN)


def test_networks_differ_in_what_a_container_is_made_with() -> None:
    policies = [
        [EgressPolicy(mode=Mode.BLOCKED)],
        [EgressPolicy(mode=Mode.ALLOWLIST), EgressPolicy(mode=Mode.ALLOWLIST, cidrs=("1.1.1.0/24",))],
        [OPEN, EgressPolicy(mode=Mode.RECORD), EgressPolicy(mode=Mode.ALLOWLIST, domains=("a.example",)), EgressPolicy(proxy="p")],
    ]
    keys = [{shape_key("debian:3.11", RESOURCES, policy) for policy in alike} for alike in policies]
    assert [len(alike) for alike in keys] == [1, 1, 1]
    assert all(one.isdisjoint(other) for one, other in itertools.combinations(keys, 2))


@pytest.mark.parametrize("image", ["rootfs:/srv/a.tar", ""])
def test_nothing_is_made_ahead_of_what_may_be_another_tomorrow(image: str) -> None:
    assert shape_key(image, RESOURCES, OPEN) == ""
