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
    """Destinations that the sandbox's list has go to one chain, the rest to another."""

    name: str
    listed: str
    rest: str


class Ruling(msgspec.Struct, frozen=True):
    """A policy as the filter has it."""

    forwarded: str
    """The chain for packets to outside."""
    relayed: str
    """The chain for TCP before that; empty: it is not relayed."""
    networks: tuple[IPv4Network, ...] | None
    """The sandbox's set of ranges; None: it has none."""
    chains: tuple[Chain, ...]
    """Of its own."""


def ruling(link: str, policy: EgressPolicy) -> Ruling:
    """How the packets of ``link`` are judged by ``policy``."""
    if policy.mode is Mode.BLOCKED:
        return Ruling(rules.deny_chain(Rule.BLOCKED), "", None, ())
    if policy.mode is not Mode.ALLOWLIST:
        if policy.proxy:
            return Ruling(rules.deny_chain(Rule.PROXIED), rules.RELAY_ALL, None, ())
        return Ruling(rules.allow_chain(Rule.OPEN), "", None, ())
    rest = rules.PINNED_OR_DENIED if policy.domains else rules.deny_chain(Rule.NOT_LISTED)
    if policy.proxy:  # all that is allowed was led to the relay before
        forwarded, direct = rules.PROXIED_OR_DENIED, list[Chain]()
    else:
        forwarded, direct = f"list_{link}", [Chain(f"list_{link}", rules.allow_chain(Rule.CIDR), rest)]
    if not policy.is_relayed:
        return Ruling(forwarded, "", policy.ipv4_networks, tuple(direct))
    led = Chain(f"relay_{link}", rules.RELAY_ALL if policy.proxy else rules.STRAIGHT, rules.RELAY_PINNED)
    return Ruling(forwarded, led.name, policy.ipv4_networks, (*direct, led))


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
        lines.append(f"add rule inet {table} {chain.name} ip daddr @{own} goto {chain.listed}")
        lines.append(f"add rule inet {table} {chain.name} goto {chain.rest}")
    lines.append(f'add element inet {table} {rules.POLICIES} {{ "{link}" : goto {made.forwarded} }}')
    if made.relayed:
        lines.append(f'add element inet {table} {rules.RELAYS} {{ "{link}" : goto {made.relayed} }}')
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
        messages.append(changes.add_goto(table, chain.name, chain.listed, destinations=own))
        messages.append(changes.add_goto(table, chain.name, chain.rest))
    relays = [(key, made.relayed)] if made.relayed else []
    forwards = [(key, made.forwarded)]
    return [*messages, *changes.add_gotos(table, rules.POLICIES, forwards), *changes.add_gotos(table, rules.RELAYS, relays)]


def removed(table: str, link: str, policy: EgressPolicy) -> list[NfMessage]:
    """Undo :func:`added`."""
    made, key = ruling(link, policy), changes.interface_key(link)
    return [
        *changes.delete_keys(table, rules.POLICIES, [key]),
        *changes.delete_keys(table, rules.RELAYS, [key] if made.relayed else []),
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


def _set(link: str) -> str:
    return f"cidrs_{link}"
