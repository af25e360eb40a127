"""Checks a ``NetworkPolicy`` that a client sent and brings it into its normal form. Errors name the entry that is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network
from typing import Final

import idna

from cove.exception import InvalidError
from cove.types import check_name
from cove.wire.network_pb2 import NetworkMode, NetworkPolicy
from policies.egress.model import EgressPolicy, Mode

MAX_CIDRS: Final = 1_000
MAX_DOMAINS: Final = 1_000
MAX_ENTRY: Final = 1_024
"""Characters of an entry that are looked at; no right one has more."""

MAX_DOMAIN: Final = 253
"""Source: RFC 1035, 2.3.4, less the root's empty label and the first length byte."""

_MODES: Final = {
    NetworkMode.NETWORK_MODE_OPEN: Mode.OPEN,
    NetworkMode.NETWORK_MODE_BLOCKED: Mode.BLOCKED,
    NetworkMode.NETWORK_MODE_ALLOWLIST: Mode.ALLOWLIST,
    NetworkMode.NETWORK_MODE_RECORD: Mode.RECORD,
}
_WIRE_MODES: Final = {mode: number for number, mode in _MODES.items()}

_CIDR = re.compile(r"([0-9.]+|[0-9A-Fa-f:.]+)(/[0-9]{1,3})?", re.ASCII)
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)


def fill_policy(policy: NetworkPolicy) -> NetworkPolicy:
    """A checked copy in the normal form. Filling a filled one changes nothing.

    Raises:  InvalidError: an entry is malformed, there are too many, or the parts contradict each other.
    """
    return policy_to_wire(policy_from_wire(policy))


def policy_from_wire(policy: NetworkPolicy) -> EgressPolicy:
    """Raises: InvalidError: as :func:`fill_policy`."""
    mode = _MODES.get(policy.mode)
    if mode is None:
        known = ", ".join(NetworkMode.keys())
        raise InvalidError(f"There is no network mode {policy.mode}.", remedy=f"Use one of {known}.", context={"field": "network"})
    if mode is not Mode.ALLOWLIST and (policy.cidrs or policy.domains):
        raise InvalidError(f"Lists of what is allowed have no meaning in a network that is {mode}.", remedy="Give the lists alone.")
    if mode is Mode.BLOCKED and policy.proxy:
        raise InvalidError("A blocked network has no use for a proxy.", remedy="Leave out one of them.")
    return EgressPolicy(
        mode=mode,
        cidrs=normal_cidrs(policy.cidrs),
        domains=normal_domains(policy.domains),
        proxy=check_name(policy.proxy, what="Proxy") if policy.proxy else "",
    )


def policy_to_wire(policy: EgressPolicy) -> NetworkPolicy:
    return NetworkPolicy(mode=_WIRE_MODES[policy.mode], cidrs=policy.cidrs, domains=policy.domains, proxy=policy.proxy)


def normal_cidrs(entries: Sequence[str]) -> tuple[str, ...]:
    """The shortest sorted list of the same addresses; IPv4 first. A bare address is a range of one.

    Raises:  InvalidError: naming the entry.
    """
    _check_count("cidr_allowlist", len(entries), MAX_CIDRS)
    networks = [_network(entry) for entry in entries]
    ipv4 = collapse_addresses(network for network in networks if isinstance(network, IPv4Network))
    ipv6 = collapse_addresses(network for network in networks if isinstance(network, IPv6Network))
    return (*map(str, ipv4), *map(str, ipv6))


def normal_domains(entries: Sequence[str]) -> tuple[str, ...]:
    """The names in lower case and ASCII, each once, sorted.

    Raises:  InvalidError: naming the entry.
    """
    _check_count("domain_allowlist", len(entries), MAX_DOMAINS)
    return tuple(sorted({_domain(entry) for entry in entries}))


def normal_name(name: str) -> str | None:
    """A host name in the form that lists have: ASCII, lower case, no trailing period; None if it is none."""
    try:
        labels = [_ascii_label(label) for label in _labels(name)]
    except (ValueError, UnicodeError):
        return None
    fine = len(".".join(labels)) <= MAX_DOMAIN and all(map(_LABEL.fullmatch, labels))
    return ".".join(labels) if fine else None


def _network(entry: str) -> IPv4Network | IPv6Network:
    try:
        if not _CIDR.fullmatch(entry[:MAX_ENTRY]):
            raise ValueError
        network = ip_network(entry, strict=False)
    except ValueError:
        raise _invalid("cidr_allowlist", entry, "It is no range of addresses.", "Write it like 192.0.2.0/24 or 2001:db8::/32.") from None
    if str(network.network_address) != str(ip_network(entry.partition("/")[0]).network_address):
        raise _invalid("cidr_allowlist", entry, "Its address has bits beyond the prefix.", f"Write {network} if that is meant.")
    return network


def _domain(entry: str) -> str:
    wildcard = entry.startswith("*.")
    text = entry[2:] if wildcard else entry
    if "/" in text or ":" in text:
        raise _invalid("domain_allowlist", entry, "It has more than a name.", "Give the name alone, without scheme, port and path.")
    if "*" in text:
        raise _invalid("domain_allowlist", entry, "A wildcard can only be the whole first label.", "Write it like *.example.com.")
    name = normal_name(text)
    if name is None:
        raise _invalid("domain_allowlist", entry, "It is no domain name.", "Write it like example.com or *.example.com.")
    if _NUMBER.fullmatch(name.rpartition(".")[2]):
        raise _invalid("domain_allowlist", entry, "It is an address, not a name.", "Put addresses into cidr_allowlist.")
    return f"*.{name}" if wildcard else name


def _labels(name: str) -> Iterable[str]:
    if len(name) > MAX_ENTRY:
        raise ValueError("too long")
    return name.removesuffix(".").split(".")


def _ascii_label(label: str) -> str:
    """Raises: UnicodeError: not a label of an internationalised name. Source: RFC 5891, UTS 46."""
    return label.lower() if label.isascii() else idna.encode(label, uts46=True).decode("ascii")


def _check_count(field: str, count: int, most: int) -> None:
    if count > most:
        raise InvalidError(f"The {field} has {count} entries.", remedy=f"Allowed are {most}.", context={"field": field})


def _invalid(field: str, entry: str, cause: str, remedy: str) -> InvalidError:
    shown = entry[:80]
    return InvalidError(f"The {field} has {shown!r}. {cause}", remedy=remedy, context={"field": field, "entry": shown})
