"""Addresses that are special to every sandbox, whatever its policy says: the one definition for packet filter, resolver and relay."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network
from typing import Final

import msgspec


class Rule(StrEnum):
    """What decided about a packet or a connection. The same words are in the egress log."""

    IPV6 = "ipv6"
    SPOOFED = "spoofed"
    HOST = "host"
    SANDBOX = "sandbox"
    LINK_LOCAL = "link_local"
    RESERVED = "reserved"
    PRIVATE = "private"
    CONNECTIONS = "connections"
    """The sandbox has as many connections as it may have."""
    BLOCKED = "blocked"
    NOT_LISTED = "not_listed"
    PROXIED = "proxied"
    """Only TCP passes a proxy."""
    PROXY = "proxy"
    """The proxy is not there, or does not connect."""
    NAME = "name"
    """The connection says a name that did not lead to its address."""
    PROTOCOL = "protocol"
    """The connection cannot be told to be for an allowed name."""
    DNS_TYPE = "dns_type"
    """Only addresses can be looked up."""
    DNS_RATE = "dns_rate"
    DNS_NAMES = "dns_names"
    """Too many questions, or too many letters of new names."""
    OPEN = "open"
    CIDR = "cidr"
    DOMAIN = "domain"


def _networks(*texts: str) -> tuple[IPv4Network, ...]:
    return tuple(map(IPv4Network, texts))


LINK_LOCAL: Final = _networks("169.254.0.0/16")
RESERVED: Final = _networks("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4")
"""Source: IANA special-purpose address registry; 240.0.0.0/4 includes limited broadcast."""
PRIVATE: Final = _networks("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.0.0.0/24", "192.168.0.0/16", "198.18.0.0/15")
"""RFC 1918, and what else is not routed on the internet but inside organisations (carrier NAT: some clouds keep metadata there)."""

ALIBABA_METADATA: Final = IPv4Address("100.100.100.200")
"""In a private range: allowing those must not open it. Source: Alibaba Cloud, "Instance metadata"."""


class Operator(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator of a node decided for all of its sandboxes."""

    pool: IPv4Network
    """Addresses of sandboxes and of what serves them."""
    allow_private: bool = False
    exceptions: tuple[IPv4Network, ...] = ()
    """Ranges that policies may allow although they are special. The host and other sandboxes never become reachable by it."""

    def denied_ranges(self) -> tuple[tuple[Rule, tuple[IPv4Network, ...]], ...]:
        """Kinds of special ranges in the order in which they are judged; ``exceptions`` come between the first and the rest."""
        private = (IPv4Network(ALIBABA_METADATA),) if self.allow_private else PRIVATE
        kind = Rule.LINK_LOCAL if self.allow_private else Rule.PRIVATE
        return (Rule.SANDBOX, (self.pool,)), (Rule.LINK_LOCAL, LINK_LOCAL), (Rule.RESERVED, RESERVED), (kind, private)

    def denies(self, address: IPv4Address) -> Rule | None:
        """The rule by which no sandbox may reach ``address``; None: that is up to its policy."""
        if not _has(self.exceptions, address) or address in self.pool:
            for rule, networks in self.denied_ranges():
                if _has(networks, address):
                    return rule
        return None


def _has(networks: Iterable[IPv4Network], address: IPv4Address) -> bool:
    return any(address in network for network in networks)
