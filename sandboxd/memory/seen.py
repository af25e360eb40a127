"""What a look into a sandbox shows beside what was started from outside, and the text of its /proc, which is hostile. Pure.

Source: proc(5), /proc/pid/stat, /proc/net/tcp, tcp6, udp, udp6. gVisor (20240729) fills the first three of the latter; udp6 is a heading
alone, and it has no netlink sock_diag: UDP sockets of IPv6 cannot be seen from outside their process.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import Final, Literal

import msgspec

MAX_CHILDREN: Final = 1_000
MAX_PORTS: Final = 1_000
MAX_PROGRAM: Final = 64
MAX_PID: Final = 2**31 - 1

Protocol = Literal["tcp", "udp"]

_STAT: Final = re.compile(rb"(\d{1,10}) \((.{0,64})\) ([A-Za-z]) (\d{1,10})( -?\d{1,20}){5,64}\n?", re.DOTALL)
_SOCKET: Final = re.compile(
    rb" *\d{1,10}: ([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4}) ([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4}) ([0-9A-F]{2}) [ -~]*"
)
_HEADING: Final = re.compile(rb" *sl +local_address +rem(ote)?_address +st [ -~]*")
_ENDED: Final = (b"Z", b"X", b"x")
_LISTENING: Final = b"0A"
_UNCONNECTED: Final = b"07"


class SeenChild(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """A process that was not started from outside; its program without arguments, as it calls itself."""

    pid: int
    parent_pid: int
    program: str


class SeenPort(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """Where something in the sandbox waits for others: a TCP socket that listens, or a bound UDP socket without a peer."""

    protocol: Protocol
    address: str
    port: int


class Census(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen in a sandbox. None: it could not be seen, or there was more than is kept."""

    children: tuple[SeenChild, ...] | None
    ports: tuple[SeenPort, ...] | None


def parse_stat(text: bytes) -> SeenChild | None:
    """A process from its ``/proc/<pid>/stat``; None of one that has ended, and only waits to be collected.

    Raises:  ValueError: no kernel writes that.
    """
    match = _STAT.fullmatch(text)
    if match is None:
        raise ValueError("not a process's stat")
    pid, program, state, parent = int(match[1]), match[2], match[3], int(match[4])
    if not 0 < pid <= MAX_PID or parent > MAX_PID:
        raise ValueError("not a pid")
    if state in _ENDED:
        return None
    return SeenChild(pid=pid, parent_pid=parent, program=program.decode("utf-8", "replace")[:MAX_PROGRAM])


def parse_sockets(table: bytes, protocol: Protocol) -> frozenset[SeenPort]:
    """What waits for others, from a table of sockets of one family. Raises: ValueError: no kernel writes that."""
    return frozenset(_waiting(table, protocol))


def _waiting(table: bytes, protocol: Protocol) -> Iterator[SeenPort]:
    heading, *lines = table.removesuffix(b"\n").split(b"\n")
    if not _HEADING.fullmatch(heading):
        raise ValueError("not a table of sockets")
    for line in lines:
        match = _SOCKET.fullmatch(line)
        if match is None or len(match[1]) != len(match[3]):
            raise ValueError("not a socket's line")
        port, peer_port, state = int(match[2], 16), int(match[4], 16), match[5]
        waits = state == _LISTENING if protocol == "tcp" else state == _UNCONNECTED and peer_port == 0
        if waits and port:
            yield SeenPort(protocol=protocol, address=_address(match[1]), port=port)


def _address(text: bytes) -> str:
    """``0100007F``, or four such words: each was in network order in memory and is printed as a number of this machine's."""
    words = [int(text[at : at + 8], 16) for at in range(0, len(text), 8)]
    packed = struct.pack(f"={len(words)}I", *words)
    return str(IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed))
