"""What the relay lets through: by address when a connection begins, by name when it says one. Pure."""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import IPv4Address
from typing import Final

from policies.egress import EgressPolicy, Mode
from policies.egress.parse import normal_name

NOT_LISTED: Final = "not_listed"


class RefusedError(Exception):
    """It is not let through. Attributes are those of a line in the egress log."""

    def __init__(self, rule: str, remedy: str, name: str = "") -> None:
        super().__init__(rule)
        self.rule, self.remedy, self.name = rule, remedy, name


def check_address(
    policy: EgressPolicy, address: IPv4Address, *, denied_range: str, names: Collection[str], all_of_them: bool = False
) -> str:
    """Judge a connection by where it goes.

    Args:
        denied_range: the rule by which no sandbox reaches ``address``; empty: none.
        names: which it is for, or may be for.
        all_of_them: whether it is for all of ``names``, and not for one of them.
    Returns: the rule that allows it. Raises: RefusedError.
    """
    if denied_range:
        raise RefusedError(denied_range, "No policy of a sandbox allows it; settings of the node's operator may.")
    if policy.mode in (Mode.OPEN, Mode.RECORD):
        return "open"
    if policy.mode is Mode.ALLOWLIST:
        if policy.allows_address(address):
            return "cidr"
        allowed = [policy.allows_name(name) for name in names]
        if any(allowed) and (all(allowed) or not all_of_them):
            return "domain"
    raise RefusedError(NOT_LISTED, f'cidr_allowlist=["{address}/32"]')


def has_to_say_a_name(policy: EgressPolicy, address: IPv4Address) -> bool:
    """Whether what a connection to ``address`` says is looked at: only where names are why it is allowed."""
    return policy.mode is Mode.ALLOWLIST and not policy.allows_address(address)


def check_name(policy: EgressPolicy, said: str, address: IPv4Address, led: Collection[str]) -> str:
    """Judge a name that a connection to ``address`` says it is for. ``led``: names for which the sandbox got the address.

    Returns: the name in its normal form. Raises: RefusedError.
    """
    if said == str(address):
        return ""
    name = normal_name(said) if said.isascii() else None
    if name is None:
        raise RefusedError("name", "Name a host in ASCII.", said[:253])
    if not policy.allows_name(name):
        raise RefusedError(NOT_LISTED, f'domain_allowlist=["{name}"]', name)
    if name not in led:
        raise RefusedError("name", f"{name} has not led to {address}: look it up, and connect to what it has.", name)
    return name
