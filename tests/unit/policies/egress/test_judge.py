"""What a policy does with a destination, beyond the golden matrix: the special ranges' edges, exceptions, proxies, remedies, recordings."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.egress import EgressPolicy, Mode
from policies.egress.judge import Destination, Verdict, judge, remedy
from policies.egress.ranges import Operator, Rule
from policies.egress.recording import allowlist

POOL = IPv4Network("10.200.0.0/16")
OPERATOR = Operator(pool=POOL)
OPEN = EgressPolicy()


@pytest.mark.parametrize(
    ("address", "rule"),
    [
        ("9.255.255.255", None),
        ("10.0.0.0", Rule.PRIVATE),
        ("10.199.255.255", Rule.PRIVATE),
        ("10.200.0.0", Rule.SANDBOX),
        ("10.200.255.255", Rule.SANDBOX),
        ("10.201.0.0", Rule.PRIVATE),
        ("11.0.0.0", None),
        ("100.63.255.255", None),
        ("100.64.0.0", Rule.PRIVATE),
        ("100.127.255.255", Rule.PRIVATE),
        ("100.128.0.0", None),
        ("126.255.255.255", None),
        ("127.0.0.1", Rule.RESERVED),
        ("128.0.0.0", None),
        ("169.253.255.255", None),
        ("169.254.0.0", Rule.LINK_LOCAL),
        ("169.255.0.0", None),
        ("172.15.255.255", None),
        ("172.16.0.0", Rule.PRIVATE),
        ("172.31.255.255", Rule.PRIVATE),
        ("172.32.0.0", None),
        ("192.0.0.192", Rule.PRIVATE),
        ("192.0.1.0", None),
        ("192.168.0.0", Rule.PRIVATE),
        ("192.169.0.0", None),
        ("198.17.255.255", None),
        ("198.18.0.0", Rule.PRIVATE),
        ("198.20.0.0", None),
        ("223.255.255.255", None),
        ("224.0.0.0", Rule.RESERVED),
        ("240.0.0.0", Rule.RESERVED),
        ("255.255.255.255", Rule.RESERVED),
        ("0.0.0.0", Rule.RESERVED),
        ("1.0.0.0", None),
    ],
)
def test_edges_of_special_ranges(address: str, rule: Rule | None) -> None:
    assert OPERATOR.denies(IPv4Address(address)) is rule


def test_private_ranges_that_are_allowed_do_not_open_metadata_services() -> None:
    operator = Operator(pool=POOL, allow_private=True)
    denied = [
        address
        for address in ("10.1.2.3", "100.100.100.200", "100.100.100.201", "169.254.169.254")
        if operator.denies(IPv4Address(address))
    ]
    assert denied == ["100.100.100.200", "169.254.169.254"]


def test_exceptions_open_what_is_special_but_no_sandbox() -> None:
    operator = Operator(pool=POOL, exceptions=(IPv4Network("10.0.0.0/8"), IPv4Network("169.254.1.0/24")))
    assert operator.denies(IPv4Address("10.1.1.1")) is None
    assert operator.denies(IPv4Address("169.254.1.9")) is None
    assert operator.denies(IPv4Address("169.254.169.254")) is Rule.LINK_LOCAL
    assert operator.denies(IPv4Address("10.200.0.2")) is Rule.SANDBOX


@pytest.mark.parametrize(
    ("protocol", "verdict"),
    [("tcp", Verdict(True, Rule.OPEN)), ("udp", Verdict(False, Rule.PROXIED)), ("47", Verdict(False, Rule.PROXIED))],
)
def test_a_proxy_takes_tcp_alone(protocol: str, verdict: Verdict) -> None:
    destination = Destination(address=IPv4Address("203.0.113.1"), protocol=protocol)
    assert judge(EgressPolicy(proxy="exit"), OPERATOR, destination) == verdict


def test_a_pin_means_nothing_without_names_in_the_list() -> None:
    destination = Destination(address=IPv4Address("203.0.113.1"), pinned=True)
    assert judge(EgressPolicy(mode=Mode.ALLOWLIST), OPERATOR, destination) == Verdict(False, Rule.NOT_LISTED)


@given(st.integers(0, 2**32 - 1), st.booleans(), st.booleans())
def test_no_policy_opens_what_the_operator_denies(number: int, pinned: bool, is_host: bool) -> None:
    destination = Destination(address=IPv4Address(number), pinned=pinned, is_host=is_host)
    everything = EgressPolicy(mode=Mode.ALLOWLIST, cidrs=("0.0.0.0/0",), domains=("*.example.com",))
    for policy in (OPEN, everything):
        assert judge(policy, OPERATOR, destination).allowed is (not is_host and OPERATOR.denies(IPv4Address(number)) is None)


@given(st.integers(0, 2**128 - 1))
def test_ipv6_is_never_allowed(number: int) -> None:
    everything = EgressPolicy(mode=Mode.ALLOWLIST, cidrs=("0.0.0.0/0", "::/0"))
    assert judge(everything, OPERATOR, Destination(address=IPv6Address(number))) == Verdict(False, Rule.IPV6)


def test_a_remedy_is_a_line_that_would_allow_it() -> None:
    assert remedy(Rule.NOT_LISTED, "203.0.113.1") == 'cidr_allowlist=["203.0.113.1/32"]'
    assert remedy(Rule.NOT_LISTED, "203.0.113.1", ["a.example"]) == 'domain_allowlist=["a.example"]'
    assert "allow_private_networks" in remedy(Rule.PRIVATE, "10.0.0.1")


def test_every_denial_of_the_filter_has_a_remedy_and_no_permission_has() -> None:
    denials = {Rule.IPV6, Rule.SPOOFED, Rule.HOST, Rule.SANDBOX, Rule.LINK_LOCAL, Rule.RESERVED, Rule.PRIVATE}
    denials |= {Rule.CONNECTIONS, Rule.BLOCKED, Rule.NOT_LISTED, Rule.PROXIED}
    assert all(remedy(rule, "203.0.113.1") for rule in denials)
    assert not any(remedy(rule, "203.0.113.1") for rule in (Rule.OPEN, Rule.CIDR, Rule.DOMAIN))


@given(
    st.lists(
        st.tuples(st.integers(0, 2**32 - 1).map(lambda number: str(IPv4Address(number))), st.sampled_from(["", "a.example", "B.example"]))
    )
)
def test_a_recorded_list_permits_what_was_seen_and_no_other_address(seen: list[tuple[str, str]]) -> None:
    policy = allowlist(seen)
    unnamed = {IPv4Address(address) for address, name in seen if not name}
    assert sum(network.num_addresses for network in policy.ipv4_networks) == len(unnamed)
    assert all(policy.allows_address(address) for address in unnamed)
    assert set(policy.domains) == {name.lower() for _, name in seen if name}


def test_what_is_no_destination_is_not_recorded() -> None:
    assert allowlist([("", ""), ("2001:db8::1", ""), ("nonsense", "not a name")]) == EgressPolicy(mode=Mode.ALLOWLIST)
