"""Egress policies on the real kernel, in namespaces of their own: what is allowed passes, the rest fails at once, changes hold at once."""

from __future__ import annotations

import contextlib
import errno
import socket
import time
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from cove.exception import ConflictError
from policies.egress.model import BLOCKED
from sandboxd.network import NetworkManager, NetworkOptions
from sandboxd.network.nftables import Nftables
from sandboxd.network.rules import MIN_BURST_BYTES, Caps
from tests.support.node_world import (
    LISTED,
    OPEN,
    PRIVATE,
    REFUSED_WITHIN_S,
    UNLISTED,
    World,
    ask,
    attach,
    connect,
    fresh_id,
    listed,
    listening,
    managed,
    node_world,
    receiving,
    sockets_in,
)

pytestmark = pytest.mark.needs_root

PORT = 8000
ONE = listed(f"{LISTED}/32")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with node_world(tmp_path) as made:
        yield made


@pytest.fixture
def manager(world: World) -> Iterator[NetworkManager]:
    with managed(world) as opened:
        yield opened


def test_a_list_allows_what_it_names(world: World, manager: NetworkManager) -> None:
    _, network = attach(manager, ONE)
    with listening(world.outside, LISTED, PORT), listening(world.outside, UNLISTED, PORT):
        assert connect(network.netns_path, LISTED, PORT) == 0
        before_s = time.monotonic()
        assert connect(network.netns_path, UNLISTED, PORT) == errno.ECONNREFUSED
        assert ask(network.netns_path, UNLISTED, PORT) == errno.ECONNREFUSED
        assert time.monotonic() - before_s < REFUSED_WITHIN_S
    assert manager.denied()["not_listed"] == 2


def test_an_empty_list_allows_nothing(world: World, manager: NetworkManager) -> None:
    _, network = attach(manager, listed())
    with listening(world.outside, LISTED, PORT):
        assert connect(network.netns_path, LISTED, PORT) == errno.ECONNREFUSED


def test_special_ranges_stay_denied_when_they_are_listed(world: World, manager: NetworkManager) -> None:
    _, network = attach(manager, listed("0.0.0.0/0"))
    with listening(world.outside, PRIVATE, PORT), listening(world.outside, UNLISTED, PORT):
        assert connect(network.netns_path, UNLISTED, PORT) == 0
        assert connect(network.netns_path, PRIVATE, PORT) == errno.ECONNREFUSED
    assert manager.denied()["private"] == 1


def test_lists_of_many_ranges_end_where_they_should(world: World, manager: NetworkManager) -> None:
    """The kernel's sets are made of edges: first and last addresses of ranges, neighbours and the ends of all addresses."""
    policy = listed("0.0.0.0/8", "203.0.113.8/30", "203.0.113.16/30", "240.0.0.0/4")
    _, network = attach(manager, policy)
    with listening(world.outside, LISTED, PORT), listening(world.outside, UNLISTED, PORT):
        assert connect(network.netns_path, LISTED, PORT) == 0
        assert connect(network.netns_path, UNLISTED, PORT) == errno.ECONNREFUSED
        large = listed(*(f"203.0.{index}.0/25" for index in range(1, 113)), *(f"198.{index}.0.0/17" for index in range(20, 220)))
        manager.set_policy(next(iter(manager.list_())), large)
        assert connect(network.netns_path, LISTED, PORT) == errno.ECONNREFUSED


@pytest.mark.parametrize("tight", [BLOCKED, listed(), listed(f"{UNLISTED}/32"), listed(f"{UNLISTED}/32", domains=("a.example",))])
@pytest.mark.parametrize("loose", [OPEN, ONE])
def test_tightening_cuts_connections(world: World, manager: NetworkManager, loose: object, tight: object) -> None:
    sandbox_id, network = attach(manager, loose)  # type: ignore[arg-type]  # a policy
    with listening(world.outside, LISTED, PORT) as listener, sockets_in(network.netns_path) as inside:
        inside.settimeout(3)
        inside.connect((LISTED, PORT))
        outside, _ = listener.accept()
        with outside:
            outside.sendall(b"a")
            assert inside.recv(1) == b"a"
            manager.set_policy(sandbox_id, tight)  # type: ignore[arg-type]  # a policy
            outside.sendall(b"b")
            inside.settimeout(0.2)
            with pytest.raises((TimeoutError, ConnectionResetError)):
                inside.recv(1)
            before_s = time.monotonic()
            with pytest.raises(ConnectionResetError):
                inside.settimeout(3)
                inside.send(b"c")
                inside.recv(1)
            assert time.monotonic() - before_s < REFUSED_WITHIN_S


def test_tightening_cuts_datagrams_in_both_directions(world: World, manager: NetworkManager) -> None:
    sandbox_id, network = attach(manager)
    with receiving(world.outside, LISTED, PORT) as outside, sockets_in(network.netns_path, socket.SOCK_DGRAM) as inside:
        inside.settimeout(3)
        inside.sendto(b"a", (LISTED, PORT))
        _, peer = outside.recvfrom(1)
        outside.sendto(b"b", peer)
        assert inside.recv(1) == b"b"
        manager.set_policy(sandbox_id, listed(f"{UNLISTED}/32"))
        outside.sendto(b"c", peer)
        inside.settimeout(0.2)
        with pytest.raises(TimeoutError):
            inside.recv(1)


def test_what_stays_allowed_goes_on(world: World, manager: NetworkManager) -> None:
    sandbox_id, network = attach(manager)
    with listening(world.outside, LISTED, PORT) as listener, sockets_in(network.netns_path) as inside:
        inside.settimeout(3)
        inside.connect((LISTED, PORT))
        outside, _ = listener.accept()
        with outside:
            for policy in (ONE, listed("203.0.113.0/24"), OPEN, ONE):
                manager.set_policy(sandbox_id, policy)
                outside.sendall(b"x")
                assert inside.recv(1) == b"x"
                inside.sendall(b"y")
                assert outside.recv(1) == b"y"


def test_one_sandbox_s_policy_is_not_another_s(world: World, manager: NetworkManager) -> None:
    first, strict = attach(manager, ONE)
    _, free = attach(manager)
    with listening(world.outside, UNLISTED, PORT):
        assert connect(strict.netns_path, UNLISTED, PORT) == errno.ECONNREFUSED
        assert connect(free.netns_path, UNLISTED, PORT) == 0
        manager.set_policy(first, OPEN)
        assert connect(strict.netns_path, UNLISTED, PORT) == 0


def test_a_restart_keeps_policies_and_connections(world: World, manager: NetworkManager) -> None:
    sandbox_id, network = attach(manager, ONE)
    stranger, unknown = attach(manager)
    with listening(world.outside, LISTED, PORT) as listener, sockets_in(network.netns_path) as inside:
        inside.settimeout(3)
        inside.connect((LISTED, PORT))
        outside, _ = listener.accept()
        with outside:
            again = world.manager(policies={sandbox_id: ONE})
            outside.sendall(b"x")
            assert inside.recv(1) == b"x"
            inside.sendall(b"y")
            assert outside.recv(1) == b"y"
        assert connect(network.netns_path, UNLISTED, PORT) == errno.ECONNREFUSED
        assert connect(unknown.netns_path, LISTED, PORT) == errno.ECONNREFUSED
        assert again.denied()["blocked"] == 1
        again.set_policy(stranger, OPEN)
        assert connect(unknown.netns_path, LISTED, PORT) == 0
        for sandbox in (sandbox_id, stranger):
            again.detach(sandbox)


def test_a_restart_cuts_what_a_policy_had_no_time_to(world: World, manager: NetworkManager) -> None:
    """The daemon died after it had written the policy down and before it held."""
    sandbox_id, network = attach(manager)
    with receiving(world.outside, LISTED, PORT) as outside, sockets_in(network.netns_path, socket.SOCK_DGRAM) as inside:
        inside.sendto(b"a", (LISTED, PORT))
        _, peer = outside.recvfrom(1)
        again = world.manager(policies={sandbox_id: listed()})
        outside.sendto(b"b", peer)
        inside.settimeout(0.2)
        with pytest.raises(TimeoutError):
            inside.recv(1)
        again.detach(sandbox_id)


@pytest.mark.parametrize("damage", ["flush ruleset", "delete table inet cove", "flush table inet cove", "flush chain inet cove forward"])
def test_a_flushed_filter_is_put_back_with_its_policies(world: World, manager: NetworkManager, damage: str) -> None:
    _, strict = attach(manager, ONE)
    Nftables().run(damage)
    assert manager.ensure_filter()
    assert not manager.ensure_filter()
    with listening(world.outside, LISTED, PORT), listening(world.outside, UNLISTED, PORT):
        assert connect(strict.netns_path, LISTED, PORT) == 0
        assert connect(strict.netns_path, UNLISTED, PORT) == errno.ECONNREFUSED


def test_a_change_of_a_filter_that_is_gone_puts_it_back(world: World, manager: NetworkManager) -> None:
    sandbox_id, network = attach(manager)
    Nftables().run("flush ruleset")
    manager.set_policy(sandbox_id, ONE)
    with listening(world.outside, LISTED, PORT), listening(world.outside, UNLISTED, PORT):
        assert connect(network.netns_path, LISTED, PORT) == 0
        assert connect(network.netns_path, UNLISTED, PORT) == errno.ECONNREFUSED


def test_a_sandbox_without_a_network_gets_none(manager: NetworkManager) -> None:
    with pytest.raises(ConflictError, match="without a network"):
        manager.set_policy(fresh_id(), OPEN)


def test_a_sandbox_has_its_share_of_connections(world: World, tmp_path: Path) -> None:
    manager = world.manager(NetworkOptions(pool="10.215.0.0/24", caps=Caps(connections=5)))
    greedy, hungry = attach(manager), attach(manager)
    with listening(world.outside, LISTED, PORT):
        kept = [sockets_in(greedy[1].netns_path) for _ in range(6)]
        outcomes = [one.connect_ex((LISTED, PORT)) for one in kept]
        assert outcomes == [0] * 5 + [errno.ECONNREFUSED]
        assert connect(hungry[1].netns_path, LISTED, PORT) == 0
    for one in kept:
        one.close()
    assert manager.denied()["connections"] == 1
    for sandbox, _ in (greedy, hungry):
        manager.detach(sandbox)
    manager.close()


def test_bandwidth_is_bounded_in_both_directions(world: World) -> None:
    rate, size_bytes = 2_000_000, 5_000_000
    manager = world.manager(NetworkOptions(pool="10.215.0.0/24", caps=Caps(bandwidth_bytes_per_s=rate)))
    sandbox_id, network = attach(manager)
    with listening(world.outside, LISTED, PORT) as listener, sockets_in(network.netns_path) as inside:
        inside.connect((LISTED, PORT))
        outside, _ = listener.accept()
        with outside:
            for sender, receiver in ((inside, outside), (outside, inside)):
                least_s = (size_bytes - rate - MIN_BURST_BYTES) / rate  # what a second has may come at once
                assert _transfer_s(sender, receiver, size_bytes) > least_s * 0.9
    manager.detach(sandbox_id)
    manager.close()


def _transfer_s(sender: socket.socket, receiver: socket.socket, size_bytes: int) -> float:
    started_s, left = time.monotonic(), size_bytes
    sender.setblocking(False)
    receiver.settimeout(5)
    unsent = size_bytes
    while left:
        if unsent:
            with contextlib.suppress(BlockingIOError):
                unsent -= sender.send(bytes(min(unsent, 65536)))
        left -= len(receiver.recv(1 << 20))
    return time.monotonic() - started_s


def test_a_hundred_policies_come_and_go_without_a_trace(manager: NetworkManager) -> None:
    sandbox_id, _ = attach(manager)
    for index in range(100):
        manager.set_policy(sandbox_id, [listed(f"203.0.{index}.0/24"), OPEN, BLOCKED, listed(domains=("a.example",))][index % 4])
    manager.detach(sandbox_id)
    listing = Nftables().run("list table inet cove")
    assert "cove_" not in listing.replace('"cove_*"', "")


def test_pins_open_datagrams_to_addresses_for_a_while(world: World, manager: NetworkManager) -> None:
    _, network = attach(manager, listed(domains=("a.example",)))
    link = "cove_0"
    with receiving(world.outside, LISTED, PORT):
        assert ask(network.netns_path, LISTED, PORT) == errno.ECONNREFUSED
        manager._filter.pin(link, [IPv4Address(LISTED)], 60)
        assert ask(network.netns_path, LISTED, PORT) == 0
        manager._filter.pin(link, [IPv4Address(LISTED)], 120)
        manager._filter.unpin(link, [IPv4Address(LISTED), IPv4Address(UNLISTED)])
        manager._filter.unpin(link, [IPv4Address(LISTED)])
    with receiving(world.outside, UNLISTED, PORT):
        assert ask(network.netns_path, UNLISTED, PORT) == errno.ECONNREFUSED
