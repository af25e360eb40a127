"""What a spare is made of."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import msgspec
import pytest

from cove.types import SandboxId, TaskId, new_id
from policies.egress import EgressPolicy, Mode
from policies.egress.judge import Destination, judge
from policies.egress.ranges import Operator
from sandboxd.journal import Entry, Image, Layer, MemoryRef, Resources
from sandboxd.warm.spare import Model, shape_of

POLICIES = (
    EgressPolicy(),
    EgressPolicy(mode=Mode.BLOCKED),
    EgressPolicy(mode=Mode.RECORD),
    EgressPolicy(mode=Mode.ALLOWLIST),
    EgressPolicy(mode=Mode.ALLOWLIST, cidrs=("8.8.0.0/16",)),
    EgressPolicy(mode=Mode.ALLOWLIST, cidrs=("8.8.0.0/16",), domains=("example.com",)),
    EgressPolicy(proxy="p"),
)


def entry(policy: EgressPolicy = POLICIES[0]) -> Entry:
    """A sandbox's, with things in it that are its user's alone."""
    return Entry(
        sandbox_id=SandboxId(new_id("sb")),
        task_id=TaskId(new_id("ta")),
        command=[b"mine"],
        workdir="/mine",
        timeout_s=77,
        idle_timeout_s=78,
        resources=Resources(
            cpu_request_millis=1,
            cpu_limit_millis=2,
            memory_request_bytes=3,
            memory_limit_bytes=4,
            disk_limit_bytes=5,
            max_tasks=6,
        ),
        image=Image(image_id="im-x", layers=(Layer(base="debian:3.11"), Layer(layer_id="ly-x"))),
        network=policy,
        pty=True,
        verbose=True,
        guest_marker="00" * 16,
        created_at=1.0,
    )


@pytest.mark.parametrize("policy", POLICIES)
def test_a_spare_has_the_shape_of_what_it_is_for_and_its_policy_allows_nothing(policy: EgressPolicy) -> None:
    spare = Model.of(entry(policy)).entry()
    assert shape_of(spare) == shape_of(entry(policy)) != ""
    assert spare.network.has_resolver == policy.has_resolver
    assert (spare.network.mode is Mode.BLOCKED) == (policy.mode is Mode.BLOCKED)
    operator = Operator(pool=IPv4Network("10.0.0.0/16"), allow_private=False, exceptions=())
    assert not judge(spare.network, operator, Destination(address=IPv4Address("8.8.8.8"))).allowed
    assert not any(spare.network.allows_name(name) for name in ("example.com", "a.invalid", "localhost"))


def test_a_spare_has_nothing_of_the_one_it_is_modelled_on() -> None:
    model, spare = entry(), Model.of(entry()).entry()
    own = {"sandbox_id", "task_id", "command", "workdir", "timeout_s", "idle_timeout_s", "network", "pty", "verbose", "guest_marker"}
    for field in msgspec.structs.fields(Entry):
        value, theirs = getattr(spare, field.name), getattr(model, field.name)
        if field.name in ("image", "resources"):
            assert value == theirs
        elif field.name in own | {"created_at"}:
            assert value != theirs, field.name
        else:
            assert value == field.default, field.name


def test_two_spares_have_no_marker_and_no_id_in_common() -> None:
    one, other = (Model.of(entry()).entry() for _ in range(2))
    assert one.guest_marker != other.guest_marker
    assert one.sandbox_id != other.sandbox_id


def test_builds_and_restores_have_no_shape() -> None:
    build, restore = entry(), entry()
    build.build, restore.restore = True, MemoryRef(snapshot_id="sn-x")
    assert shape_of(build) == shape_of(restore) == ""


def test_a_model_knows_its_layers() -> None:
    assert Model.of(entry()).stands_on("ly-x")
    assert not Model.of(entry()).stands_on("ly-y")
