"""Every kind of destination, by every protocol, under every kind of policy: what the kernel does, what the judge says, what was agreed.

``golden_egress.txt`` is the agreement. ``python -m tests.security.test_egress_matrix`` writes it anew from the judge; who does that reads
the difference.
"""

from __future__ import annotations

import contextlib
import errno
import random
import select
import socket
import struct
import time
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import pytest

from policies.egress import EgressPolicy
from policies.egress.judge import Destination, Verdict, judge
from policies.egress.model import BLOCKED
from policies.egress.ranges import Operator
from sandboxd import kernel
from sandboxd.network import NetworkOptions, SandboxNetwork
from sandboxd.network.packet_log import Packet, PacketLog
from tests.support.node_world import (
    CARRIER,
    HOST,
    LISTED,
    METADATA,
    OPEN,
    POOL,
    PRIVATE,
    UNLISTED,
    World,
    ask,
    attach,
    connect,
    listed,
    listening,
    managed,
    node_world,
    receiving,
    sockets_in,
)

GOLDEN: Final = Path(__file__).with_name("golden_egress.txt")
PORT: Final = 8000
TOLD_WITHIN_S: Final = 2.0
"""The kernel holds packets back for some milliseconds, to send them together."""

POLICIES: Final[dict[str, EgressPolicy]] = {
    "open": OPEN,
    "blocked": BLOCKED,
    "empty list": listed(),
    "one address": listed(f"{LISTED}/32"),
    "everything listed": listed("0.0.0.0/0"),
    "private listed": listed("10.0.0.0/8", "169.254.0.0/16"),
    "a name": listed(domains=("a.example",)),
    "a name and an address": listed(f"{LISTED}/32", domains=("a.example",)),
}
"""Policies with proxies lead nothing but TCP anywhere, and that to the relay, which has its own tests."""

OPERATORS: Final[dict[str, NetworkOptions]] = {
    "default": NetworkOptions(pool=POOL),
    "private ranges allowed": NetworkOptions(pool=POOL, allow_private=True),
    "an exception": NetworkOptions(pool=POOL, exceptions=(IPv4Network("10.99.0.0/24"), IPv4Network("10.215.0.0/24"))),
}
"""The second exception of the last one is the pool itself: other sandboxes must stay out of reach."""

NEIGHBOUR: Final = "10.215.0.6"
GATEWAY: Final = "10.215.0.1"
DESTINATIONS: Final = {
    "listed": LISTED,
    "unlisted": UNLISTED,
    "private": PRIVATE,
    "metadata": METADATA,
    "carrier metadata": CARRIER,
    "host": str(HOST),
    "gateway": GATEWAY,
    "other sandbox": NEIGHBOUR,
    "multicast": "224.0.0.251",
    "broadcast": "255.255.255.255",
    "reserved": "240.0.0.1",
    "zero net": "0.1.2.3",
    "ipv6": "2001:db8::1",
}
PROTOCOLS: Final = ("tcp", "udp", "icmp")
PINNED: Final = UNLISTED
"""What the resolver gave for a.example, where that is listed."""


class Case(NamedTuple):
    operator: str
    policy: str
    destination: str
    protocol: str


def cases() -> Iterator[Case]:
    for operator in OPERATORS:
        for policy in POLICIES:
            for destination in DESTINATIONS:
                for protocol in PROTOCOLS:
                    yield Case(operator, policy, destination, protocol)


def judged(case: Case) -> Verdict:
    options, policy, address = OPERATORS[case.operator], POLICIES[case.policy], DESTINATIONS[case.destination]
    operator = Operator(pool=IPv4Network(options.pool), allow_private=options.allow_private, exceptions=options.exceptions)
    destination = Destination(
        address=ip_address(address), protocol=case.protocol, is_host=address in (str(HOST), GATEWAY), pinned=address == PINNED
    )
    return judge(policy, operator, destination)


def golden() -> str:
    """One line for each operator, policy and destination; where protocols differ, one for each of them."""
    lines: list[str] = []
    for case in cases():
        verdict = judged(case)
        lines.append(f"{' | '.join(case)}: {'allowed' if verdict.allowed else 'denied'} {verdict.rule}")
    return "\n".join(lines) + "\n"


def test_the_judge_says_what_was_agreed() -> None:
    assert golden() == GOLDEN.read_text()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with node_world(tmp_path) as made:
        yield made


class Told:
    """What the kernel told of packets."""

    def __init__(self) -> None:
        self.log = PacketLog()
        self.packets: list[Packet] = []

    def of(self, address: str) -> set[tuple[bool, str]]:
        """Verdicts and rules of packets to ``address``, once there is one; all is forgotten with this. None in time: the empty set."""
        deadline, found = time.monotonic() + TOLD_WITHIN_S, set[tuple[bool, str]]()
        while not found and (left_s := deadline - time.monotonic()) > 0:
            select.select([self.log], [], [], left_s)
            self.log.read(self.packets.append)
            found = {(packet.allowed, packet.rule) for packet in self.packets if str(packet.address) == address}
        self.packets.clear()
        return found


@pytest.fixture
def told(world: World) -> Iterator[Told]:
    opened = Told()
    yield opened
    opened.log.close()


@pytest.mark.needs_root
@pytest.mark.timeout(120)
@pytest.mark.parametrize("operator", OPERATORS)
def test_the_kernel_does_what_the_judge_says(world: World, told: Told, operator: str) -> None:
    Path("/proc/sys/net/ipv4/icmp_ratelimit").write_text("0")  # this namespace\'s: usually six errors a second go to one address
    with (
        managed(world, msgspec.structs.replace(OPERATORS[operator], log_group=told.log.group)) as manager,
        contextlib.ExitStack() as servers,
    ):
        (sandbox_id, network), (_, neighbour) = attach(manager), attach(manager)
        assert (network.gateway, neighbour.address) == (GATEWAY, NEIGHBOUR)
        for where, address in ((world.outside, "0.0.0.0"), (neighbour.netns_path, NEIGHBOUR)):
            servers.enter_context(listening(where, address, PORT))
            servers.enter_context(receiving(where, address, PORT))
        for policy in POLICIES:
            manager.set_policy(sandbox_id, POLICIES[policy])
            pinned = [IPv4Address(PINNED)] if POLICIES[policy].domains else []
            manager.pin(sandbox_id, pinned, 60)
            _check_policy(told, network, [case for case in cases() if (case.operator, case.policy) == (operator, policy)])
            manager.unpin(sandbox_id, pinned)


def _check_policy(told: Told, network: SandboxNetwork, wanted: list[Case]) -> None:
    for case in wanted:
        address, verdict = DESTINATIONS[case.destination], judged(case)
        if case.destination in ("ipv6", "multicast", "broadcast"):
            continue  # there is no way to send the first from inside, and the host drops the others before it looks at any rule
        if POLICIES[case.policy].domains and case.protocol == "tcp" and address == PINNED:
            continue  # led to the relay
        outcome = _try(network, case.protocol, address)
        assert told.of(address) == {(verdict.allowed, str(verdict.rule))}, case
        assert (outcome == 0) == verdict.allowed, (case, errno.errorcode.get(outcome, outcome))


def _try(network: SandboxNetwork, protocol: str, address: str) -> int:
    if protocol == "tcp":
        return connect(network.netns_path, address, PORT)
    return ask(network.netns_path, address, PORT, timeout_s=0.05) if protocol == "udp" else _ping(network, address)


def _ping(network: SandboxNetwork, address: str) -> int:
    """errno of an echo request; 0 if it was not refused. Errors are told to raw sockets that are connected."""
    with kernel.in_netns(network.netns_path):
        pinger = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    body = struct.pack(">BBHHH", 8, 0, 0, random.randrange(1, 0xFFFF), 1)  # another number is another connection
    checksum = 0xFFFF - (sum(struct.unpack(">4H", body)) % 0xFFFF)
    with pinger:
        pinger.settimeout(0.05)
        pinger.setsockopt(socket.IPPROTO_IP, 11, 1)  # IP_RECVERR
        try:
            pinger.sendto(body[:2] + struct.pack(">H", checksum) + body[4:], (address, 0))
            pinger.recv(200)
        except TimeoutError:
            return 0
        except OSError as error:
            return error.errno or -1
    return 0


@pytest.mark.needs_root
def test_a_false_source_gets_nowhere_and_is_told(world: World, told: Told) -> None:
    with managed(world, NetworkOptions(pool=POOL, log_group=told.log.group)) as manager, receiving(world.outside, LISTED, PORT) as server:
        (_, honest), (_, liar) = attach(manager), attach(manager)
        for source in (honest.address, "198.51.100.1", LISTED):
            _send_from(liar, source, LISTED)
            assert told.of(LISTED) == {(False, "spoofed")}, source
        for source in (honest.gateway, liar.gateway, str(HOST)):  # its own addresses the host takes from nobody
            _send_from(liar, source, LISTED)
        server.settimeout(0.1)
        with pytest.raises(TimeoutError):
            server.recv(10)
        assert manager.denied()["spoofed"] == 3


@pytest.mark.needs_root
def test_ipv6_is_off_and_stays_dropped_when_it_is_sent_all_the_same(world: World, told: Told) -> None:
    with managed(world, NetworkOptions(pool=POOL, log_group=told.log.group)) as manager:
        _, network = attach(manager)
        with kernel.in_netns(network.netns_path):
            switch = Path("/proc/sys/net/ipv6/conf/eth0/disable_ipv6")
            if not switch.exists():
                pytest.skip("this kernel has no IPv6 at all")
            assert switch.read_text().strip() == "1"
            probe = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
            raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
            raw.bind(("eth0", 0))
        with probe, pytest.raises(OSError, match=r"unreachable|assign"):
            probe.connect(("2001:db8::1", 53))
        ends = IPv6Address("fe80::1").packed + IPv6Address("ff02::1").packed
        packet = struct.pack(">IHBB", 6 << 28, 8, 17, 64) + ends + struct.pack(">HHHH", 1, 53, 8, 0)
        with raw:
            raw.send(bytes.fromhex("333300000001020000000001") + b"\x86\xdd" + packet)
        # Without IPv6 on its end of the link the host does not even look at it.
        assert "cove_" not in Path("/proc/net/if_inet6").read_text()


@pytest.mark.needs_root
def test_an_address_does_not_inherit_connections(world: World) -> None:
    """The next sandbox with the address must not get what was sent to the one before."""
    one_link = NetworkOptions(pool="10.215.0.0/29")
    with managed(world, one_link) as manager, receiving(world.outside, LISTED, PORT) as server:
        sandbox_id, network = attach(manager)
        with sockets_in(network.netns_path, socket.SOCK_DGRAM) as first:
            first.bind((network.address, 4000))
            first.sendto(b"?", (LISTED, PORT))
            _, peer = server.recvfrom(10)
        manager.detach(sandbox_id)
        _, reused = attach(manager)
        assert reused.address == network.address
        with sockets_in(reused.netns_path, socket.SOCK_DGRAM) as second:
            second.bind((reused.address, 4000))
            second.settimeout(0.2)
            server.sendto(b"secret", peer)
            with pytest.raises(TimeoutError):
                second.recv(10)


def _send_from(network: SandboxNetwork, source: str, target: str) -> None:
    payload = struct.pack(">HHHH", 4000, PORT, 9, 0) + b"!"
    header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0, 64, 17, 0) + IPv4Address(source).packed + IPv4Address(target).packed
    with kernel.in_netns(network.netns_path):
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    with raw:
        raw.sendto(header + payload, (target, 0))


if __name__ == "__main__":
    GOLDEN.write_text(golden())
