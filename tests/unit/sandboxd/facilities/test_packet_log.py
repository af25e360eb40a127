"""What the kernel tells of packets, whose content is the sandbox's: read, or passed over, and never more."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandboxd.network.framing import attribute, find_attributes, split
from sandboxd.network.packet_log import Packet, parse

HEAD = bytes(4)


def ipv4(protocol: int = 6, *, port: int = 443, fragment: int = 0, header_words: int = 5) -> bytes:
    header = struct.pack(
        ">BBHHHBBH4s4s", 0x40 | header_words, 0, 60, 0, fragment, 64, protocol, 0, bytes(4), IPv4Address("192.0.2.1").packed
    )
    return header + bytes((header_words - 5) * 4) + struct.pack(">HH", 1, port) + bytes(16)


def told(payload: bytes, *, prefix: bytes = b"denied not_listed\0", interface: bytes = b"\0\0\0\7") -> Packet | None:
    return parse(HEAD + attribute(4, interface) + attribute(10, prefix) + attribute(9, payload))


@pytest.mark.parametrize(
    ("payload", "protocol", "port"),
    [
        (ipv4(), "tcp", 443),
        (ipv4(17, port=53), "udp", 53),
        (ipv4(1), "icmp", 0),
        (ipv4(47), "47", 0),
        (ipv4(header_words=8), "tcp", 443),
        (ipv4(17, fragment=0x2000), "udp", 443),
        (ipv4(17, fragment=0x0001), "udp", 0),
        (ipv4()[:20], "tcp", 0),
        (ipv4()[:23], "tcp", 0),
        (ipv4(header_words=15)[:64], "tcp", 443),
        (b"\x40" + ipv4()[1:], "tcp", 0),
    ],
)
def test_packets(payload: bytes, protocol: str, port: int) -> None:
    assert told(payload) == Packet(False, "not_listed", 7, protocol, IPv4Address("192.0.2.1"), port)


def test_ipv6() -> None:
    header = struct.pack(">IHBB16s16s", 6 << 28, 8, 17, 64, bytes(16), IPv6Address("2001:db8::1").packed)
    packet = told(header + struct.pack(">HH", 1, 53), prefix=b"denied ipv6\0")
    assert packet == Packet(False, "ipv6", 7, "udp", IPv6Address("2001:db8::1"), 53)


@pytest.mark.parametrize("prefix", [b"", b"\0", b"dropped\0", b"[UFW BLOCK] \0", b"\xff\xfe"])
def test_other_peoples_packets_are_passed_over(prefix: bytes) -> None:
    assert told(ipv4(), prefix=prefix) is None


@pytest.mark.parametrize("interface", [b"", b"\0\0\7", b"\0\0\0\0\7"])
def test_without_an_interface_there_is_no_sandbox(interface: bytes) -> None:
    assert told(ipv4(), interface=interface) is None


@given(st.binary(max_size=80))
def test_any_payload_is_a_packet_or_none(payload: bytes) -> None:
    packet = told(payload)
    assert packet is None or 0 <= packet.port <= 0xFFFF


@given(st.binary(max_size=200))
def test_any_message_can_be_read(body: bytes) -> None:
    parse(body)
    for _, _, _, inner in split(body):
        find_attributes(inner, 4, (1, 2, 3))


def test_a_message_that_says_it_is_longer_than_it_is_ends_the_reading() -> None:
    whole = struct.pack("=IHHII", 20, 1, 0, 0, 0) + b"abcd"
    assert [body for *_, body in split(whole + struct.pack("=IHHII", 999, 1, 0, 0, 0))] == [b"abcd"]
    assert list(split(struct.pack("=IHHII", 0, 1, 0, 0, 0))) == []
