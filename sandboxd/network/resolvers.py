"""Which DNS servers sandboxes use: the host's own, as far as a sandbox can reach them."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

HOST_FILES: Final = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
"""The second has the servers behind systemd's local stub. Source: systemd-resolved.service(8)."""

MAX_NAMESERVERS: Final = 3
"""Programs read no more. Source: resolv.conf(5), MAXNS."""


def host_nameservers(files: Sequence[Path] = HOST_FILES) -> tuple[str, ...]:
    """The servers of the first file that has any that sandboxes can reach; none if no file does."""
    for file in files:
        try:
            text = file.read_text(errors="replace")
        except OSError:
            continue
        if found := parse_nameservers(text):
            return found
    return ()


def parse_nameservers(text: str) -> tuple[str, ...]:
    """The IPv4 servers of a resolv.conf that are not on the host's loopback. Pure."""
    found: list[str] = []
    for line in text.splitlines():
        match line.split():
            case ["nameserver", address, *_]:
                if _is_reachable(address) and address not in found:
                    found.append(address)
    return tuple(found[:MAX_NAMESERVERS])


def resolv_conf(nameservers: Sequence[str]) -> str:
    """``/etc/resolv.conf`` for inside. The host's search domains stay outside. Pure."""
    return "".join(f"nameserver {address}\n" for address in nameservers)


def _is_reachable(text: str) -> bool:
    try:
        address = IPv4Address(text)
    except ValueError:
        return False
    return not address.is_loopback and not address.is_unspecified
