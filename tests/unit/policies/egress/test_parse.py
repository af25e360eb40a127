"""Policies as clients send them: brought into one form, or refused with the entry that is wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cove.exception import InvalidError
from cove.wire.network_pb2 import NetworkMode, NetworkPolicy
from policies.egress import EgressPolicy, Mode, fill_policy, policy_from_wire
from policies.egress.parse import MAX_CIDRS, MAX_DOMAINS, normal_cidrs, normal_domains, normal_name

LIST = NetworkMode.NETWORK_MODE_ALLOWLIST


@pytest.mark.parametrize(
    ("entries", "normal"),
    [
        ([], ()),
        (["192.0.2.7"], ("192.0.2.7/32",)),
        (["2001:DB8::1", "192.0.2.0/24"], ("192.0.2.0/24", "2001:db8::1/128")),
        (["10.0.0.0/9", "10.128.0.0/9", "10.1.0.0/16"], ("10.0.0.0/8",)),
        (["0.0.0.0/0"], ("0.0.0.0/0",)),
        (["203.0.113.9", "198.51.100.0/24", "203.0.113.9/32"], ("198.51.100.0/24", "203.0.113.9/32")),
        (["::ffff:192.0.2.1"], ("::ffff:c000:201/128",)),
    ],
)
def test_ranges_become_the_shortest_list(entries: list[str], normal: tuple[str, ...]) -> None:
    assert normal_cidrs(entries) == normal
    assert normal_cidrs(normal) == normal


@pytest.mark.parametrize(
    "entry",
    [
        "",
        "/",
        "10.0.0.0/33",
        "10.0.0.0/",
        "10.0.0/8",
        "10.0.0.0.0/8",
        "10.0.0.0/255.0.0.0",
        "10.0.0.0/0.255.255.255",
        "010.0.0.1",
        "10.0.0.1/8",
        "256.0.0.1",
        " 10.0.0.0/8",
        "10.0.0.0/8\n",
        "10.0.0.0/8 ",
        "fe80::1%eth0",
        "2001:db8::/129",
        "2001:db8::1/32",
        "1::2::3",
        "example.com",
        "*",
        "10.0.0.0-10.0.0.9",
        "!10.0.0.0/8",
        "10.0.0.0/٨",
        "x" * 100_000,
    ],
)
def test_malformed_ranges_are_named(entry: str) -> None:
    with pytest.raises(InvalidError) as caught:
        normal_cidrs(["192.0.2.0/24", entry])
    assert caught.value.context == {"field": "cidr_allowlist", "entry": entry[:80]}
    assert repr(entry[:80]) in caught.value.cause


def test_bits_beyond_the_prefix_are_not_guessed_away() -> None:
    with pytest.raises(InvalidError, match=r"Write 10\.1\.0\.0/16"):
        normal_cidrs(["10.1.2.3/16"])


@pytest.mark.parametrize(
    ("entries", "normal"),
    [
        (["Example.COM."], ("example.com",)),
        (["b.example", "a.example", "B.example"], ("a.example", "b.example")),
        (["*.Example.com"], ("*.example.com",)),
        (["bücher.example", "*.日本.example"], ("*.xn--wgv71a.example", "xn--bcher-kva.example")),
        (["xn--bcher-kva.example"], ("xn--bcher-kva.example",)),
        (["my_bucket.s3.example"], ("my_bucket.s3.example",)),
        (["localhost", "1.2.3.com"], ("1.2.3.com", "localhost")),
        (["a" * 63 + ".example"], ("a" * 63 + ".example",)),
    ],
)
def test_domains_have_one_form(entries: list[str], normal: tuple[str, ...]) -> None:
    assert normal_domains(entries) == normal
    assert normal_domains(normal) == normal


@pytest.mark.parametrize(
    "entry",
    [
        "",
        ".",
        "*",
        "*.",
        "*.*.example.com",
        "a.*.example.com",
        "*example.com",
        ".example.com",
        "example..com",
        "example.com..",
        "-a.example",
        "a-.example",
        "exa mple.com",
        "example.com\n",
        "example.com\0",
        "https://example.com",
        "example.com:443",
        "example.com/path",
        "[::1]",
        "user@example.com",
        "192.0.2.1",
        "*.192.0.2.1",
        "1.0x7f",
        "a" * 64 + ".example",
        "a." * 127 + "example",
        "\u2028.example",
        "a\u200d.example",
        "\ud800.example",
        "x" * 100_000,
    ],
)
def test_malformed_domains_are_named(entry: str) -> None:
    with pytest.raises(InvalidError) as caught:
        normal_domains(["fine.example", entry])
    assert caught.value.context == {"field": "domain_allowlist", "entry": entry[:80]}


@given(st.text(max_size=40))
def test_any_text_is_a_domain_in_its_normal_form_or_refused(entry: str) -> None:
    try:
        (normal,) = normal_domains([entry])
    except InvalidError:
        return
    assert normal.isascii() and normal == normal.lower() and len(normal) <= 255
    assert normal_domains([normal]) == (normal,)
    assert normal_name(normal.removeprefix("*.")) == normal.removeprefix("*.")


@given(st.text(alphabet="0123456789abcdef.:/%x", max_size=24))
def test_any_text_is_a_range_in_its_normal_form_or_refused(entry: str) -> None:
    try:
        normal = normal_cidrs([entry])
    except InvalidError:
        return
    assert normal_cidrs(normal) == normal


def test_lists_are_bounded() -> None:
    many = [f"10.{index // 256}.{index % 256}.0/25" for index in range(MAX_CIDRS)]
    assert len(normal_cidrs(many)) == MAX_CIDRS
    with pytest.raises(InvalidError, match="1001 entries"):
        normal_cidrs([*many, "192.0.2.0/24"])
    with pytest.raises(InvalidError, match="1001 entries"):
        normal_domains([f"a{index}.example" for index in range(MAX_DOMAINS + 1)])


@pytest.mark.parametrize(
    "policy",
    [
        NetworkPolicy(mode=9),  # type: ignore[arg-type]  # a newer client's
        NetworkPolicy(cidrs=["192.0.2.0/24"]),
        NetworkPolicy(domains=["example.com"]),
        NetworkPolicy(mode=NetworkMode.NETWORK_MODE_BLOCKED, cidrs=["192.0.2.0/24"]),
        NetworkPolicy(mode=NetworkMode.NETWORK_MODE_RECORD, domains=["example.com"]),
        NetworkPolicy(mode=NetworkMode.NETWORK_MODE_BLOCKED, proxy="p"),
        NetworkPolicy(proxy="no/slashes"),
    ],
)
def test_contradictions_are_refused(policy: NetworkPolicy) -> None:
    with pytest.raises(InvalidError):
        fill_policy(policy)


def test_a_filled_policy_stays_as_it_is() -> None:
    filled = fill_policy(NetworkPolicy(mode=LIST, cidrs=["192.0.2.1"], domains=["A.example."], proxy="exit"))
    assert fill_policy(filled) == filled
    assert policy_from_wire(filled) == EgressPolicy(mode=Mode.ALLOWLIST, cidrs=("192.0.2.1/32",), domains=("a.example",), proxy="exit")


def test_an_empty_list_is_no_open_network() -> None:
    assert policy_from_wire(NetworkPolicy(mode=LIST)).mode is Mode.ALLOWLIST


def test_names_that_a_list_allows() -> None:
    policy = EgressPolicy(mode=Mode.ALLOWLIST, domains=normal_domains(["*.example.com", "pypi.org"]))
    assert [name for name in ("example.com", "a.example.com", "a.b.example.com", "pypi.org") if policy.allows_name(name)] == [
        "a.example.com",
        "a.b.example.com",
        "pypi.org",
    ]
    refused = ("badexample.com", "example.com.evil.org", "www.pypi.org", "pypi.org.", "", "com")
    assert not any(policy.allows_name(name) for name in refused)
