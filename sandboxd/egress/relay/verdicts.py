"""What the relay lets through: by address when a connection begins, by name when it says one. Pure."""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import IPv4Address

from policies.egress import EgressPolicy, Mode
from policies.egress.judge import remedy
from policies.egress.parse import normal_name
from policies.egress.ranges import Rule


class RefusedError(Exception):
    """It is not let through. Attributes are those of a line in the egress log."""

    def __init__(self, rule: str, line: str, name: str = "") -> None:
        """``line``: of a policy, which would allow it; or what else would help."""
        super().__init__(rule)
        self.rule, self.remedy, self.name = str(rule), line, name


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
        raise RefusedError(denied_range, remedy(Rule(denied_range), str(address)))
    if policy.mode in (Mode.OPEN, Mode.RECORD):
        return Rule.OPEN
    if policy.mode is Mode.ALLOWLIST:
        if policy.allows_address(address):
            return Rule.CIDR
        allowed = [policy.allows_name(name) for name in names]
        if any(allowed) and (all(allowed) or not all_of_them):
            return Rule.DOMAIN
    rule = Rule.BLOCKED if policy.mode is Mode.BLOCKED else Rule.NOT_LISTED
    raise RefusedError(rule, remedy(rule, str(address), names))


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
        raise RefusedError(Rule.NAME, "Name a host in ASCII.", said[:253])
    if not policy.allows_name(name):
        raise RefusedError(Rule.NOT_LISTED, remedy(Rule.NOT_LISTED, str(address), [name]), name)
    if name not in led:
        raise RefusedError(Rule.NAME, f"{name} has not led to {address}: look it up, and connect to what it has.", name)
    return name
