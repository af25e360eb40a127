"""Connections as the kernel tracks them: list those of one sandbox, forget some. Source: linux/netfilter/nfnetlink_conntrack.h.

Answers to what the kernel has forgotten are nobody's.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator
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
_IP: Final = 1
_IPV4_SOURCE: Final = 1


class Connection(NamedTuple):
    """One tracked connection, as it began."""

    source: IPv4Address
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


def forget(source: IPv4Address) -> int:
    """Forget the connections that ``source`` began. Returns: how many. Some 5 ms: the kernel looks at all there are. Raises: OSError."""
    count = 0
    with NfNetlink() as netlink:
        for connection in list(connections_from(netlink, source)):
            message = NfMessage(CONNTRACK, _DELETE, 0, socket.AF_INET, attribute(_ORIGINAL | _NESTED, connection.tuple_))
            with contextlib.suppress(FileNotFoundError):  # it ended meanwhile
                netlink.request(message)
                count += 1
    return count


def _parse(body: bytes) -> Connection | None:
    """None for what is not IPv4."""
    tuple_ = find_attributes(body, BODY_OFFSET, (_ORIGINAL,)).get(_ORIGINAL, b"")
    addresses = find_attributes(find_attributes(tuple_, 0, (_IP,)).get(_IP, b""), 0, (_IPV4_SOURCE,))
    source = addresses.get(_IPV4_SOURCE, b"")
    return Connection(IPv4Address(source), tuple_) if len(source) == 4 else None
