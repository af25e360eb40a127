"""The smallest allowlist that permits what was seen."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import AddressValueError, IPv4Address, IPv4Network, collapse_addresses

from policies.egress.model import EgressPolicy, Mode
from policies.egress.parse import normal_name


def allowlist(seen: Iterable[tuple[str, str]]) -> EgressPolicy:
    """A policy for connections given as (address, name): by name where there is one, else by address.

    A connection of which only the name is known counts; what is neither a name nor an IPv4 address does not. No wildcards are made
    up: whether ``a.example.com`` and ``b.example.com`` stand for all of ``*.example.com`` is for people to decide.
    """
    domains, addresses = set[str](), set[IPv4Network]()
    for address, name in seen:
        if name and (domain := normal_name(name)) is not None:
            domains.add(domain)
        elif (network := _network(address)) is not None:
            addresses.add(network)
    cidrs = tuple(str(network) for network in collapse_addresses(addresses))
    return EgressPolicy(mode=Mode.ALLOWLIST, cidrs=cidrs, domains=tuple(sorted(domains)))


def _network(address: str) -> IPv4Network | None:
    try:
        return IPv4Network(IPv4Address(address))
    except AddressValueError:
        return None
