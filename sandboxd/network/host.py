"""The host's side of sandboxes' networks: forwarding, the way out, and what else already has addresses."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Final

from cove.exception import InvalidError
from sandboxd.network.addresses import PREFIX
from sandboxd.network.netlink import Netlink, add_address, delete_address

_FORWARDING: Final = Path("/proc/sys/net/ipv4/ip_forward")
_IPV6_CONF: Final = Path("/proc/sys/net/ipv6/conf")
_LOCK_FILE: Final = Path("/run/cove-network.lock")
"""All instances of a machine share its routes, so it does not lie in any one's directory."""

DEFAULT_MTU: Final = 1500
_LOOPBACK: Final = "lo"
_ALONE: Final = 32


def enable_forwarding() -> None:
    """Let packets pass from sandboxes to the outside and back. Writing would reset other settings, so only if it is off."""
    if _FORWARDING.read_text().strip() != "1":
        _FORWARDING.write_text("1")


def check_pool(netlink: Netlink, pool: IPv4Network) -> None:
    """Raises: InvalidError: a network that this machine knows overlaps ``pool``. Links of sandboxes, of any instance, do not count."""
    for route in netlink.routes():
        if 0 < route.destination.prefixlen < PREFIX and route.destination.overlaps(pool):
            raise InvalidError(
                f"network_pool {pool} overlaps {route.destination}, to which this machine has a route.",
                remedy="Set network_pool to a range that is not in use.",
            )


def uplink_mtu(netlink: Netlink) -> int:
    """Largest packet, bytes, that the default route takes: sandboxes must not send larger ones."""
    numbers = {route.link_number for route in netlink.routes() if route.destination.prefixlen == 0}
    return min((link.mtu for link in netlink.links() if link.number in numbers), default=DEFAULT_MTU)


def disable_ipv6(link: str) -> None:
    """Take IPv6 off one interface; nothing to do on a machine without."""
    switch = _IPV6_CONF / link / "disable_ipv6"
    if switch.exists():
        switch.write_text("1")


def claim_service(netlink: Netlink, address: IPv4Address) -> None:
    """Give the machine the address at which it serves sandboxes, on its loopback; the packet filter keeps others away. Idempotent."""
    with contextlib.suppress(FileExistsError):
        netlink.request(add_address(netlink.number_of(_LOOPBACK), address, _ALONE))


def drop_service(netlink: Netlink, address: IPv4Address) -> None:
    """Undo :func:`claim_service`. Idempotent."""
    try:
        netlink.request(delete_address(netlink.number_of(_LOOPBACK), address, _ALONE))
    except OSError as error:
        if error.errno != errno.EADDRNOTAVAIL:
            raise


@contextlib.contextmanager
def address_lock() -> Iterator[None]:
    """One chooser of addresses at a time on this machine; held for a millisecond or two."""
    fd = os.open(_LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
