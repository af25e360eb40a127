"""What callers say and hear of a sandbox's network."""

from __future__ import annotations

import pytest

from cove._async.app import _App
from cove._async.client import _Client
from cove._async.sandbox import _Sandbox
from cove.exception import InvalidError
from cove.wire import network_pb2
from cove.wire.network_pb2 import NetworkMode, NetworkPolicy
from tests.support.fake_server import World

LIST, RECORD = NetworkMode.NETWORK_MODE_ALLOWLIST, NetworkMode.NETWORK_MODE_RECORD

POLICIES = [
    ({}, NetworkPolicy()),
    ({"block_network": True}, NetworkPolicy(mode=NetworkMode.NETWORK_MODE_BLOCKED)),
    ({"cidr_allowlist": []}, NetworkPolicy(mode=LIST)),
    ({"cidr_allowlist": ["192.0.2.0/24"]}, NetworkPolicy(mode=LIST, cidrs=["192.0.2.0/24"])),
    ({"domain_allowlist": ("a.example",)}, NetworkPolicy(mode=LIST, domains=["a.example"])),
    ({"cidr_allowlist": ["192.0.2.0/24"], "domain_allowlist": []}, NetworkPolicy(mode=LIST, cidrs=["192.0.2.0/24"])),
    ({"record_network": True}, NetworkPolicy(mode=RECORD)),
]


@pytest.fixture
async def app(client: _Client) -> _App:
    return await _App.lookup("app", client=client, create_if_missing=True)


@pytest.mark.parametrize(("options", "policy"), POLICIES)
async def test_arguments_make_a_policy(client: _Client, app: _App, world: World, options: dict[str, object], policy: NetworkPolicy) -> None:
    sandbox = await _Sandbox.create(app=app, client=client, **options)  # type: ignore[arg-type]  # of many types
    assert world.only.spec.network == policy
    await sandbox.update_network(cidr_allowlist=["198.51.100.0/24"])
    await sandbox.update_network(**options)  # type: ignore[arg-type]  # likewise
    assert world.only.spec.network == policy


@pytest.mark.parametrize(
    "options",
    [
        {"block_network": True, "cidr_allowlist": []},
        {"block_network": True, "record_network": True},
        {"record_network": True, "domain_allowlist": ["a.example"]},
        {"cidr_allowlist": "192.0.2.0/24"},
        {"domain_allowlist": "a.example"},
        {"cidr_allowlist": [b"192.0.2.0/24"]},
    ],
)
async def test_contradictions_and_wrong_types_are_refused(client: _Client, app: _App, world: World, options: dict[str, object]) -> None:
    with pytest.raises(InvalidError):
        await _Sandbox.create(app=app, client=client, **options)  # type: ignore[arg-type]  # wrong on purpose
    assert not world.sandboxes


async def test_the_log_and_the_summary(client: _Client, app: _App, world: World) -> None:
    sandbox = await _Sandbox.create(app=app, client=client, record_network=True)
    allowed = {"verdict": network_pb2.NETWORK_VERDICT_ALLOWED, "protocol": "tcp", "port": 443, "rule": "open"}
    world.only.network = [
        network_pb2.NetworkRecord(cursor=3, count=2, address="192.0.2.1", name="a.example", **allowed),  # type: ignore[arg-type]  # of many types
        network_pb2.NetworkRecord(cursor=1, count=1, address="192.0.2.2", **allowed),  # type: ignore[arg-type]  # likewise
        network_pb2.NetworkRecord(
            cursor=2, count=9, verdict=network_pb2.NETWORK_VERDICT_DENIED, protocol="icmp", address="10.0.0.1", rule="private", remedy="no"
        ),
    ]
    records = [record async for record in sandbox.network_log()]
    assert [(record.event, record.address, record.port, record.count) for record in records] == [
        ("egress_allowed", "192.0.2.2", 443, 1),
        ("egress_denied", "10.0.0.1", 0, 9),
        ("egress_allowed", "192.0.2.1", 443, 2),
    ]
    assert (records[1].rule, records[1].remedy) == ("private", "no")
    summary = await sandbox.network_summary()
    assert (summary.mode, summary.used_cidrs, summary.used_domains) == ("record", ["192.0.2.2/32"], ["a.example"])
    assert (summary.allowed, summary.denied) == (2, 1)


async def test_a_log_that_is_cut_goes_on_where_it_was(client: _Client, app: _App, world: World) -> None:
    sandbox = await _Sandbox.create(app=app, client=client)
    world.only.network = [network_pb2.NetworkRecord(cursor=number, count=1, address=f"192.0.2.{number}") for number in range(1, 8)]
    world.cut_after = 2
    assert [record.address async for record in sandbox.network_log(follow=True)] == [f"192.0.2.{number}" for number in range(1, 8)]
