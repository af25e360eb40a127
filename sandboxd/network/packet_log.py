"""Hears from the packet filter what it refused and which connections it let begin. Source: linux/netfilter/nfnetlink_log.h.

The kernel sends the headers of such packets to a socket. Its rules bound how many there are for each sandbox; what comes faster than it is
read is dropped by the kernel, which says so.
"""

from __future__ import annotations

import errno
import secrets
import socket
import struct
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from typing import Final, NamedTuple

import structlog

from sandboxd.network.framing import RECEIVE_BYTES, attribute, find_attributes, split
from sandboxd.network.nfnetlink import BODY_OFFSET, PACKET_LOG, NfMessage, NfNetlink
from sandboxd.network.rules import ALLOWED, DENIED, TOLD_BYTES

log = structlog.get_logger()

_SO_RCVBUFFORCE: Final = 33
_CONFIGURE: Final = 1
_PACKET: Final = PACKET_LOG << 8
_COMMAND, _MODE, _DELAY, _AT_ONCE = 1, 2, 4, 5
_BIND: Final = b"\1"
_COPY_PACKET: Final = 2
_INTERFACE, _PAYLOAD, _PREFIX = 4, 9, 10
_GROUPS: Final = 65_535
_ATTEMPTS: Final = 64
_BUFFER_BYTES: Final = 4 << 20
_READS_AT_ONCE: Final = 32
"""Datagrams taken before other work gets its turn."""
_BATCH: Final = 16
"""Packets that the kernel may hold back to send them together, for at most :data:`_DELAY_CENTISECONDS`."""
_DELAY_CENTISECONDS: Final = 2

_IPV4_BYTES: Final = 20
_IPV6_BYTES: Final = 40
_PROTOCOLS: Final = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmp"}
_WITH_PORTS: Final = ("tcp", "udp")


class Packet(NamedTuple):
    """One packet that was told."""

    allowed: bool
    rule: str
    link_number: int
    """The kernel's, of the interface it came from."""
    protocol: str
    """``tcp``, ``udp``, ``icmp``, or the number."""
    address: IPv4Address | IPv6Address
    """Where it went."""
    port: int
    """0: the protocol has none, or it is a later fragment."""


class PacketLog:
    """A socket that the kernel sends packets to. It belongs to the network namespace of the thread that makes it."""

    def __init__(self) -> None:
        """Raises: OSError: every log group is taken, or the kernel has none."""
        self._netlink = NfNetlink()
        self._netlink.socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
        self.lost = 0
        """How often the kernel had to drop packets because they were not read in time."""
        try:
            self.group = self._bind()
        except BaseException:
            self._netlink.close()
            raise

    def _bind(self) -> int:
        """Take a group that no other process listens to."""
        for _ in range(_ATTEMPTS):
            group = 1 + secrets.randbelow(_GROUPS)
            mode = struct.pack(">IBx", TOLD_BYTES, _COPY_PACKET)
            batch = attribute(_AT_ONCE, struct.pack(">I", _BATCH)) + attribute(_DELAY, struct.pack(">I", _DELAY_CENTISECONDS))
            try:
                self._configure(group, attribute(_COMMAND, _BIND))
                self._configure(group, attribute(_MODE, mode) + batch)
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.EBUSY, errno.EEXIST):
                    raise
            else:
                self._netlink.socket.setblocking(False)
                return group
        raise OSError(errno.EBUSY, "no group of the kernel's packet log is free")

    def _configure(self, group: int, attributes: bytes) -> None:
        self._netlink.request(NfMessage(PACKET_LOG, _CONFIGURE, 0, socket.AF_UNSPEC, attributes, group))

    def fileno(self) -> int:
        """For ``add_reader``."""
        return self._netlink.socket.fileno()

    def close(self) -> None:
        self._netlink.close()

    def read(self, tell: Callable[[Packet], None]) -> None:
        """Tell of the packets that are there, as many as take no time to speak of."""
        for _ in range(_READS_AT_ONCE):
            try:
                datagram = self._netlink.socket.recv(RECEIVE_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self.lost += 1
                continue
            for kind, _, _, body in split(datagram):
                if kind == _PACKET and (packet := parse(body)) is not None:
                    tell(packet)


def parse(body: bytes) -> Packet | None:
    """None for what is not one of ours, or cut short. The payload is the sandbox's own making."""
    found = find_attributes(body, BODY_OFFSET, (_INTERFACE, _PAYLOAD, _PREFIX))
    verdict, _, rule = found.get(_PREFIX, b"").rstrip(b"\0").decode("ascii", "replace").partition(" ")
    interface, target = found.get(_INTERFACE, b""), _target(found.get(_PAYLOAD, b""))
    if verdict not in (ALLOWED, DENIED) or len(interface) != 4 or target is None:
        return None
    return Packet(verdict == ALLOWED, rule, int.from_bytes(interface, "big"), *target)


def _target(payload: bytes) -> tuple[str, IPv4Address | IPv6Address, int] | None:
    """Protocol, destination and port of an IP packet that may be cut off after its headers."""
    version = payload[0] >> 4 if payload else 0
    if version == 4 and len(payload) >= _IPV4_BYTES:
        is_first = not int.from_bytes(payload[6:8], "big") & 0x1FFF
        number, header_bytes = payload[9], (payload[0] & 0xF) * 4
        address: IPv4Address | IPv6Address = IPv4Address(payload[16:20])
    elif version == 6 and len(payload) >= _IPV6_BYTES:
        is_first, number, header_bytes = True, payload[6], _IPV6_BYTES
        address = IPv6Address(payload[24:40])
    else:
        return None
    protocol = _PROTOCOLS.get(number, str(number))
    ports = payload[header_bytes + 2 : header_bytes + 4]
    has_port = protocol in _WITH_PORTS and is_first and header_bytes >= _IPV4_BYTES and len(ports) == 2
    return protocol, address, int.from_bytes(ports, "big") if has_port else 0
