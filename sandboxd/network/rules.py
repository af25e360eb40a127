"""The packet filter of a node as libnftables commands. Pure.

One table per instance. Everything a sandbox sends is judged by the interface it comes from, in this order:

1. IPv6, or a source address that is not the sandbox's own: dropped.
2. DNS to the resolvers: accepted.
3. Anything to the host itself, by whatever name or translation: refused. Then other sandboxes, link-local addresses (cloud metadata among
   them), multicast and reserved ranges, and private ranges unless the operator allows them: refused.
4. The rest: accepted, and sent out under the host's address.

Nothing outside may open a connection to a sandbox. Refused means answered at once (TCP reset, ICMP for the rest), so that programs inside
fail fast. Each kind of denial has a counter.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Final

import msgspec

from sandboxd.network.nftables import Command

FAMILY: Final = "inet"
_SANDBOXES: Final = "sandboxes"
_RESOLVERS: Final = "resolvers"

LINK_LOCAL: Final = ("169.254.0.0/16",)
RESERVED: Final = ("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4")
"""Source: IANA special-purpose address registry; 240.0.0.0/4 includes limited broadcast."""
PRIVATE: Final = ("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.0.0.0/24", "192.168.0.0/16", "198.18.0.0/15")
"""RFC 1918, and what else is not routed on the internet but inside organisations (carrier NAT: some clouds keep metadata there)."""

DENIALS: Final = ("ipv6", "spoofed", "host", "sandbox", "link_local", "reserved", "private", "inbound")
"""Counters of denied packets, named ``denied_<kind>``."""


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """What distinguishes one node's packet filter from another's."""

    table: str
    links: str
    """Prefix of the host's interfaces to sandboxes."""
    pool: IPv4Network
    resolvers: Sequence[IPv4Address]
    allow_private: bool


def build(spec: Filter, sandboxes: Sequence[tuple[str, IPv4Address]]) -> list[Command]:
    """Commands that replace the node's table in one transaction. ``sandboxes``: (interface, address) of those that exist."""
    table = {"table": {"family": FAMILY, "name": spec.table}}
    return [
        {"add": table},
        {"delete": table},
        {"add": table},
        *({"add": {"counter": _named(spec, f"denied_{kind}")}} for kind in DENIALS),
        {"add": {"set": {**_named(spec, _SANDBOXES), "type": ["ifname", "ipv4_addr"]}}},
        {"add": {"set": {**_named(spec, _RESOLVERS), "type": "ipv4_addr"}}},
        *_elements(spec, _RESOLVERS, [str(address) for address in spec.resolvers]),
        *_elements(spec, _SANDBOXES, [_pair(link, address) for link, address in sandboxes]),
        *_chains(spec),
        *_refusal(spec),
        *_judgement(spec),
        *_entries(spec),
    ]


def delete(table: str) -> list[Command]:
    """Remove a node's table if there is one."""
    named = {"table": {"family": FAMILY, "name": table}}
    return [{"add": named}, {"delete": named}]


def admit(table: str, link: str, address: IPv4Address) -> list[Command]:
    """Let packets from ``link`` in, provided they come from ``address``."""
    return [{"add": _element(table, _SANDBOXES, [_pair(link, address)])}]


def expel(table: str, link: str, address: IPv4Address) -> list[Command]:
    """Undo :func:`admit`; fine if it was not done (added first, as deleting what is not there fails)."""
    element = _element(table, _SANDBOXES, [_pair(link, address)])
    return [{"add": element}, {"delete": element}]


def list_counters(table: str) -> list[Command]:
    return [{"list": {"counters": {"family": FAMILY, "table": table}}}]


def parse_counters(table: str, answer: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Kind of denial to packets denied, from the answer to :func:`list_counters`."""
    counters = (entry["counter"] for entry in answer if "counter" in entry)
    return {
        str(counter["name"]).removeprefix("denied_"): int(counter["packets"])
        for counter in counters
        if counter["table"] == table and counter["family"] == FAMILY
    }


# --- chains and rules ----------------------------------------------------------------------------------------------------------------


def _chains(spec: Filter) -> list[Command]:
    hooks: list[tuple[str, str, str, int]] = [
        ("input", "filter", "input", 0),
        ("forward", "filter", "forward", 0),
        ("postrouting", "nat", "postrouting", 100),
    ]
    based = [
        {"add": {"chain": {**_named(spec, name), "type": kind, "hook": hook, "prio": priority, "policy": "accept"}}}
        for name, kind, hook, priority in hooks
    ]
    return [*based, *({"add": {"chain": _named(spec, name)}} for name in ("to_host", "outward", "inward", "judge", "refuse"))]


def _entries(spec: Filter) -> list[Command]:
    """From the kernel's hooks into our chains, for our own interfaces alone: the machine's other traffic is none of our business."""
    ours = f"{spec.links}*"
    into, out = _match(_meta("iifname"), ours), _match(_meta("oifname"), ours)
    away = [_match(_payload("ip", "saddr"), _prefix(str(spec.pool))), _match(_meta("oifname"), ours, "!=")]
    return [
        _rule(spec, "input", into, _goto("to_host")),
        _rule(spec, "to_host", {"jump": {"target": "judge"}}),
        _rule(spec, "to_host", _counter("host"), _goto("refuse")),
        _rule(spec, "forward", into, _goto("outward")),
        _rule(spec, "forward", out, _goto("inward")),
        _rule(spec, "inward", _match({"ct": {"key": "state"}}, ["established", "related"], "in"), {"accept": None}),
        _rule(spec, "inward", _counter("inbound"), {"drop": None}),
        *_outward(spec, out),
        _rule(spec, "postrouting", *away, {"masquerade": None}),
    ]


def _judgement(spec: Filter) -> list[Command]:
    """What holds towards the host and towards everybody else; ends in ``accept``, ``drop`` or a return."""
    own = {"concat": [_meta("iifname"), _payload("ip", "saddr")]}
    resolver = _match(_payload("ip", "daddr"), f"@{_RESOLVERS}")
    dns = [_match(_meta("l4proto"), {"set": ["tcp", "udp"]}), _match(_payload("th", "dport"), 53)]
    return [
        _rule(spec, "judge", _match(_meta("nfproto"), "ipv6"), _counter("ipv6"), {"drop": None}),
        _rule(spec, "judge", _match(own, f"@{_SANDBOXES}", "!="), _counter("spoofed"), {"drop": None}),
        _rule(spec, "judge", resolver, *dns, {"accept": None}),
    ]


def _outward(spec: Filter, to_sandbox: Command) -> list[Command]:
    destination = _payload("ip", "daddr")
    denied: list[tuple[str, Command]] = [
        # A port of the host that is handed on to a container or another machine is still the host's.
        ("host", _match({"ct": {"key": "status"}}, "dnat", "in")),
        ("sandbox", to_sandbox),
        ("sandbox", _match(destination, _prefix(str(spec.pool)))),
        ("link_local", _match(destination, _any_of(LINK_LOCAL))),
        ("reserved", _match(destination, _any_of(RESERVED))),
    ]
    if not spec.allow_private:
        denied.append(("private", _match(destination, _any_of(PRIVATE))))
    return [
        _rule(spec, "outward", {"jump": {"target": "judge"}}),
        *(_rule(spec, "outward", match, _counter(kind), _goto("refuse")) for kind, match in denied),
    ]


def _refusal(spec: Filter) -> list[Command]:
    return [
        _rule(spec, "refuse", _match(_meta("l4proto"), "tcp"), {"reject": {"type": "tcp reset"}}),
        # The one ICMP error that gVisor hands to a UDP socket.
        _rule(spec, "refuse", _match(_meta("l4proto"), "udp"), {"reject": {"type": "icmpx", "expr": "port-unreachable"}}),
        _rule(spec, "refuse", {"reject": {"type": "icmpx", "expr": "admin-prohibited"}}),
    ]


# --- the pieces of libnftables-json(5) -----------------------------------------------------------------------------------------------


def _named(spec: Filter, name: str) -> dict[str, Any]:
    return {"family": FAMILY, "table": spec.table, "name": name}


def _rule(spec: Filter, chain: str, *statements: Command) -> Command:
    return {"add": {"rule": {"family": FAMILY, "table": spec.table, "chain": chain, "expr": list(statements)}}}


def _element(table: str, name: str, elements: Sequence[Any]) -> Command:
    return {"element": {"family": FAMILY, "table": table, "name": name, "elem": list(elements)}}


def _elements(spec: Filter, name: str, elements: Sequence[Any]) -> list[Command]:
    return [{"add": _element(spec.table, name, elements)}] if elements else []


def _pair(link: str, address: IPv4Address) -> Command:
    return {"concat": [link, str(address)]}


def _match(left: Command, right: Any, operator: str = "==") -> Command:
    return {"match": {"op": operator, "left": left, "right": right}}


def _meta(key: str) -> Command:
    return {"meta": {"key": key}}


def _payload(protocol: str, field: str) -> Command:
    return {"payload": {"protocol": protocol, "field": field}}


def _prefix(network: str) -> Command:
    address, _, length = network.partition("/")
    return {"prefix": {"addr": address, "len": int(length)}}


def _any_of(networks: Sequence[str]) -> Command:
    return {"set": [_prefix(network) for network in networks]}


def _counter(kind: str) -> Command:
    return {"counter": f"denied_{kind}"}


def _goto(chain: str) -> Command:
    return {"goto": {"target": chain}}
