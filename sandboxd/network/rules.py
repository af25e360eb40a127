"""The packet filter of a node as an nftables script. Pure.

One table per instance. Everything a sandbox sends is judged by the interface it comes from, in this order:

1. IPv6, or a source address that is not the sandbox's own: dropped.
2. To the host: the resolver, and what was led to the relay, are accepted; anything else, by whatever name or translation, is refused.
3. Other sandboxes, link-local addresses (cloud metadata among them), multicast and reserved ranges, and private ranges unless the operator
   allows them: refused. Ranges that the operator excepts skip the latter three.
4. The sandbox's own policy, found in ``policies`` by its interface: a chain for each mode, and one of its own for a list (``lists``).
   What it allows is accepted up to the sandbox's share of connections, and sent out under the host's address.

Answers are judged in the same way (``returns``), by where they come from: a policy that is tightened ends connections in both directions at
the moment it holds, whatever the kernel knows of them.

TCP of sandboxes whose connections have names (``relays``) is led to the relay before that. Nothing outside may open a connection to a
sandbox. Refused means answered at once (TCP reset, ICMP for the rest), so that programs inside fail fast. Each kind of denial has a
counter; denials and new connections are told to the daemon (``packet_log``) under a prefix of verdict and rule, so many a second for each
sandbox.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network
from typing import Final

import msgspec

from policies.egress.ranges import Operator, Rule

SANDBOXES: Final = "sandboxes"
PINS: Final = "pins"
POLICIES: Final = "policies"
RETURNS: Final = "returns"
RELAYS: Final = "relays"

ALLOWED: Final = "allowed"
DENIED: Final = "denied"

DENIALS: Final = (
    *(Rule.IPV6, Rule.SPOOFED, Rule.HOST, Rule.SANDBOX, Rule.LINK_LOCAL, Rule.RESERVED, Rule.PRIVATE),
    *(Rule.CONNECTIONS, Rule.BLOCKED, Rule.NOT_LISTED, Rule.PROXIED),
)
"""Rules whose denials are counted, as ``denied_<rule>``; ``inbound`` is counted, too."""
INBOUND: Final = "inbound"

TOLD_PER_S: Final = 50
TOLD_BURST: Final = 500
"""What the packet log tells of one sandbox. A program that tries ports has said all there is to say by then."""
TOLD_BYTES: Final = 64
"""Of each packet: the headers."""
MAX_SANDBOXES: Final = 16_384
MIN_BURST_BYTES: Final = 1 << 18
"""Of bandwidth: veth hands over packets of 64 KiB."""


class Service(msgspec.Struct, frozen=True):
    """Where the node serves its sandboxes: on an address of its own that nobody else reaches."""

    address: IPv4Address
    dns_port: int
    """Where the resolver listens. Sandboxes ask port 53, which somebody else on the machine may have."""
    relay_port: int


class Caps(msgspec.Struct, frozen=True, kw_only=True):
    """What one sandbox may use of the network."""

    connections: int = 2048
    bandwidth_bytes_per_s: int = 0
    """In each direction, with what a second has at once; 0: no bound."""


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """What distinguishes one node's packet filter from another's."""

    table: str
    links: str
    """Prefix of the host's interfaces to sandboxes."""
    operator: Operator
    service: Service | None = None
    log_group: int = 0
    """Netfilter's log group that the daemon listens to; 0: nobody listens."""
    caps: Caps = Caps()


def build(spec: Filter) -> str:
    """The script that replaces the node's table, without any sandbox; what follows it may be appended."""
    body = "\n".join((_sets(), _to_host(spec), _outward(spec), _inward(spec), _ends(spec)))
    return f"{delete(spec.table)}\ntable inet {spec.table} {{\n{body}\n}}\n"


def delete(table: str) -> str:
    """Remove a node's table if there is one."""
    return f"table inet {table}\ndelete table inet {table}"


def allow_chain(rule: Rule) -> str:
    """The chain that accepts a packet by ``rule``."""
    return f"allow_{rule}"


def deny_chain(rule: Rule) -> str:
    """The chain that refuses a packet by ``rule``."""
    return f"deny_{rule}"


SERVED: Final = "allow_served"
RELAY_ALL: Final = "relay_all"
RELAY_PINNED: Final = "relay_pinned"
STRAIGHT: Final = "straight"
BACK: Final = "back"
NOT_BACK: Final = "not_back"
BACK_FROM_PINNED: Final = "back_from_pinned"
PINNED_OR_DENIED: Final = "pinned_or_denied"
PROXIED_OR_DENIED: Final = "proxied_or_denied"


def _sets() -> str:
    counters = "\n".join(f"  counter denied_{rule} {{ }}" for rule in (*DENIALS, INBOUND))
    return f"""{counters}
  set {SANDBOXES} {{ type ifname . ipv4_addr; }}
  set {PINS} {{ type ifname . ipv4_addr; flags timeout; }}
  map {POLICIES} {{ type ifname : verdict; }}
  map {RETURNS} {{ type ifname : verdict; }}
  map {RELAYS} {{ type ifname : verdict; }}
  set connections {{ type ifname; size {MAX_SANDBOXES}; flags dynamic; }}
  set told {{ type ifname; size {MAX_SANDBOXES}; flags dynamic,timeout; timeout 1m; }}
  set sent {{ type ifname; size {MAX_SANDBOXES}; flags dynamic,timeout; timeout 1m; }}
  set received {{ type ifname; size {MAX_SANDBOXES}; flags dynamic,timeout; timeout 1m; }}"""


def _to_host(spec: Filter) -> str:
    """From sandboxes to this machine, and what of it becomes the relay's before anything else looks at it."""
    ours, service = f'"{spec.links}*"', spec.service
    served = guarded = resolved = led = ""
    if service:
        guarded = f'    ip daddr {service.address} iifname != "lo" drop\n'
        asked = f"ip daddr {service.address} meta l4proto {{ tcp, udp }} th dport"
        served = f"""    {asked} {service.dns_port} ct status dnat goto {SERVED}
    ip daddr {service.address} tcp dport {service.relay_port} ct status dnat goto {SERVED}
"""
        resolved = f"    iifname {ours} {asked} 53 dnat ip to {service.address}:{service.dns_port}\n"
        led = f"    meta l4proto tcp dnat ip to {service.address}:{service.relay_port}\n"
    special = [network for _, networks in spec.operator.denied_ranges() for network in networks]
    excepted = f" ip daddr != {_any(spec.operator.exceptions)}" if spec.operator.exceptions else ""
    return f"""  chain input {{ type filter hook input priority filter; policy accept;
    iifname {ours} goto to_host
{guarded}  }}
  chain to_host {{
    jump judge
{served}    goto {deny_chain(Rule.HOST)}
  }}
  chain prerouting {{ type nat hook prerouting priority dstnat; policy accept;
{resolved}    iifname {ours} meta l4proto tcp goto relayed
  }}
  chain relayed {{
    fib daddr type local return
    ip daddr {spec.operator.pool} return
   {excepted} ip daddr {_any(special)} return
    iifname vmap @{RELAYS}
  }}
  chain {RELAY_ALL} {{
{led}  }}
  chain {RELAY_PINNED} {{
    iifname . ip daddr @{PINS} goto {RELAY_ALL}
  }}
  chain {STRAIGHT} {{
    accept
  }}"""


def _outward(spec: Filter) -> str:
    """From sandboxes to everybody else."""
    ours, pool, operator = f'"{spec.links}*"', spec.operator.pool, spec.operator
    sent = _bounded(spec.caps, "sent", "iifname")
    excepted = f"    ip daddr {_any(operator.exceptions)} goto by_policy\n" if operator.exceptions else ""
    ranges = operator.denied_ranges()[1:]
    denied = "".join(f"    ip daddr {_any(networks)} goto {deny_chain(rule)}\n" for rule, networks in ranges)
    return f"""  chain judge {{
    meta nfproto ipv6 goto {deny_chain(Rule.IPV6)}
    iifname . ip saddr != @{SANDBOXES} goto {deny_chain(Rule.SPOOFED)}
{sent}  }}
  chain forward {{ type filter hook forward priority filter; policy accept;
    iifname {ours} goto outward
    oifname {ours} goto inward
  }}
  chain outward {{
    jump judge
    # A port of the host that is handed on to a container or another machine is still the host's.
    ct status dnat goto {deny_chain(Rule.HOST)}
    oifname {ours} goto {deny_chain(Rule.SANDBOX)}
    ip daddr {pool} goto {deny_chain(Rule.SANDBOX)}
{excepted}{denied}    goto by_policy
  }}
  chain by_policy {{
    iifname vmap @{POLICIES}
    goto {deny_chain(Rule.BLOCKED)}
  }}
  chain {PINNED_OR_DENIED} {{
    meta l4proto != tcp iifname . ip daddr @{PINS} goto {allow_chain(Rule.DOMAIN)}
    goto {deny_chain(Rule.NOT_LISTED)}
  }}
  chain {PROXIED_OR_DENIED} {{
    meta l4proto tcp goto {deny_chain(Rule.NOT_LISTED)}
    goto {deny_chain(Rule.PROXIED)}
  }}"""


def _inward(spec: Filter) -> str:
    """Back to sandboxes, from everybody else and from this machine; and under which address they are seen."""
    ours, pool = f'"{spec.links}*"', spec.operator.pool
    received = _bounded(spec.caps, "received", "oifname")
    return f"""  chain inward {{
{received}    ct state related accept
    ct state established oifname vmap @{RETURNS}
    goto {NOT_BACK}
  }}
  chain {BACK} {{
    accept
  }}
  chain {BACK_FROM_PINNED} {{
    oifname . ip saddr @{PINS} accept
    goto {NOT_BACK}
  }}
  chain {NOT_BACK} {{
    counter name "denied_{INBOUND}" drop
  }}
  chain output {{ type filter hook output priority filter; policy accept;
    oifname {ours} goto answers
  }}
  chain answers {{
{received}  }}
  chain postrouting {{ type nat hook postrouting priority srcnat; policy accept;
    ip saddr {pool} oifname != {ours} masquerade
  }}"""


def _bounded(caps: Caps, bytes_of: str, interface: str) -> str:
    """Drops what is over the bandwidth of the sandbox at ``interface``; ``bytes_of`` is the set that counts."""
    rate = caps.bandwidth_bytes_per_s
    if not rate:
        return ""
    burst = max(MIN_BURST_BYTES, rate // 10)
    return f"    update @{bytes_of} {{ {interface} limit rate over {rate} bytes/second burst {burst} bytes }} drop\n"


def _ends(spec: Filter) -> str:
    """Where every packet of a sandbox comes to: accepted or refused, told to the daemon."""
    told = [_allow(spec, allow_chain(rule), _tell(spec, ALLOWED, rule)) for rule in (Rule.OPEN, Rule.CIDR, Rule.DOMAIN)]
    allowed = "\n".join([*told, _allow(spec, SERVED)])  # resolver and relay tell of these themselves
    denied = "\n".join(_deny(spec, rule) for rule in DENIALS)
    return f"""{allowed}
{denied}
  chain refuse {{
    meta l4proto tcp reject with tcp reset
    # The one ICMP error that gVisor hands to a UDP socket.
    meta l4proto udp reject with icmpx port-unreachable
    reject with icmpx admin-prohibited
  }}"""


def _allow(spec: Filter, chain: str, tell: str = "") -> str:
    return f"""  chain {chain} {{
    ct state established,related accept
    add @connections {{ iifname ct count over {spec.caps.connections} }} goto {deny_chain(Rule.CONNECTIONS)}
{tell}    accept
  }}"""


def _deny(spec: Filter, rule: Rule) -> str:
    end = "drop" if rule in (Rule.IPV6, Rule.SPOOFED) else "goto refuse"
    return f"""  chain {deny_chain(rule)} {{
    counter name "denied_{rule}"
{_tell(spec, DENIED, rule)}    {end}
  }}"""


def _tell(spec: Filter, verdict: str, rule: Rule) -> str:
    if not spec.log_group:
        return ""
    log = f'log prefix "{verdict} {rule}" group {spec.log_group} snaplen {TOLD_BYTES}'
    return f"    update @told {{ iifname limit rate {TOLD_PER_S}/second burst {TOLD_BURST} packets }} {log}\n"


def _any(items: Iterable[IPv4Network | IPv4Address]) -> str:
    return "{ " + ", ".join(map(str, items)) + " }"
