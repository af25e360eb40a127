"""Gives sandboxes a network and takes it away again.

A sandbox's network is a namespace with ``eth0`` in it, the host's end of that link, and an entry in the packet filter. The link's alias is
the sandbox id and its number tells its addresses, so that all there is to know can be read from the kernel, by a restarted daemon too.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Callable, Collection, Mapping
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Final, Self

import msgspec

from cove.exception import ConflictError
from cove.types import SandboxId
from policies.egress.model import BLOCKED, EgressPolicy
from policies.egress.ranges import Operator, Rule
from sandboxd.naming import check_instance, check_sandbox_id, interface_prefix, is_sandbox_id, sandbox_ids
from sandboxd.network import conntrack, host, netns, rules, spares
from sandboxd.network.addresses import PREFIX, AddressPool, Block, link_number, parse_pool
from sandboxd.network.membership import Member
from sandboxd.network.netlink import Link, Netlink, add_address, add_default_route, delete_link, new_veth, set_alias, set_up
from sandboxd.network.packet_filter import PacketFilter
from sandboxd.network.spares import Spares
from sandboxd.network.start_workaround import start_prefix

GUEST_INTERFACE: Final = "eth0"
DEFAULT_POOL: Final = "10.200.0.0/16"


class SandboxNetwork(msgspec.Struct, frozen=True, kw_only=True):
    """A sandbox's network as seen from inside, and where it is."""

    netns_path: Path
    interface: str
    address: str
    gateway: str
    prefix: int


class NetworkOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator decides of a node's networks."""

    pool: str = DEFAULT_POOL
    allow_private: bool = False
    exceptions: tuple[IPv4Network, ...] = ()
    """See ``policies.egress.ranges.Operator``."""
    caps: rules.Caps = rules.Caps()
    service: rules.Service | None = None
    """Resolver and relay, at :func:`service_address`; None: names do not resolve, and policies with names or proxies allow nothing."""
    log_group: int = 0
    """Of a ``PacketLog``."""


class Before(msgspec.Struct, frozen=True):
    """What was written down of networks that may still exist."""

    policy_of: Callable[[SandboxId], EgressPolicy | None]
    """None: no such sandbox is known, and it is blocked."""
    pinned: Callable[[SandboxId], Mapping[IPv4Address, float]]
    """Addresses it may reach by name, with the seconds that each has left."""


NOTHING_BEFORE: Final = Before(lambda _: None, lambda _: {})


def service_address(pool: str) -> IPv4Address:
    """The address of ``pool`` at which a node serves its sandboxes; no sandbox gets it. Raises: InvalidError: the pool."""
    return parse_pool(pool).service


def claim_service(pool: str) -> IPv4Address:
    """Give this machine the :func:`service_address`, so that something can listen there. Raises: InvalidError: the pool. OSError."""
    addresses = parse_pool(pool)
    with Netlink() as netlink:
        host.check_pool(netlink, addresses.network)
        host.claim_service(netlink, addresses.service)
    return addresses.service


class NetworkManager:
    """Networks by sandbox id. Make one with :meth:`open`. Methods are direct system calls, of 1 to 5 ms if not said otherwise.

    They may come from any thread, but never two at a time for the same sandbox.
    """

    def __init__(self, directory: Path, links: str, pool: AddressPool, packet_filter: PacketFilter) -> None:
        """``directory``: where namespaces are mounted. ``links``: prefix of the host's ends."""
        self._directory = directory
        self._links = links
        self._pool = pool
        self._filter = packet_filter
        self._mtu = host.DEFAULT_MTU
        self._blocks: dict[SandboxId, Block] = {}
        """Of links known to exist; the kernel has the same knowledge, but finding one link there means listing them all."""
        self._owners: dict[int, SandboxId] = {}
        """The same by the number of the block."""
        self._spares = Spares(directory.parent / "spares")
        self._claimed: Callable[[], object] = lambda: None

    @classmethod
    def open(cls, instance: str, run_dir: Path, options: NetworkOptions, before: Before = NOTHING_BEFORE) -> Self:
        """Take over the networks there are, and put the packet filter in place, in one step; some 10 ms.

        Switches the host's IPv4 forwarding on; it stays on, as others may have come to rely on it when this node goes.

        Raises:  InvalidError: the pool overlaps a network of this machine. InternalFailure: nftables is missing or refuses. OSError.
        """
        directory = run_dir / "netns"
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        addresses, links = parse_pool(options.pool), interface_prefix(instance)
        spec = rules.Filter(
            table=check_instance(instance),
            links=links,
            operator=Operator(pool=addresses.network, allow_private=options.allow_private, exceptions=options.exceptions),
            caps=options.caps,
            service=options.service,
            log_group=options.log_group,
        )
        manager = cls(directory.resolve(), links, addresses, PacketFilter(spec))
        manager._take_over(before)
        return manager

    def attach(self, sandbox_id: SandboxId, policy: EgressPolicy) -> SandboxNetwork:
        """The sandbox's network, made if there is none; one that is half-made is made anew. ``policy`` holds for one that is made.

        Raises:  ResourceExhaustedError: the pool is used up. InternalFailure, OSError: nothing is left of it then.
        """
        path = self._path(sandbox_id)
        block = self._blocks.get(sandbox_id)
        if block and not (os.path.ismount(path) and _exists(self._link(block))):
            self.detach(sandbox_id)
            block = None
        if block is None:
            netns.remove(path)
            block = self._claim(sandbox_id, policy) or self._make(sandbox_id, policy)
        address, gateway = str(block.address), str(block.gateway)
        return SandboxNetwork(netns_path=path, interface=GUEST_INTERFACE, address=address, gateway=gateway, prefix=PREFIX)

    def detach(self, sandbox_id: SandboxId) -> None:
        """Cut the sandbox off and remove its network. Idempotent; whole or half-made.

        Belongs into a thread: the kernel takes tens of milliseconds to let go of a link. Raises: InternalFailure, OSError.
        """
        path = self._path(sandbox_id)
        block = self._blocks.get(sandbox_id) or self._find(sandbox_id)
        if block is not None:  # the link first: whatever still runs in the namespace is cut off at once
            with Netlink() as netlink:
                _delete_if_there(netlink, self._link(block))
            self._filter.expel(self._link(block))
            conntrack.forget(block.address)  # or answers to this sandbox would come to the next one with its address
        netns.remove(path)
        if (gone := self._blocks.pop(sandbox_id, None)) is not None:
            del self._owners[gone.index]

    def lay_spares(self, count: int) -> None:
        """Have ``count`` networks laid ahead; some 4 ms for each that is missing, so it belongs into a thread. Raises: OSError."""
        while len(self._spares) < count:
            self._lay_spare()

    def when_claimed(self, tell: Callable[[], object]) -> None:
        """Have ``tell`` called, by whatever thread, when there is one spare less."""
        self._claimed = tell

    def set_policy(self, sandbox_id: SandboxId, policy: EgressPolicy) -> None:
        """Put ``policy`` in force in one step, for connections that there are, too; a fraction of a millisecond.

        Raises:  ConflictError: the sandbox has no network. OSError, InternalFailure.
        """
        self._filter.set_policy(self._link_of(sandbox_id), policy)

    def policy_of(self, sandbox_id: SandboxId) -> EgressPolicy:
        """The policy in force. Raises: ConflictError: the sandbox has no network."""
        return self._filter.policy_of(self._link_of(sandbox_id))

    def pin(self, sandbox_id: SandboxId, addresses: Collection[IPv4Address], lasts_s: float) -> None:
        """Let the sandbox reach ``addresses`` by name for so long. Raises: ConflictError: it has no network. OSError, InternalFailure."""
        self._filter.pin(self._link_of(sandbox_id), addresses, lasts_s)

    def unpin(self, sandbox_id: SandboxId, addresses: Collection[IPv4Address]) -> None:
        """Undo :meth:`pin`. Raises: ConflictError: it has no network. OSError, InternalFailure."""
        self._filter.unpin(self._link_of(sandbox_id), addresses)

    def sandbox_at(self, address: IPv4Address) -> SandboxId | None:
        """The sandbox that has ``address``."""
        index = self._pool.index_of(address)
        return self._owners.get(index) if index is not None and self._pool.block(index).address == address else None

    def sandbox_on(self, interface: int) -> SandboxId | None:
        """The sandbox at the other end of the host's interface with this number."""
        try:
            index = link_number(socket.if_indextoname(interface), self._links)
        except OSError:
            return None
        return None if index is None else self._owners.get(index)

    def denied_range(self, address: IPv4Address) -> Rule | None:
        """The rule by which no sandbox reaches ``address``; None: that is up to its policy. 30 µs. Raises: OSError."""
        with Netlink() as netlink:
            return Rule.HOST if netlink.is_local(address) else self._filter.spec.operator.denies(address)

    def _link_of(self, sandbox_id: SandboxId) -> str:
        block = self._blocks.get(sandbox_id)
        if block is None:
            remedy = "Create one with an empty list instead of block_network."
            raise ConflictError("The sandbox was created without a network.", remedy=remedy)
        return self._link(block)

    def list_(self) -> frozenset[SandboxId]:
        """Every sandbox of which there is a link or a namespace, as the kernel has it."""
        return sandbox_ids([*netns.names(self._directory), *(link.alias for _, link in self._own_links())])

    def denied(self) -> Mapping[str, int]:
        """Packets denied since :meth:`open`, by kind (``rules.DENIALS``). Raises: OSError."""
        return self._filter.denied()

    def ensure_filter(self) -> bool:
        """Put the packet filter back if somebody removed it (a reload of the host's firewall flushes all tables); 1 ms if it is there.

        Returns: whether it was gone. Raises: InternalFailure.
        """
        if self._filter.spec.service:
            with Netlink() as netlink:
                host.claim_service(netlink, self._pool.service)
        return self._filter.ensure()

    def start_prefix(self, netns_path: Path) -> list[str]:
        """argv to put before ``runsc start``; see ``start_workaround``."""
        return start_prefix(netns_path)

    def close(self) -> None:
        """Remove the packet filter. Idempotent.

        Raises:  ConflictError: a sandbox still has a network, and would have it unfiltered. InternalFailure.
        """
        if held := self.list_():
            raise ConflictError(f"{len(held)} sandboxes still have networks.", remedy="Remove the sandboxes first.")
        while (spare := self._spares.take()) is not None:
            self._scrap(spare)
        self._filter.delete()
        with Netlink() as netlink:
            host.drop_service(netlink, self._pool.service)

    # --- making and finding ----------------------------------------------------------------------------------------------------------

    def _take_over(self, before: Before) -> None:
        host.enable_forwarding()
        with Netlink() as netlink:
            host.check_pool(netlink, self._pool.network)
            self._mtu = host.uplink_mtu(netlink)
            spared: list[Block] = []
            for index, link in self._own_links():
                block = self._pool.block(index) if index < len(self._pool) else None
                leads = block is not None and _leads_to(netlink, link, block)
                if block and leads and is_sandbox_id(link.alias):
                    self._know(SandboxId(link.alias), block)
                elif block and leads and link.alias == spares.ALIAS and self._spares.is_whole(block):
                    spared.append(block)
                else:  # its maker died over it, or worked with another pool
                    _delete_if_there(netlink, link.name)
        self._spares.sweep(spared)
        for block in spared:
            self._spares.add(block)
        now = time.monotonic()
        members = {
            self._link(block): Member(
                block.address,
                before.policy_of(sandbox_id) or BLOCKED,
                {address: now + left_s for address, left_s in before.pinned(sandbox_id).items()},
            )
            for sandbox_id, block in self._blocks.items()
        }
        self._filter.build(members)

    def _know(self, sandbox_id: SandboxId, block: Block) -> None:
        self._blocks[sandbox_id] = block
        self._owners[block.index] = sandbox_id

    def _claim(self, sandbox_id: SandboxId, policy: EgressPolicy) -> Block | None:
        """Make a spare the sandbox's; None if there is none, or somebody has damaged it."""
        block = self._spares.take()
        if block is None:
            return None
        self._claimed()
        if not self._spares.is_whole(block) or not _exists(self._link(block)):
            self._scrap(block)
            return None
        self._know(sandbox_id, block)
        try:
            # The alias first: whoever is asked from now on whose link this is says the sandbox's, and it is freed with that.
            with Netlink() as netlink:
                netlink.request(set_alias(self._link(block), sandbox_id))
            self._spares.hand_over(block, self._path(sandbox_id))
            self._filter.admit(self._link(block), block.address, policy)
        except BaseException:
            self.detach(sandbox_id)
            netns.remove(self._spares.path(block))
            raise
        return block

    def _make(self, sandbox_id: SandboxId, policy: EgressPolicy) -> Block:
        """Lay a network for the sandbox alone."""
        try:
            block = self._lay(self._path(sandbox_id), sandbox_id, lambda chosen: self._know(sandbox_id, chosen))
            self._filter.admit(self._link(block), block.address, policy)
        except BaseException:
            self.detach(sandbox_id)
            raise
        return block

    def _lay_spare(self) -> None:
        fresh = self._spares.fresh_path()
        try:
            block = self._lay(fresh, spares.ALIAS, lambda _: None)
            self._spares.add(self._spares.settle(fresh, block))
        except BaseException:
            netns.remove(fresh)  # the link goes with it
            raise

    def _scrap(self, spare: Block) -> None:
        with Netlink() as netlink:
            _delete_if_there(netlink, self._link(spare))
        netns.remove(self._spares.path(spare))

    def _lay(self, path: Path, alias: str, chosen: Callable[[Block], None]) -> Block:
        """A namespace at ``path`` with a link on addresses of its own. ``chosen`` hears which, before the link is there."""
        with netns.created(path) as (fd, inside), Netlink() as netlink, host.address_lock():
            block = self._pool.choose(lambda candidate: self._is_free(netlink, candidate))
            chosen(block)
            self._connect(netlink, alias, block, netns_fd=fd)
            inside.request(
                add_address(inside.number_of(GUEST_INTERFACE), block.address, PREFIX),
                set_up(GUEST_INTERFACE),
                add_default_route(block.gateway),
            )
        return block

    def _connect(self, netlink: Netlink, alias: str, block: Block, *, netns_fd: int) -> None:
        """Lay the link. The host's end has no IPv6 address either, so that nothing of the host answers a sandbox there."""
        name = self._link(block)
        pair = new_veth(name, peer_name=GUEST_INTERFACE, peer_netns_fd=netns_fd, mtu=self._mtu)
        netlink.request(pair, set_alias(name, alias))
        host.disable_ipv6(name)
        netlink.request(add_address(netlink.number_of(name), block.gateway, PREFIX), set_up(name))

    def _find(self, sandbox_id: SandboxId) -> Block | None:
        """The block of a link that this object did not make."""
        return next((self._pool.block(index) for index, link in self._own_links() if link.alias == sandbox_id), None)

    def _is_free(self, netlink: Netlink, block: Block) -> bool:
        """Not ours, and nobody else's: packets there would leave by a route wider than the pool's."""
        if block.index in self._owners or _exists(self._link(block)):
            return False
        route = netlink.route_to(block.address)
        return route is None or route.destination.prefixlen < self._pool.network.prefixlen

    def _own_links(self) -> list[tuple[int, Link]]:
        """This instance's links with their block numbers."""
        with Netlink() as netlink:
            numbered = [(link_number(link.name, self._links), link) for link in netlink.links()]
        return [(number, link) for number, link in numbered if number is not None]

    def _link(self, block: Block) -> str:
        return f"{self._links}{block.index}"

    def _path(self, sandbox_id: SandboxId) -> Path:
        return self._directory / check_sandbox_id(sandbox_id)


def _leads_to(netlink: Netlink, link: Link, block: Block) -> bool:
    """Whether ``link`` has the addresses of ``block``, so that packets to it go that way."""
    route = netlink.route_to(block.address)
    return route is not None and route.link_number == link.number


def _exists(link: str) -> bool:
    try:
        socket.if_nametoindex(link)
    except OSError:
        return False
    return True


def _delete_if_there(netlink: Netlink, link: str) -> None:
    try:
        netlink.request(delete_link(link))
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise
