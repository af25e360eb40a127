"""Addresses of links, what sandboxes are told of DNS, and a machine without nftables."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network

import pytest

from cove.exception import InternalFailure, InvalidError, ResourceExhaustedError
from sandboxd.network import resolv_conf
from sandboxd.network.addresses import Block, link_number, parse_pool
from sandboxd.network.nftables import Nftables

POOL = "10.9.0.0/24"


@pytest.mark.parametrize(
    "bad", ["", "10.0.0.0", "10.0.0.1/16", "fd00::/64", "8.8.8.0/24", "10.0.0.0/30", "10.0.0.0/31", "10.0.0.0/33", "ten"]
)
def test_pools_that_are_refused(bad: str) -> None:
    with pytest.raises(InvalidError, match="network_pool"):
        parse_pool(bad)


def test_no_two_blocks_share_an_address() -> None:
    pool = parse_pool(POOL)
    networks = [IPv4Network((pool.block(index).gateway, 30), strict=False) for index in range(len(pool))]
    assert len(pool) == len(set(networks)) == 63
    for index in range(len(pool)):
        block = pool.block(index)
        assert {block.gateway, block.address} == set(networks[index].hosts())
        assert networks[index].subnet_of(pool.network)


def test_the_nodes_own_address_is_no_sandboxs() -> None:
    pool = parse_pool(POOL)
    assert pool.index_of(pool.service) is None
    for index in range(len(pool)):
        assert pool.index_of(pool.block(index).address) == pool.index_of(pool.block(index).gateway) == index
    for address in ("10.8.255.255", "10.9.1.0", "0.0.0.0", "255.255.255.255"):
        assert pool.index_of(IPv4Address(address)) is None


def test_addresses_rest_before_they_are_used_again() -> None:
    pool = parse_pool(POOL)
    indices = [pool.choose(lambda block: True).index for _ in range(64)]
    assert indices == [*range(63), 0]


def test_a_full_pool_says_so_after_one_round() -> None:
    pool = parse_pool(POOL)
    asked: list[int] = []

    def taken(block: Block) -> bool:
        asked.append(block.index)
        return False

    with pytest.raises(ResourceExhaustedError, match="63 links"):
        pool.choose(taken)
    assert asked == list(range(63))


def test_the_one_free_block_is_found_from_anywhere() -> None:
    pool = parse_pool(POOL)

    def only(index: int) -> Callable[[Block], bool]:
        return lambda block: block.index == index

    for index in range(63):
        assert pool.choose(only(index)).index == index
        assert pool.choose(only(17)).index == 17


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("cove_0", 0),
        ("cove_16383", 16383),
        ("cove_", None),
        ("cove_x", None),
        ("cove_-1", None),
        ("cove_٣", None),
        ("cove-a_1", None),
        ("xcove_1", None),
    ],
)
def test_link_names(name: str, number: int | None) -> None:
    assert link_number(name, "cove_") == number


def test_resolv_conf_has_servers_and_nothing_else() -> None:
    assert resolv_conf(["10.1.1.1", "10.1.1.2"]) == "nameserver 10.1.1.1\nnameserver 10.1.1.2\n"
    assert resolv_conf([]) == ""


def test_a_missing_library_is_named_with_its_remedy() -> None:
    with pytest.raises(InternalFailure, match=r"libno-such\.so\.9") as caught:
        Nftables("libno-such.so.9")
    assert "libnftables1" in caught.value.remedy
