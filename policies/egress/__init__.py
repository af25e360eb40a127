"""What a sandbox may send where: the policy as data, how it is read from the wire, and what follows from it. Pure.

``model`` is the policy, ``parse`` checks what a client sent, ``ranges`` names the addresses that are special to every sandbox, ``judge``
says what a policy does with a destination, ``recording`` turns what was seen into an allowlist.
"""

from policies.egress.model import EgressPolicy, Mode
from policies.egress.parse import fill_policy, policy_from_wire, policy_to_wire

__all__ = ["EgressPolicy", "Mode", "fill_policy", "policy_from_wire", "policy_to_wire"]
