"""A sandbox's egress policy as a plain value: what journals keep and packet filters are made of."""

from __future__ import annotations

from enum import StrEnum
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network, ip_network

import msgspec


class Mode(StrEnum):
    """What holds for destinations that no list names."""

    OPEN = "open"
    BLOCKED = "blocked"
    ALLOWLIST = "allowlist"
    RECORD = "record"


class EgressPolicy(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """A normalised policy; :func:`policies.egress.parse.fill_policy` makes them from what clients say."""

    mode: Mode = Mode.OPEN
    cidrs: tuple[str, ...] = ()
    """Ranges in the shortest list that says the same, IPv4 before IPv6; any port and protocol."""
    domains: tuple[str, ...] = ()
    """Names in lower case and ASCII, sorted; ``*.`` before one means every name below it, and not itself."""
    proxy: str = ""
    """Name of the operator's proxy that TCP leaves through; empty: none."""

    @property
    def has_resolver(self) -> bool:
        """Whether any name resolves: a list of nothing but addresses needs no names, and each question would carry data out."""
        return self.mode in (Mode.OPEN, Mode.RECORD) or bool(self.domains)

    @property
    def is_relayed(self) -> bool:
        """Whether TCP connections pass the relay, which sees the names they are for."""
        return self.mode is not Mode.BLOCKED and bool(self.proxy or self.domains)

    @cached_property
    def ipv4_networks(self) -> tuple[IPv4Network, ...]:
        """The ranges that can matter: sandboxes have no IPv6."""
        return tuple(network for network in map(ip_network, self.cidrs) if isinstance(network, IPv4Network))

    def allows_address(self, address: IPv4Address) -> bool:
        """Whether a range of the list has ``address``."""
        return any(address in network for network in self.ipv4_networks)

    def allows_name(self, name: str) -> bool:
        """Whether the list of domains has ``name``, given in lower case without a trailing period."""
        if self.mode in (Mode.OPEN, Mode.RECORD):
            return True
        exact, below = self._names
        return name in exact or any(name.endswith(suffix) for suffix in below)

    @cached_property
    def _names(self) -> tuple[frozenset[str], tuple[str, ...]]:
        wildcards = tuple(domain[1:] for domain in self.domains if domain.startswith("*."))
        return frozenset(domain for domain in self.domains if not domain.startswith("*.")), wildcards


BLOCKED = EgressPolicy(mode=Mode.BLOCKED)
