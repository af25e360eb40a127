"""``/etc/resolv.conf`` of sandboxes. Pure."""

from __future__ import annotations

from collections.abc import Sequence


def resolv_conf(nameservers: Sequence[str]) -> str:
    """``/etc/resolv.conf`` for inside. The host's search domains stay outside."""
    return "".join(f"nameserver {address}\n" for address in nameservers)
