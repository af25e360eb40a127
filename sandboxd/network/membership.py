"""What one sandbox adds to the packet filter: its address, its policy's place in the maps, its list. Pure.

The same parts are rendered twice: as text for a table that is built whole, and as messages for changes of one that is in force.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network

import msgspec

from policies.egress.model import EgressPolicy, Mode
from policies.egress.ranges import Rule
from sandboxd.network import changes, rules
from sandboxd.network.nfnetlink import NfMessage


class Member(msgspec.Struct):
    """A sandbox's link as the filter knows it."""

    address: IPv4Address
    policy: EgressPolicy
    pins: dict[IPv4Address, float] = msgspec.field(default_factory=dict)
    """Addresses that names were resolved to, with the time (monotonic seconds) at which each is forgotten."""

    def pins_left(self, now: float) -> dict[IPv4Address, float]:
        """Addresses with the seconds that each has left."""
        return {address: until - now for address, until in self.pins.items() if until > now}


class Chain(msgspec.Struct, frozen=True):
    """Packets to what the sandbox's list has go to one chain, the rest to another."""

    name: str
    listed: str
    rest: str
    by_source: bool = False
    """For what comes from there."""


class Ruling(msgspec.Struct, frozen=True):
    """A policy as the filter has it."""

    forwarded: str
    """The chain for packets to outside."""
    returned: str
    """The chain for answers."""
    relayed: str
    """The chain for TCP before all that; empty: it is not relayed."""
    networks: tuple[IPv4Network, ...] | None
    """The sandbox's set of ranges; None: it has none."""
    chains: tuple[Chain, ...]
    """Of its own."""


def ruling(link: str, policy: EgressPolicy) -> Ruling:
    """How the packets of ``link`` are judged by ``policy``."""
    if policy.mode is Mode.BLOCKED:
        return Ruling(rules.deny_chain(Rule.BLOCKED), rules.NOT_BACK, "", None, ())
    if policy.mode is not Mode.ALLOWLIST:
        if policy.proxy:
            return Ruling(rules.deny_chain(Rule.PROXIED), rules.NOT_BACK, rules.RELAY_ALL, None, ())
        return Ruling(rules.allow_chain(Rule.OPEN), rules.BACK, "", None, ())
    led = Chain(f"relay_{link}", rules.RELAY_ALL if policy.proxy else rules.STRAIGHT, rules.RELAY_PINNED)
    if policy.proxy:  # all that is allowed was led to the relay before
        return Ruling(rules.PROXIED_OR_DENIED, rules.NOT_BACK, led.name, policy.ipv4_networks, (led,))
    rest = rules.PINNED_OR_DENIED if policy.domains else rules.deny_chain(Rule.NOT_LISTED)
    there = Chain(f"list_{link}", rules.allow_chain(Rule.CIDR), rest)
    back = Chain(f"back_{link}", rules.BACK, rules.BACK_FROM_PINNED if policy.domains else rules.NOT_BACK, by_source=True)
    relayed = (led,) if policy.is_relayed else ()
    return Ruling(there.name, back.name, led.name if relayed else "", policy.ipv4_networks, (there, back, *relayed))


def script(table: str, link: str, member: Member, now: float) -> str:
    """nftables commands that add the sandbox to a table that was built in the same script."""
    made, own = ruling(link, member.policy), _set(link)
    lines = [f'add element inet {table} {rules.SANDBOXES} {{ "{link}" . {member.address} }}']
    if made.networks is not None:
        lines.append(f"add set inet {table} {own} {{ type ipv4_addr; flags interval; }}")
    if made.networks:
        lines.append(f"add element inet {table} {own} {{ {', '.join(map(str, made.networks))} }}")
    for chain in made.chains:
        lines.append(f"add chain inet {table} {chain.name}")
        lines.append(f"add rule inet {table} {chain.name} ip {'saddr' if chain.by_source else 'daddr'} @{own} goto {chain.listed}")
        lines.append(f"add rule inet {table} {chain.name} goto {chain.rest}")
    lines += (f'add element inet {table} {name} {{ "{link}" : goto {chain} }}' for name, chain in _places(made))
    pins = (f'"{link}" . {address} timeout {max(1, round(left_s))}s' for address, left_s in member.pins_left(now).items())
    if joined := ", ".join(pins):
        lines.append(f"add element inet {table} {rules.PINS} {{ {joined} }}")
    return "\n".join(lines) + "\n"


def admission(table: str, link: str, address: IPv4Address) -> list[NfMessage]:
    """Packets of ``link`` may have this source."""
    return changes.add_keys(table, rules.SANDBOXES, [changes.pair_key(link, address)])


def dismissal(table: str, link: str, address: IPv4Address) -> list[NfMessage]:
    return changes.delete_keys(table, rules.SANDBOXES, [changes.pair_key(link, address)])


def added(table: str, link: str, policy: EgressPolicy) -> list[NfMessage]:
    """Put a policy in force where there is none."""
    made, key, own = ruling(link, policy), changes.interface_key(link), _set(link)
    messages = [] if made.networks is None else changes.add_ranges(table, own, made.networks)
    for chain in made.chains:
        messages.append(changes.add_chain(table, chain.name))
        messages.append(changes.add_goto(table, chain.name, chain.listed, listed=own, by_source=chain.by_source))
        messages.append(changes.add_goto(table, chain.name, chain.rest))
    for name, target in _places(made):
        messages += changes.add_gotos(table, name, [(key, target)])
    return messages


def removed(table: str, link: str, policy: EgressPolicy) -> list[NfMessage]:
    """Undo :func:`added`."""
    made, key = ruling(link, policy), changes.interface_key(link)
    return [
        *(message for name, _ in _places(made) for message in changes.delete_keys(table, name, [key])),
        *(message for chain in made.chains for message in changes.delete_chain(table, chain.name)),
        *([] if made.networks is None else [changes.delete_set(table, _set(link))]),
    ]


def pinned(table: str, link: str, addresses: Iterable[IPv4Address], lasts_s: float) -> list[NfMessage]:
    """Let ``link`` reach ``addresses`` for so long; those that it has keep the time they have."""
    return changes.add_keys(table, rules.PINS, [changes.pair_key(link, address) for address in addresses], lasts_s=lasts_s)


def unpinned(table: str, link: str, addresses: Iterable[IPv4Address]) -> list[NfMessage]:
    """Undo :func:`pinned`. Added first: the kernel has dropped those whose time is over, and deleting what is not there fails."""
    keys = [changes.pair_key(link, address) for address in addresses]
    return [*changes.add_keys(table, rules.PINS, keys, lasts_s=60), *changes.delete_keys(table, rules.PINS, keys)]


def _places(made: Ruling) -> list[tuple[str, str]]:
    """The maps in which the sandbox has an entry, each with the chain it leads to."""
    places = [(rules.POLICIES, made.forwarded), (rules.RETURNS, made.returned), (rules.RELAYS, made.relayed)]
    return [(name, chain) for name, chain in places if chain]


def _set(link: str) -> str:
    return f"cidrs_{link}"
