"""A node's network without the machine's: a namespace that plays the host, and one behind it that plays everybody else.

Whoever is in the block is in the host's namespace with the calling thread; sockets made in a sandbox's namespace stand for its programs.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import time
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

from cove.types import SandboxId, new_id
from policies.egress import EgressPolicy, Mode
from sandboxd import kernel
from sandboxd.network import NetworkManager, NetworkOptions, SandboxNetwork, netns
from sandboxd.network.manager import Before
from sandboxd.network.netlink import Netlink, add_address, add_default_route, new_veth, set_up

POOL: Final = "10.215.0.0/24"
HOST: Final = IPv4Address("192.0.2.1")
LISTED: Final = "203.0.113.10"
UNLISTED: Final = "203.0.113.20"
PRIVATE: Final = "10.99.0.2"
METADATA: Final = "169.254.169.254"
CARRIER: Final = "100.100.100.200"
OUTSIDE: Final = (LISTED, UNLISTED, PRIVATE, METADATA, CARRIER)
OPEN: Final = EgressPolicy()
REFUSED_WITHIN_S: Final = 0.5
"""Far below any time-out, far above what a busy machine needs."""


class World(NamedTuple):
    """The host's namespace is the calling thread's; ``outside`` is where the rest of the world is mounted."""

    outside: Path
    run_dir: Path

    def manager(
        self, options: NetworkOptions | None = None, *, policies: Mapping[SandboxId, EgressPolicy] = MappingProxyType({})
    ) -> NetworkManager:
        """A manager that takes over; ``policies`` are those that were written down."""
        return NetworkManager.open("cove", self.run_dir, options or NetworkOptions(pool=POOL), Before(policies.get, lambda _: {}))


@contextlib.contextmanager
def managed(world: World, options: NetworkOptions | None = None) -> Iterator[NetworkManager]:
    """A manager whose networks end with the block."""
    manager = world.manager(options)
    try:
        yield manager
    finally:
        for sandbox in manager.list_():
            manager.detach(sandbox)
        manager.close()


@contextlib.contextmanager
def node_world(directory: Path) -> Iterator[World]:
    """Both namespaces, gone with the block."""
    path = directory / "outside"
    with kernel.new_netns(), contextlib.ExitStack() as stack:
        with netns.created(path) as (fd, inside), Netlink() as host:
            stack.callback(netns.remove, path)
            host.request(set_up("lo"))
            host.request(new_veth("up0", peer_name="eth0", peer_netns_fd=fd, mtu=1500), set_up("up0"))
            host.request(add_address(host.number_of("up0"), HOST, 24), add_default_route(HOST + 1))
            inside.request(add_address(inside.number_of("eth0"), HOST + 1, 24), set_up("eth0"))
            inside.request(add_default_route(HOST), *(add_address(inside.number_of("eth0"), IPv4Address(one), 32) for one in OUTSIDE))
        settle(path, str(HOST))
        yield World(path, directory / "run")


def fresh_id() -> SandboxId:
    return SandboxId(new_id("sb"))


def attach(manager: NetworkManager, policy: EgressPolicy = OPEN, sandbox_id: SandboxId | None = None) -> tuple[SandboxId, SandboxNetwork]:
    """A sandbox whose network carries packets."""
    sandbox_id = sandbox_id or fresh_id()
    network = manager.attach(sandbox_id, policy)
    settle(network.netns_path, network.gateway)
    return sandbox_id, network


def settle(origin: Path, gateway: str) -> None:
    """Wait until a link that was just made carries packets: the kernel loses the first ones if its work queue is late."""
    deadline = time.monotonic() + 10
    while connect(origin, gateway, 1, timeout_s=0.05) != errno.ECONNREFUSED:
        assert time.monotonic() < deadline, f"{gateway} does not answer"


def sockets_in(path: Path, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
    """A socket of the namespace at ``path``."""
    with kernel.in_netns(path):
        return socket.socket(socket.AF_INET, kind)


def connect(origin: Path, address: str, port: int, *, source: str = "", timeout_s: float = 3) -> int:
    """errno of a TCP connection from inside ``origin``; 0 if it came about. ``source``: an address that is claimed to be its own."""
    with sockets_in(origin) as probe:
        probe.settimeout(timeout_s)
        probe.bind((source, 0))
        try:
            probe.connect((address, port))
        except TimeoutError:
            return errno.ETIMEDOUT
        except OSError as error:
            return error.errno or -1
    return 0


def ask(origin: Path, address: str, port: int, *, timeout_s: float = REFUSED_WITHIN_S) -> int:
    """errno of a datagram from inside ``origin`` to where nobody may answer; 0 if nobody complained in time."""
    with sockets_in(origin, socket.SOCK_DGRAM) as probe:
        probe.settimeout(timeout_s)
        probe.connect((address, port))
        try:
            probe.send(b"?")
            probe.recv(1)
        except TimeoutError:
            return 0
        except OSError as error:
            return error.errno or -1
    return 0


@contextlib.contextmanager
def listening(where: Path, address: str, port: int) -> Iterator[socket.socket]:
    """A TCP server that answers with its backlog."""
    with kernel.in_netns(where):
        listener = socket.create_server((address, port))
    with listener:
        yield listener


@contextlib.contextmanager
def receiving(where: Path, address: str, port: int) -> Iterator[socket.socket]:
    """A UDP socket that is bound."""
    with sockets_in(where, socket.SOCK_DGRAM) as bound:
        bound.bind((address, port))
        bound.settimeout(3)
        yield bound


def listed(*cidrs: str, domains: tuple[str, ...] = (), proxy: str = "") -> EgressPolicy:
    """A policy of lists. ``cidrs`` must be in their normal form."""
    assert all(str(IPv4Network(cidr)) == cidr for cidr in cidrs)
    return EgressPolicy(mode=Mode.ALLOWLIST, cidrs=cidrs, domains=domains, proxy=proxy)
