"""Networks of sandboxes on the real kernel. Sockets made in a sandbox's namespace stand for the programs of a sandbox."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import NamedTuple

import pytest

from cove.exception import ConflictError, InternalFailure, InvalidError, ResourceExhaustedError
from cove.types import SandboxId, new_id
from policies.egress import EgressPolicy
from sandboxd import kernel
from sandboxd.naming import interface_prefix
from sandboxd.network import NetworkManager, NetworkOptions, SandboxNetwork, netns
from sandboxd.network.manager import Before
from sandboxd.network.netlink import Netlink, add_address, add_default_route, delete_link, new_veth, set_alias, set_up
from sandboxd.network.nfnetlink import NfMessage, NfNetlink
from sandboxd.network.nftables import Nftables
from sandboxd.network.start_workaround import needs_start_workaround
from tests.support.node_world import connect, fresh_id, settle

pytestmark = pytest.mark.needs_root

POOL = "10.215.0.0/24"
OPEN = EgressPolicy()
OF_OPEN = Before(lambda _: OPEN, lambda _: {})
OUTSIDE = IPv4Network("10.217.0.0/30")
REFUSED_WITHIN_S = 0.1


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return tmp_path / "run"


@contextlib.contextmanager
def managed(instance: str, run_dir: Path, *, pool: str = POOL, allow_private: bool = False) -> Iterator[NetworkManager]:
    options = NetworkOptions(pool=pool, allow_private=allow_private)
    manager = NetworkManager.open(instance, run_dir, options, OF_OPEN)
    try:
        yield manager
    finally:
        for sandbox in manager.list_():
            manager.detach(sandbox)
        manager.close()
    assert f" {instance}\n" not in subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def manager(instance: str, run_dir: Path) -> Iterator[NetworkManager]:
    with managed(instance, run_dir) as opened:
        yield opened


class Outside(NamedTuple):
    """A machine with a private address, one hop behind the host."""

    address: str
    host_address: str
    netns: Path


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Outside]:
    host, address = OUTSIDE.hosts()
    path, name = tmp_path / "outside", f"o{os.getpid()}"
    with netns.created(path) as (fd, inside), Netlink() as netlink:
        netlink.request(new_veth(name, peer_name="eth0", peer_netns_fd=fd, mtu=1500), set_up(name))
        netlink.request(add_address(netlink.number_of(name), host, 30))
        inside.request(add_address(inside.number_of("eth0"), address, 30), set_up("eth0"), add_default_route(host))
    settle(path, str(host))
    yield Outside(str(address), str(host), path)
    with Netlink() as netlink:
        netlink.request(delete_link(name))
    netns.remove(path)


def link_names(instance: str) -> set[str]:
    with Netlink() as netlink:
        return {link.name for link in netlink.links() if link.name.startswith(interface_prefix(instance))}


def attach(manager: NetworkManager, sandbox_id: SandboxId) -> SandboxNetwork:
    """A network that carries packets; its host has refused a few by then."""
    network = manager.attach(sandbox_id, OPEN)
    settle(network.netns_path, network.gateway)
    return network


@contextlib.contextmanager
def listening(address: str, port: int = 0, *, where: Path | None = None) -> Iterator[socket.socket]:
    with kernel.in_netns(where) if where else contextlib.nullcontext():
        listener = socket.create_server((address, port))
    with listener:
        yield listener


def port_of(listener: socket.socket) -> int:
    return int(listener.getsockname()[1])


def test_what_a_network_looks_like_inside(manager: NetworkManager, sandbox_id: SandboxId) -> None:
    network = manager.attach(sandbox_id, OPEN)
    assert (network.interface, network.prefix) == ("eth0", 30)
    with kernel.in_netns(network.netns_path):
        inside = Netlink()
        switch = Path("/proc/sys/net/ipv6/conf/eth0/disable_ipv6")
        assert not switch.exists() or switch.read_text() == "1\n"
    with inside:
        (default,) = (route for route in inside.routes() if route.destination.prefixlen == 0)
        assert default.link_number == inside.number_of("eth0")
        assert {"lo", "eth0"} <= {link.name for link in inside.links()}
    assert connect(network.netns_path, "127.0.0.1", 1) == errno.ECONNREFUSED


def test_packets_are_no_larger_than_the_way_out_takes(manager: NetworkManager, sandbox_id: SandboxId, instance: str) -> None:
    manager.attach(sandbox_id, OPEN)
    with Netlink() as netlink:
        uplinks = {route.link_number for route in netlink.routes() if route.destination.prefixlen == 0}
        mtus = {link.number: link.mtu for link in netlink.links()}
        (link,) = (link for link in netlink.links() if link.name in link_names(instance))
    assert link.mtu <= min((mtus[number] for number in uplinks), default=1500)


def test_the_host_refuses_at_once_wherever_it_listens(manager: NetworkManager, outside: Outside, sandbox_id: SandboxId) -> None:
    network = attach(manager, sandbox_id)
    before = manager.denied()["host"]
    with listening(network.gateway) as on_gateway, listening("0.0.0.0") as anywhere, listening(outside.host_address) as elsewhere:
        targets = [
            (network.gateway, port_of(on_gateway)),
            (network.gateway, port_of(anywhere)),
            (outside.host_address, port_of(anywhere)),
            (outside.host_address, port_of(elsewhere)),
        ]
        for target in targets:
            began = time.monotonic()
            assert connect(network.netns_path, *target) == errno.ECONNREFUSED
            assert time.monotonic() - began < REFUSED_WITHIN_S
    assert manager.denied()["host"] == before + len(targets)


def test_the_host_does_not_get_into_a_sandbox(manager: NetworkManager, sandbox_id: SandboxId) -> None:
    """Other users of the machine must not get round connect tokens by the sandbox's address."""
    network = manager.attach(sandbox_id, OPEN)
    with listening(network.address, where=network.netns_path) as inside, socket.socket() as probe:
        probe.settimeout(0.3)
        assert probe.connect_ex((network.address, port_of(inside))) != 0


def test_sandboxes_do_not_reach_each_other(manager: NetworkManager) -> None:
    one, other = attach(manager, fresh_id()), attach(manager, fresh_id())
    with listening(other.address, where=other.netns_path) as theirs:
        assert connect(one.netns_path, other.address, port_of(theirs)) == errno.ECONNREFUSED
    assert manager.denied()["sandbox"] == 1


def test_a_false_source_address_gets_nowhere(manager: NetworkManager, outside: Outside) -> None:
    honest, liar = attach(manager, fresh_id()), attach(manager, fresh_id())
    with kernel.in_netns(liar.netns_path):
        inside = Netlink()
    with inside:
        inside.request(add_address(inside.number_of("eth0"), IPv4Address(honest.address), 32))
        inside.request(add_address(inside.number_of("eth0"), IPv4Address("198.51.100.7"), 32))
    for false in (honest.address, "198.51.100.7"):
        assert connect(liar.netns_path, "198.51.100.1", 80, source=false, timeout_s=0.2) == errno.ETIMEDOUT
        assert connect(liar.netns_path, outside.host_address, 1, source=false, timeout_s=0.2) == errno.ETIMEDOUT
    assert manager.denied()["spoofed"] >= 4


def test_private_ranges_open_only_by_the_operator(instance: str, run_dir: Path, outside: Outside, sandbox_id: SandboxId) -> None:
    with listening(outside.address, where=outside.netns) as listener:
        with managed(instance, run_dir) as closed:
            assert connect(attach(closed, sandbox_id).netns_path, outside.address, port_of(listener)) == errno.ECONNREFUSED
            assert closed.denied()["private"] == 1
        with managed(instance, run_dir, allow_private=True) as opened:
            network = attach(opened, sandbox_id)
            assert connect(network.netns_path, outside.address, port_of(listener)) == 0
            assert connect(network.netns_path, "169.254.169.254", 80) == errno.ECONNREFUSED
        listener.settimeout(3)
        connection, (peer, _) = listener.accept()
        connection.close()
    assert peer == outside.host_address


def test_a_port_of_the_host_that_is_handed_on_is_still_the_hosts(
    instance: str, run_dir: Path, outside: Outside, sandbox_id: SandboxId
) -> None:
    table = f"test-{os.getpid()}"
    with (
        managed(instance, run_dir, allow_private=True) as manager,
        listening(outside.address, where=outside.netns) as listener,
    ):
        network = attach(manager, sandbox_id)
        before = manager.denied()["host"]
        translation = f"""
            add table ip {table}
            add chain ip {table} c {{ type nat hook prerouting priority dstnat; }}
            add rule ip {table} c ip saddr {network.address} tcp dport 5555 dnat to {outside.address}:{port_of(listener)}
        """
        subprocess.run(["nft", "-f", "-"], input=translation, text=True, check=True)
        try:
            assert connect(network.netns_path, network.gateway, 5555) == errno.ECONNREFUSED
        finally:
            subprocess.run(["nft", "delete", "table", "ip", table], check=True)
        assert manager.denied()["host"] == before + 1


def test_nobody_outside_gets_in(manager: NetworkManager, outside: Outside, sandbox_id: SandboxId) -> None:
    network = attach(manager, sandbox_id)
    with listening(network.address, where=network.netns_path) as inside:
        assert connect(outside.netns, network.address, port_of(inside), timeout_s=0.3) == errno.ETIMEDOUT
    assert manager.denied()["inbound"] >= 1


def test_two_instances_share_a_pool_without_meeting(manager: NetworkManager, tmp_path: Path, instance: str) -> None:
    other_instance = f"{instance}-b"
    with managed(other_instance, tmp_path / "other", allow_private=True) as other:
        ours = [manager.attach(fresh_id(), OPEN) for _ in range(3)]
        theirs = [other.attach(fresh_id(), OPEN) for _ in range(3)]
        assert len({network.address for network in ours + theirs}) == 6
        assert manager.list_().isdisjoint(other.list_())
        with listening(ours[0].address, where=ours[0].netns_path) as inside:
            result = connect(theirs[0].netns_path, ours[0].address, port_of(inside), timeout_s=0.3)
        assert result in (errno.ETIMEDOUT, errno.ECONNREFUSED)


def test_attaching_again_changes_nothing(manager: NetworkManager, sandbox_id: SandboxId) -> None:
    network = manager.attach(sandbox_id, OPEN)
    with listening(network.address, where=network.netns_path):
        assert manager.attach(sandbox_id, OPEN) == network
        assert network.netns_path.stat().st_ino == network.netns_path.stat().st_ino
    assert manager.list_() == {sandbox_id}


def test_a_restart_finds_networks_and_keeps_them_filtered(manager: NetworkManager, instance: str, run_dir: Path, outside: Outside) -> None:
    before = {sandbox: attach(manager, sandbox) for sandbox in (fresh_id(), fresh_id(), fresh_id())}
    again = NetworkManager.open(instance, run_dir, NetworkOptions(pool=POOL), OF_OPEN)
    assert again.list_() == set(before)
    assert {sandbox: again.attach(sandbox, OPEN) for sandbox in before} == before
    assert again.attach(fresh_id(), OPEN).address not in {network.address for network in before.values()}
    for network in before.values():
        assert connect(network.netns_path, outside.host_address, 1) == errno.ECONNREFUSED
    assert again.denied()["host"] == 3
    assert again.denied()["spoofed"] == 0


def test_a_new_object_removes_what_it_did_not_make(manager: NetworkManager, instance: str, run_dir: Path, sandbox_id: SandboxId) -> None:
    late = NetworkManager.open(instance, run_dir, NetworkOptions(pool=POOL), OF_OPEN)
    manager.attach(sandbox_id, OPEN)
    late.detach(sandbox_id)
    assert late.list_() == frozenset()
    assert link_names(instance) == set()


def test_half_made_networks_are_listed_and_removed(manager: NetworkManager, instance: str, run_dir: Path) -> None:
    file_only, no_link, no_namespace, no_mount = (fresh_id() for _ in range(4))
    (run_dir / "netns" / file_only).touch()
    with netns.created(run_dir / "netns" / no_link):
        pass
    kept = os.open(manager.attach(no_namespace, OPEN).netns_path, os.O_RDONLY)  # else the namespace would take the link with it
    netns.remove(run_dir / "netns" / no_namespace)
    kernel.umount(manager.attach(no_mount, OPEN).netns_path, kernel.UmountFlag.DETACH)
    everything = {file_only, no_link, no_namespace, no_mount}
    assert manager.list_() == everything
    os.close(kept)
    for sandbox in everything:
        manager.detach(sandbox)
        manager.detach(sandbox)
    assert manager.list_() == frozenset()
    assert link_names(instance) == set()


@pytest.mark.parametrize("damage", ["no link", "no mount", "no file"])
def test_a_damaged_network_is_made_anew(manager: NetworkManager, instance: str, sandbox_id: SandboxId, damage: str) -> None:
    network = manager.attach(sandbox_id, OPEN)
    if damage == "no link":
        with Netlink() as netlink:
            netlink.request(delete_link(*link_names(instance)))
    elif damage == "no mount":
        kernel.umount(network.netns_path, kernel.UmountFlag.DETACH)
    else:
        netns.remove(network.netns_path)
    again = manager.attach(sandbox_id, OPEN)
    assert connect(again.netns_path, again.gateway, 1) == errno.ECONNREFUSED
    assert len(link_names(instance)) == 1


def test_links_without_an_owner_go_at_the_next_start(instance: str, run_dir: Path, tmp_path: Path) -> None:
    prefix = interface_prefix(instance)
    with netns.created(tmp_path / "scratch") as (fd, _), Netlink() as netlink:
        for index, alias in ((3, None), (4, "not a sandbox"), (5000, new_id("sb"))):
            netlink.request(new_veth(f"{prefix}{index}", peer_name=f"p{index}", peer_netns_fd=fd, mtu=1500))
            if alias:
                netlink.request(set_alias(f"{prefix}{index}", alias))
    with managed(instance, run_dir) as manager:
        assert manager.list_() == frozenset()
        assert link_names(instance) == set()
    netns.remove(tmp_path / "scratch")


def test_strangers_and_paths(manager: NetworkManager, run_dir: Path) -> None:
    (run_dir / "netns/stranger").touch()
    assert manager.list_() == frozenset()
    for bad in ("stranger", "..", "", "../x"):
        with pytest.raises(InvalidError):
            manager.attach(SandboxId(bad), OPEN)
        with pytest.raises(InvalidError):
            manager.detach(SandboxId(bad))
    assert (run_dir / "netns/stranger").exists()


def test_a_full_pool_leaves_nothing_of_the_one_too_many(instance: str, run_dir: Path) -> None:
    with managed(instance, run_dir, pool="10.215.9.0/28") as manager:  # four blocks, of which one is the node's own
        first, second, other, third = fresh_id(), fresh_id(), fresh_id(), fresh_id()
        for sandbox in (first, second, other):
            manager.attach(sandbox, OPEN)
        with pytest.raises(ResourceExhaustedError, match="network_pool"):
            manager.attach(third, OPEN)
        assert manager.list_() == {first, second, other}
        manager.detach(first)
        manager.attach(third, OPEN)


def test_a_pool_that_is_somebodys_network_is_refused(instance: str, run_dir: Path, tmp_path: Path) -> None:
    name = f"p{os.getpid()}"
    with netns.created(tmp_path / "scratch") as (fd, _), Netlink() as netlink:
        netlink.request(new_veth(name, peer_name="eth0", peer_netns_fd=fd, mtu=1500), set_up(name))
        netlink.request(add_address(netlink.number_of(name), IPv4Address("10.218.7.1"), 24))
    try:
        for pool in ("10.218.0.0/16", "10.218.7.0/29"):
            with pytest.raises(InvalidError, match="overlaps"):
                NetworkManager.open(instance, run_dir, NetworkOptions(pool=pool))
    finally:
        with Netlink() as netlink:
            netlink.request(delete_link(name))
        netns.remove(tmp_path / "scratch")


def test_when_the_filter_refuses_nothing_is_left(
    manager: NetworkManager, instance: str, sandbox_id: SandboxId, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sandbox that the filter does not know must not get a network at all."""
    batch, calls = NfNetlink.batch, 0

    def fail_once(self: NfNetlink, messages: Sequence[NfMessage]) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise OSError(errno.ENOMEM, "no memory")
        batch(self, messages)

    monkeypatch.setattr(NfNetlink, "batch", fail_once)
    with pytest.raises(OSError, match="no memory"):
        manager.attach(sandbox_id, OPEN)
    assert manager.list_() == frozenset()
    assert link_names(instance) == set()


def test_a_refused_transaction_changes_nothing(manager: NetworkManager, instance: str) -> None:
    tables = Nftables()
    with pytest.raises(InternalFailure, match="nftables refused"):
        tables.run(f"delete table inet {instance}\nadd chain inet no-such c")
    assert manager.denied()["host"] == 0


def test_a_flushed_filter_is_put_back(manager: NetworkManager, instance: str, sandbox_id: SandboxId) -> None:
    network = attach(manager, sandbox_id)
    assert not manager.ensure_filter()
    subprocess.run(["nft", "delete", "table", "inet", instance], check=True)
    assert manager.ensure_filter()
    assert connect(network.netns_path, network.gateway, 1) == errno.ECONNREFUSED
    assert manager.denied()["host"] == 1
    assert not manager.ensure_filter()


def test_networks_of_a_former_pool_are_cut_off(instance: str, run_dir: Path, sandbox_id: SandboxId) -> None:
    """Their addresses mean something else now; as half-made ones they wait for their removal."""
    former = NetworkManager.open(instance, run_dir, NetworkOptions(pool="10.215.64.0/24"))
    network = former.attach(sandbox_id, OPEN)
    with managed(instance, run_dir) as manager:
        assert link_names(instance) == set()
        assert manager.list_() == {sandbox_id}
        assert manager.attach(sandbox_id, OPEN).address != network.address


def test_the_filter_stays_while_there_are_networks(manager: NetworkManager, sandbox_id: SandboxId) -> None:
    manager.attach(sandbox_id, OPEN)
    with pytest.raises(ConflictError):
        manager.close()
    manager.detach(sandbox_id)
    manager.close()
    manager.close()


def test_threads_get_different_addresses(manager: NetworkManager, instance: str) -> None:
    ids = [fresh_id() for _ in range(24)]
    with ThreadPoolExecutor(8) as threads:
        networks = list(threads.map(lambda sandbox: manager.attach(sandbox, OPEN), ids))
        assert len({network.address for network in networks}) == len(ids)
        assert manager.list_() == set(ids)
        list(threads.map(manager.detach, ids))
    assert manager.list_() == frozenset()
    assert link_names(instance) == set()


@pytest.mark.timeout(60)
def test_two_hundred_cycles_leave_nothing(manager: NetworkManager, instance: str, run_dir: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        for _ in range(10):
            ids = [fresh_id() for _ in range(20)]
            for sandbox in ids:
                manager.attach(sandbox, OPEN)
            list(threads.map(manager.detach, ids))
    assert manager.list_() == frozenset()
    assert link_names(instance) == set()
    assert list((run_dir / "netns").iterdir()) == []
    for kept in ("set sandboxes", "map policies", "set connections"):
        kind, name = kept.split()
        assert "elements" not in Nftables().run(f"list {kind} inet {instance} {name}")


def test_the_start_workaround_hides_the_directory_from_one_program_alone(manager: NetworkManager, sandbox_id: SandboxId) -> None:
    network = manager.attach(sandbox_id, OPEN)
    prefix = manager.start_prefix(network.netns_path)
    assert bool(prefix) == needs_start_workaround()
    if prefix:
        listing = subprocess.run([*prefix, "ls", "/proc/sys/net/core"], capture_output=True, text=True, check=True)
        assert listing.stdout == ""
    with kernel.in_netns(network.netns_path):
        assert Path("/proc/sys/net/core/rmem_default").exists() == needs_start_workaround()
    assert Path("/proc/sys/net/core/rmem_default").exists()
