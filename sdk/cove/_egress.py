"""What a caller asks for of the network, in the wire's form, and what he is told of it. Pure; the server checks every entry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cove.exception import InvalidError
from cove.types import NetworkRecord, NetworkSummary
from cove.wire import network_pb2
from cove.wire.network_pb2 import NetworkMode, NetworkPolicy

_MODES: Final = {
    NetworkMode.NETWORK_MODE_OPEN: "open",
    NetworkMode.NETWORK_MODE_BLOCKED: "blocked",
    NetworkMode.NETWORK_MODE_ALLOWLIST: "allowlist",
    NetworkMode.NETWORK_MODE_RECORD: "record",
}


def policy(
    *,
    block_network: bool,
    cidr_allowlist: Sequence[str] | None,
    domain_allowlist: Sequence[str] | None,
    record_network: bool,
    proxy: str = "",
) -> NetworkPolicy:
    """The policy of these arguments: everything is reachable unless they say otherwise.

    Raises:  InvalidError: they contradict each other, or a list is none.
    """
    lists = {"cidr_allowlist": cidr_allowlist, "domain_allowlist": domain_allowlist}
    for name, entries in lists.items():
        if isinstance(entries, str) or not all(isinstance(entry, str) for entry in entries or ()):
            raise InvalidError(f"{name} is not a list of strings.", remedy=f'Write it like {name}=["..."].')
    listed = [name for name, entries in lists.items() if entries is not None]
    said = [*(["block_network"] if block_network else []), *(["record_network"] if record_network else []), *listed]
    if len(said) > 1 and said != list(lists):
        raise InvalidError(f"{' and '.join(said)} contradict each other.", remedy="Pass one of them.")
    if block_network:
        mode = NetworkMode.NETWORK_MODE_BLOCKED
    elif record_network:
        mode = NetworkMode.NETWORK_MODE_RECORD
    else:
        mode = NetworkMode.NETWORK_MODE_ALLOWLIST if listed else NetworkMode.NETWORK_MODE_OPEN
    return NetworkPolicy(mode=mode, cidrs=cidr_allowlist, domains=domain_allowlist, proxy=proxy)


def record(message: network_pb2.NetworkRecord) -> NetworkRecord:
    """A record of the log as callers see it."""
    return NetworkRecord(
        event="egress_allowed" if message.verdict == network_pb2.NETWORK_VERDICT_ALLOWED else "egress_denied",
        protocol=message.protocol,
        address=message.address,
        port=message.port,
        name=message.name,
        rule=message.rule,
        remedy=message.remedy,
        count=message.count,
        first_at=message.first_at,
        last_at=message.last_at,
    )


def summary(message: network_pb2.NetworkSummary) -> NetworkSummary:
    """What is in force and was used, as callers see it."""
    return NetworkSummary(
        mode=_MODES.get(message.policy.mode, str(message.policy.mode)),
        cidr_allowlist=list(message.policy.cidrs),
        domain_allowlist=list(message.policy.domains),
        proxy=message.policy.proxy,
        used_cidrs=list(message.cidrs),
        used_domains=list(message.domains),
        allowed=message.allowed,
        denied=message.denied,
    )
