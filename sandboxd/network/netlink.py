"""rtnetlink: links, addresses and routes by messages to the kernel. A whole batch is one system call; nothing here takes a millisecond.

Builders of messages are pure; :class:`Netlink` sends them. Source: rtnetlink(7), linux/if_link.h, linux/rtnetlink.h, linux/veth.h.
"""

from __future__ import annotations

import errno
import socket
import struct
from ipaddress import IPv4Address, IPv4Network
from typing import Final, NamedTuple

from sandboxd.network.framing import (
    ACK,
    CREATE,
    DONE,
    DUMP,
    ERROR,
    EXCLUSIVE,
    RECEIVE_BYTES,
    attribute,
    c_string,
    error_of,
    find_attributes,
    split,
)
from sandboxd.network.kernel_socket import KernelSocket

_RTM_NEWLINK: Final = 16
_RTM_DELLINK: Final = 17
_RTM_GETLINK: Final = 18
_RTM_SETLINK: Final = 19
_RTM_NEWADDR: Final = 20
_RTM_DELADDR: Final = 21
_RTM_NEWROUTE: Final = 24
_RTM_GETROUTE: Final = 26

_DUMP_INTERRUPTED: Final = 0x10

_IFF_UP: Final = 0x1
_IFLA_IFNAME: Final = 3
_IFLA_MTU: Final = 4
_IFLA_LINKINFO: Final = 18
_IFLA_IFALIAS: Final = 20
_IFLA_NET_NS_FD: Final = 28
_INFO_KIND: Final = 1
_INFO_DATA: Final = 2
_VETH_INFO_PEER: Final = 1
_IFA_ADDRESS: Final = 1
_IFA_LOCAL: Final = 2
_RTA_DST: Final = 1
_RTA_OIF: Final = 4
_RTA_GATEWAY: Final = 5
_TABLE_MAIN: Final = 254
_PROTOCOL_STATIC: Final = 4
_SCOPE_UNIVERSE: Final = 0
_UNICAST: Final = 1
_LOCAL: Final = 2
_BROADCAST: Final = 3
_FIB_MATCH: Final = 0x2000

_LINK: Final = struct.Struct("=BxHiII")
_ADDRESS: Final = struct.Struct("=BBBBi")
_ROUTE: Final = struct.Struct("=BBBBBBBBI")
_DUMP_ATTEMPTS: Final = 5


class Message(NamedTuple):
    """A request without its header."""

    kind: int
    flags: int
    body: bytes


class Link(NamedTuple):
    """One network interface."""

    number: int
    """The kernel's: unique in a namespace."""
    name: str
    alias: str
    """Free text that the kernel keeps with the interface; empty if none."""
    mtu: int


class Route(NamedTuple):
    """One IPv4 route of the main table."""

    destination: IPv4Network
    link_number: int
    """0: through no single interface."""


# --- messages ------------------------------------------------------------------------------------------------------------------------


def new_veth(name: str, *, peer_name: str, peer_netns_fd: int, mtu: int) -> Message:
    """A veth pair: ``name`` here, ``peer_name`` in the other namespace. EEXIST if ``name`` is taken."""
    peer = _link_body(
        attribute(_IFLA_IFNAME, c_string(peer_name))
        + attribute(_IFLA_MTU, struct.pack("=I", mtu))
        + attribute(_IFLA_NET_NS_FD, struct.pack("=I", peer_netns_fd))
    )
    info = attribute(_INFO_KIND, b"veth") + attribute(_INFO_DATA, attribute(_VETH_INFO_PEER, peer))
    attributes = attribute(_IFLA_IFNAME, c_string(name)) + attribute(_IFLA_MTU, struct.pack("=I", mtu)) + attribute(_IFLA_LINKINFO, info)
    return Message(_RTM_NEWLINK, CREATE | EXCLUSIVE, _link_body(attributes))


def delete_link(name: str) -> Message:
    """Remove an interface, and its veth peer. ENODEV if there is none."""
    return Message(_RTM_DELLINK, 0, _link_body(attribute(_IFLA_IFNAME, c_string(name))))


def set_alias(name: str, alias: str) -> Message:
    return Message(_RTM_SETLINK, 0, _link_body(attribute(_IFLA_IFNAME, c_string(name)) + attribute(_IFLA_IFALIAS, alias.encode())))


def set_up(name: str) -> Message:
    return Message(_RTM_SETLINK, 0, _link_body(attribute(_IFLA_IFNAME, c_string(name)), flags=_IFF_UP))


def add_address(link_number: int, address: IPv4Address, prefix: int) -> Message:
    """EEXIST if the interface has it."""
    return Message(_RTM_NEWADDR, CREATE | EXCLUSIVE, _address_body(link_number, address, prefix))


def delete_address(link_number: int, address: IPv4Address, prefix: int) -> Message:
    """EADDRNOTAVAIL if the interface does not have it."""
    return Message(_RTM_DELADDR, 0, _address_body(link_number, address, prefix))


def add_default_route(gateway: IPv4Address) -> Message:
    header = _ROUTE.pack(socket.AF_INET, 0, 0, 0, _TABLE_MAIN, _PROTOCOL_STATIC, _SCOPE_UNIVERSE, _UNICAST, 0)
    return Message(_RTM_NEWROUTE, CREATE | EXCLUSIVE, header + attribute(_RTA_GATEWAY, gateway.packed))


def _address_body(link_number: int, address: IPv4Address, prefix: int) -> bytes:
    header = _ADDRESS.pack(socket.AF_INET, prefix, 0, _SCOPE_UNIVERSE, link_number)
    return header + attribute(_IFA_LOCAL, address.packed) + attribute(_IFA_ADDRESS, address.packed)


def _link_body(attributes: bytes, *, flags: int = 0) -> bytes:
    return _LINK.pack(socket.AF_UNSPEC, 0, 0, flags, flags) + attributes


# --- talking to the kernel -----------------------------------------------------------------------------------------------------------


class Netlink(KernelSocket):
    """A socket to what keeps interfaces, addresses and routes."""

    def __init__(self) -> None:
        super().__init__(socket.NETLINK_ROUTE)

    def request(self, *messages: Message) -> None:
        """Carry out ``messages`` in order. One that fails does not stop those after it. Raises: OSError: the first failure."""
        first = self.sequence + 1
        self.socket.send(b"".join(self._packed(message, ACK) for message in messages))
        failures: dict[int, OSError] = {}
        answered = 0
        while answered < len(messages):
            for kind, _, sequence, body in split(self.socket.recv(RECEIVE_BYTES)):
                if kind == ERROR and sequence >= first:
                    answered += 1
                    if error := error_of(body):
                        failures.setdefault(sequence, error)
        if failures:
            raise failures[min(failures)]

    def links(self) -> list[Link]:
        """Every interface of the namespace."""
        return [_parse_link(body) for body in self._dump(Message(_RTM_GETLINK, 0, _link_body(b"")))]

    def number_of(self, link: str) -> int:
        """The number of an interface. Raises: OSError: ENODEV."""
        body = _link_body(attribute(_IFLA_IFNAME, c_string(link)))
        return _parse_link(self._ask(Message(_RTM_GETLINK, 0, body))).number

    def routes(self) -> list[Route]:
        """Every IPv4 route of the main table."""
        message = Message(_RTM_GETROUTE, 0, _ROUTE.pack(socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0))
        return [_parse_route(body) for body in self._dump(message) if _ROUTE.unpack_from(body)[4] == _TABLE_MAIN]

    def route_to(self, address: IPv4Address) -> Route | None:
        """The route that packets to ``address`` take; None if there is none."""
        body = _ROUTE.pack(socket.AF_INET, 32, 0, 0, 0, 0, 0, 0, _FIB_MATCH) + attribute(_RTA_DST, address.packed)
        try:
            return _parse_route(self._ask(Message(_RTM_GETROUTE, 0, body)))
        except OSError as error:
            if error.errno == errno.ENETUNREACH:
                return None
            raise

    def is_local(self, address: IPv4Address) -> bool:
        """Whether ``address`` is one of this machine's own, or a broadcast that it hears."""
        body = _ROUTE.pack(socket.AF_INET, 32, 0, 0, 0, 0, 0, 0, 0) + attribute(_RTA_DST, address.packed)
        try:
            return _ROUTE.unpack_from(self._ask(Message(_RTM_GETROUTE, 0, body)))[7] in (_LOCAL, _BROADCAST)
        except OSError as error:
            if error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL):  # there is no way to it
                return False
            raise

    def _ask(self, message: Message) -> bytes:
        """The body of the one answer to ``message``."""
        self.socket.send(self._packed(message, 0))
        while True:
            for kind, _, sequence, body in split(self.socket.recv(RECEIVE_BYTES)):
                if sequence == self.sequence:
                    _check(kind, body)
                    return body

    def _dump(self, message: Message) -> list[bytes]:
        """Bodies of all answers. What changes while the kernel lists it makes the list start anew."""
        for _ in range(_DUMP_ATTEMPTS):
            self.socket.send(self._packed(message, DUMP))
            bodies, whole = self._read_dump()
            if whole:
                break
        return bodies

    def _read_dump(self) -> tuple[list[bytes], bool]:
        bodies: list[bytes] = []
        whole = True
        while True:
            for kind, flags, sequence, body in split(self.socket.recv(RECEIVE_BYTES)):
                if sequence != self.sequence:
                    continue
                whole = whole and not flags & _DUMP_INTERRUPTED
                if kind == DONE:
                    return bodies, whole
                _check(kind, body)
                bodies.append(body)

    def _packed(self, message: Message, flags: int) -> bytes:
        return self.framed(message.kind, flags | message.flags, message.body)


def _check(kind: int, body: bytes) -> None:
    if kind == ERROR and (error := error_of(body)):
        raise error


def _parse_link(body: bytes) -> Link:
    found = find_attributes(body, _LINK.size, (_IFLA_IFNAME, _IFLA_IFALIAS, _IFLA_MTU))
    name = found.get(_IFLA_IFNAME, b"").rstrip(b"\0").decode()
    alias = found.get(_IFLA_IFALIAS, b"").rstrip(b"\0").decode(errors="replace")
    (mtu,) = struct.unpack("=I", found.get(_IFLA_MTU, bytes(4)))
    return Link(_LINK.unpack_from(body)[2], name, alias, mtu)


def _parse_route(body: bytes) -> Route:
    found = find_attributes(body, _ROUTE.size, (_RTA_DST, _RTA_OIF))
    prefix = _ROUTE.unpack_from(body)[1]
    destination = IPv4Network((found.get(_RTA_DST, bytes(4)), prefix), strict=False)
    (link_number,) = struct.unpack("=I", found.get(_RTA_OIF, bytes(4)))
    return Route(destination, link_number)
