"""Two ways lead to a sandbox's place in the packet filter, a script and single changes: both come to the same, and back to nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, summarize_address_range
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cove.exception import ConflictError
from policies.egress import EgressPolicy, Mode
from policies.egress.model import BLOCKED
from policies.egress.parse import normal_cidrs
from policies.egress.ranges import Operator
from sandboxd import kernel
from sandboxd.network import rules
from sandboxd.network.membership import Member
from sandboxd.network.nftables import Nftables
from sandboxd.network.packet_filter import PacketFilter
from sandboxd.network.rules import Caps, Service

pytestmark = pytest.mark.needs_root

TABLE, LINK, ADDRESS = "cove-t", "cove-t_0", IPv4Address("10.200.0.2")
SPEC = rules.Filter(
    table=TABLE,
    links="cove-t_",
    operator=Operator(pool=IPv4Network("10.200.0.0/16"), exceptions=(IPv4Network("10.1.0.0/16"),)),
    service=Service(IPv4Address("10.200.255.253"), 5300, 5301),
    log_group=7,
    caps=Caps(connections=9, bandwidth_bytes_per_s=1_000_000),
)
POLICIES = [
    EgressPolicy(),
    EgressPolicy(mode=Mode.RECORD),
    EgressPolicy(proxy="exit"),
    BLOCKED,
    EgressPolicy(mode=Mode.ALLOWLIST),
    EgressPolicy(mode=Mode.ALLOWLIST, cidrs=("192.0.2.0/24", "198.51.100.7/32")),
    EgressPolicy(mode=Mode.ALLOWLIST, cidrs=("0.0.0.0/0", "2001:db8::/32")),
    EgressPolicy(mode=Mode.ALLOWLIST, cidrs=("0.0.0.0/1", "255.255.255.255/32"), domains=("a.example",)),
    EgressPolicy(mode=Mode.ALLOWLIST, domains=("*.a.example",)),
    EgressPolicy(mode=Mode.ALLOWLIST, cidrs=("192.0.2.0/24",), proxy="exit"),
    EgressPolicy(mode=Mode.ALLOWLIST, domains=("a.example",), proxy="exit"),
]


@pytest.fixture
def filtered() -> Iterator[PacketFilter]:
    with kernel.new_netns():
        made = PacketFilter(SPEC)
        made.build({})
        yield made
        made.delete()


def listing() -> str:
    """The whole table in one order: what was made later is listed later, which means nothing."""
    text = Nftables().run(f"list table inet {TABLE}")
    text = re.sub(r" expires \d+m?\d*s?\d*m?s?| timeout \d+\w+", "", text)
    return "\n".join(sorted(re.split(r"\n\t(?=\w)", text)))


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_a_change_and_a_script_come_to_the_same(filtered: PacketFilter, policy: EgressPolicy) -> None:
    empty = listing()
    filtered.admit(LINK, ADDRESS, policy)
    filtered.pin(LINK, [IPv4Address("203.0.113.1"), IPv4Address("203.0.113.2")], 600)
    changed = listing()
    assert changed != empty
    filtered.build()
    assert listing() == changed
    filtered.expel(LINK)
    assert listing() == empty


@pytest.mark.parametrize("before", POLICIES, ids=str)
def test_each_policy_can_follow_each(filtered: PacketFilter, before: EgressPolicy) -> None:
    for after in POLICIES:
        filtered.admit(LINK, ADDRESS, before)
        filtered.set_policy(LINK, after)
        changed = listing()
        filtered.build({LINK: Member(ADDRESS, after)})
        assert listing() == changed
        filtered.expel(LINK)


RANGES = st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)), max_size=20)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ranges=RANGES)
def test_any_list_is_what_it_was(filtered: PacketFilter, ranges: list[tuple[int, int]]) -> None:
    cidrs = normal_cidrs([str(IPv4Network((start, prefix), strict=False)) for start, prefix in ranges])
    filtered.admit(LINK, ADDRESS, EgressPolicy(mode=Mode.ALLOWLIST, cidrs=cidrs))
    text = Nftables().run(f"list set inet {TABLE} cidrs_{LINK}")
    elements = re.search(r"elements = \{(.*?)\}", text, re.S)
    listed = set[IPv4Network]()
    for item in (elements[1] if elements else "").split(","):
        first, _, last = item.strip().partition("-")
        if last:
            listed.update(summarize_address_range(IPv4Address(first), IPv4Address(last)))
        elif first:
            listed.add(IPv4Network(first))
    filtered.expel(LINK)
    assert sorted(listed) == sorted(map(IPv4Network, cidrs))


def test_pins_are_prolonged_and_never_shortened(filtered: PacketFilter) -> None:
    address = IPv4Address("203.0.113.1")
    filtered.admit(LINK, ADDRESS, POLICIES[8])
    for lasts_s in (600, 60, 1200):
        filtered.pin(LINK, [address], lasts_s)
    text = Nftables().run(f"list set inet {TABLE} pins")
    assert "timeout 20m" in text
    assert text.count("203.0.113.1") == 1


def test_pins_that_are_over_are_not_missed(filtered: PacketFilter) -> None:
    address = IPv4Address("203.0.113.1")
    filtered.admit(LINK, ADDRESS, POLICIES[8])
    filtered.pin(LINK, [address], 60)
    Nftables().run(f"flush set inet {TABLE} pins")
    filtered.pin(LINK, [address], 600)
    Nftables().run(f"flush set inet {TABLE} pins")
    filtered.unpin(LINK, [address])
    filtered.expel(LINK)
    filtered.expel(LINK)


def test_a_link_that_is_not_there_is_told(filtered: PacketFilter) -> None:
    for call in (lambda: filtered.policy_of(LINK), lambda: filtered.set_policy(LINK, BLOCKED), lambda: filtered.pin(LINK, [ADDRESS], 60)):
        with pytest.raises(ConflictError):
            call()


def test_every_denial_is_counted_and_can_be_read(filtered: PacketFilter) -> None:
    assert filtered.denied() == dict.fromkeys([*rules.DENIALS, rules.INBOUND], 0)


def test_the_script_is_what_people_read() -> None:
    """The golden file is for eyes: a change of the filter is seen as a change of the filter."""
    golden = Path(__file__).with_name("golden_filter.nft")
    assert rules.build(SPEC) == golden.read_text()
