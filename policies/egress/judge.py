"""What becomes of a connection: the packet filter's decisions as a pure function, each with the line that would allow it.

The filter itself (``sandboxd.network.rules``) is tested against this.
"""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import IPv4Address, IPv6Address
from typing import Final

import msgspec

from policies.egress.model import EgressPolicy, Mode
from policies.egress.ranges import Operator, Rule


class Destination(msgspec.Struct, frozen=True, kw_only=True):
    """Where a packet goes."""

    address: IPv4Address | IPv6Address
    protocol: str = "tcp"
    is_host: bool = False
    """Whether the address is one of the node's own."""
    pinned: bool = False
    """Whether the resolver gave it to this sandbox for a name that its policy allows."""


class Verdict(msgspec.Struct, frozen=True):
    """A decision and what made it."""

    allowed: bool
    rule: Rule


def judge(policy: EgressPolicy, operator: Operator, destination: Destination) -> Verdict:
    """What the packet filter does with a sandbox's packet that is not for the resolver."""
    address = destination.address
    if isinstance(address, IPv6Address):
        return Verdict(False, Rule.IPV6)
    if destination.is_host:
        return Verdict(False, Rule.HOST)
    if denied := operator.denies(address):
        return Verdict(False, denied)
    return _by_policy(policy, address, destination)


def _by_policy(policy: EgressPolicy, address: IPv4Address, destination: Destination) -> Verdict:
    if policy.mode is Mode.BLOCKED:
        return Verdict(False, Rule.BLOCKED)
    if policy.proxy and destination.protocol != "tcp":
        return Verdict(False, Rule.PROXIED)
    if policy.mode in (Mode.OPEN, Mode.RECORD):
        return Verdict(True, Rule.OPEN)
    if policy.allows_address(address):
        return Verdict(True, Rule.CIDR)
    return Verdict(True, Rule.DOMAIN) if policy.domains and destination.pinned else Verdict(False, Rule.NOT_LISTED)


_OF_OPERATOR: Final = {
    Rule.IPV6: "Use IPv4: sandboxes have no IPv6.",
    Rule.SPOOFED: "Send from the sandbox's own address.",
    Rule.HOST: "Nothing allows it: no sandbox reaches the machine it runs on.",
    Rule.SANDBOX: "Nothing allows it: use a tunnel of the other sandbox.",
    Rule.CONNECTIONS: "Close connections; the node's setting max_connections is the limit.",
    Rule.BLOCKED: 'Create the sandbox without block_network, or with cidr_allowlist=["{address}/32"].',
    Rule.PROXIED: "Use TCP: only that passes a proxy.",
    Rule.PRIVATE: "The node's operator can set allow_private_networks or network_exceptions.",
    Rule.LINK_LOCAL: "The node's operator can set network_exceptions.",
    Rule.RESERVED: "The node's operator can set network_exceptions.",
}


def remedy(rule: Rule, address: str, names: Collection[str] = ()) -> str:
    """The policy line that would allow what ``rule`` denied, or who else can. Empty for rules that deny nothing."""
    if rule is Rule.NOT_LISTED:
        return f'domain_allowlist=["{next(iter(names))}"]' if names else f'cidr_allowlist=["{address}/32"]'
    return _OF_OPERATOR.get(rule, "").format(address=address)
