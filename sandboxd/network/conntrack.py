"""Connections as the kernel tracks them: list those of one sandbox, forget some. Source: linux/netfilter/nfnetlink_conntrack.h.

What the kernel has forgotten is judged anew with its next packet, and answers to it are nobody's.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from typing import Final, NamedTuple

from sandboxd.network.framing import attribute, find_attributes
from sandboxd.network.nfnetlink import BODY_OFFSET, CONNTRACK, NfMessage, NfNetlink

_GET: Final = 1
_DELETE: Final = 2
_NESTED: Final = 0x8000
_ORIGINAL: Final = 1
_FILTER: Final = 25
_FILTER_ORIGINAL: Final = 1
_SOURCE_FLAG: Final = 1
_IP, _PROTOCOL = 1, 2
_IPV4_SOURCE, _IPV4_DESTINATION = 1, 2
_NUMBER: Final = 1


class Connection(NamedTuple):
    """One tracked connection, as it began."""

    source: IPv4Address
    destination: IPv4Address
    protocol: int
    """Source: IANA protocol numbers."""
    tuple_: bytes
    """The kernel's own words, by which it is found again."""


def connections_from(netlink: NfNetlink, source: IPv4Address) -> Iterator[Connection]:
    """Those that ``source`` began. Kernels of before 5.8 list all; then they are sorted out here."""
    tuple_ = attribute(_IP | _NESTED, attribute(_IPV4_SOURCE, source.packed))
    wanted = attribute(_FILTER_ORIGINAL, struct.pack("=I", _SOURCE_FLAG))
    attributes = attribute(_ORIGINAL | _NESTED, tuple_) + attribute(_FILTER | _NESTED, wanted)
    for body in netlink.dump(NfMessage(CONNTRACK, _GET, 0, socket.AF_INET, attributes)):
        connection = _parse(body)
        if connection is not None and connection.source == source:
            yield connection


def cut(source: IPv4Address, allowed: Callable[[Connection], bool]) -> int:
    """Forget connections that ``source`` began and that are not ``allowed``. Returns: how many. Raises: OSError."""
    count = 0
    with NfNetlink() as netlink:
        for connection in [found for found in connections_from(netlink, source) if not allowed(found)]:
            message = NfMessage(CONNTRACK, _DELETE, 0, socket.AF_INET, attribute(_ORIGINAL | _NESTED, connection.tuple_))
            with contextlib.suppress(FileNotFoundError):  # it ended meanwhile
                netlink.request(message)
                count += 1
    return count


def _parse(body: bytes) -> Connection | None:
    """None for what is not IPv4."""
    tuple_ = find_attributes(body, BODY_OFFSET, (_ORIGINAL,)).get(_ORIGINAL, b"")
    parts = find_attributes(tuple_, 0, (_IP, _PROTOCOL))
    addresses = find_attributes(parts.get(_IP, b""), 0, (_IPV4_SOURCE, _IPV4_DESTINATION))
    number = find_attributes(parts.get(_PROTOCOL, b""), 0, (_NUMBER,)).get(_NUMBER, b"\0")
    source, destination = addresses.get(_IPV4_SOURCE, b""), addresses.get(_IPV4_DESTINATION, b"")
    if len(source) != 4 or len(destination) != 4:
        return None
    return Connection(IPv4Address(source), IPv4Address(destination), number[0], tuple_)
