"""What a container that waits for a sandbox and the sandbox must have in common. Pure.

Router and node name it by the same key without telling each other how it comes about: everything that a container is made of and that no
claim changes. What is secret or the caller's own (command, environment, policy, lifetime) is not in it.
"""

from __future__ import annotations

import hashlib
from typing import Final, Protocol

from policies.egress import EgressPolicy, Mode

KEY_LENGTH: Final = 32
"""Hexadecimal digits."""


class Shaped(Protocol):
    """What this module reads of a sandbox's resources; ``cove.v1.Resources`` fits."""

    @property
    def cpu_request_millis(self) -> int: ...
    @property
    def cpu_limit_millis(self) -> int: ...
    @property
    def memory_request_bytes(self) -> int: ...
    @property
    def memory_limit_bytes(self) -> int: ...
    @property
    def disk_limit_bytes(self) -> int: ...
    @property
    def max_tasks(self) -> int: ...


def shape_key(image: str, resources: Shaped, network: EgressPolicy) -> str:
    """The key of what a sandbox stands on.

    Args:    image: an image id, ``debian:3.11`` or ``rootfs:/path``.
    Returns: ``KEY_LENGTH`` digits; empty where nothing can be made ahead: a tarball may be another by the time.
    """
    if image.startswith("rootfs:") or not image:
        return ""
    numbers = (
        resources.cpu_request_millis,
        resources.cpu_limit_millis,
        resources.memory_request_bytes,
        resources.memory_limit_bytes,
        resources.disk_limit_bytes,
        resources.max_tasks,
    )
    text = "\0".join((image, *map(str, numbers), _network(network)))
    return hashlib.blake2b(text.encode(), digest_size=KEY_LENGTH // 2).hexdigest()


def _network(policy: EgressPolicy) -> str:
    """What of a network a container is made with: whether it has one, and whether ``/etc/resolv.conf`` names a resolver."""
    if policy.mode is Mode.BLOCKED:
        return "none"
    return "names" if policy.has_resolver else "addresses"
