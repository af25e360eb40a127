"""DNS messages for tests, written and read apart from the resolver's own code."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

A, NS, CNAME, SOA, PTR, MX, TXT, AAAA, OPT = 1, 2, 5, 6, 12, 15, 16, 28, 41


class Record(NamedTuple):
    """One record of an answer."""

    name: str
    type: int
    data: bytes
    ttl_s: int = 60


class Parsed(NamedTuple):
    """A reply as a client sees it."""

    id: int
    rcode: int
    truncated: bool
    addresses: list[str]
    ttl_s: int
    extended_error: tuple[int, str] | None


def encode_name(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".") if label) + b"\0"


def question(name: str, kind: int = A, *, query_id: int = 7, edns: int = 0, class_: int = 1, flags: int = 0x0100) -> bytes:
    """A query as programs send it; ``edns``: the datagram size it claims."""
    extra = b"\0" + struct.pack("!HHIH", OPT, edns, 0, 0) if edns else b""
    return (
        struct.pack("!HHHHHH", query_id, flags, 1, 0, 0, 1 if extra else 0) + encode_name(name) + struct.pack("!HH", kind, class_) + extra
    )


def address(name: str, text: str, ttl_s: int = 60) -> Record:
    return Record(name, A, bytes(int(part) for part in text.split(".")), ttl_s)


def alias(name: str, target: str, ttl_s: int = 60) -> Record:
    return Record(name, CNAME, encode_name(target), ttl_s)


def soa(name: str, *, ttl_s: int, minimum_s: int) -> Record:
    data = encode_name("ns." + name) + encode_name("root." + name) + struct.pack("!IIIII", 1, 2, 3, 4, minimum_s)
    return Record(name, SOA, data, ttl_s)


def answer(
    query: bytes, records: Sequence[Record] = (), *, rcode: int = 0, authorities: Sequence[Record] = (), flags: int = 0x8180, **changes: Any
) -> bytes:
    """An upstream's answer to ``query``. ``changes``: ``query_id`` or ``asked`` (the question section) other than the query's."""
    query_id = changes.get("query_id", struct.unpack_from("!H", query)[0])
    asked: bytes = changes.get("asked", query[12 : query.index(b"\0", 12) + 5])
    header = struct.pack("!HHHHHH", query_id, flags | rcode, 1, len(records), len(authorities), 0)
    body = b"".join(
        encode_name(record.name) + struct.pack("!HHIH", record.type, 1, record.ttl_s, len(record.data)) + record.data
        for record in [*records, *authorities]
    )
    return header + asked + body


def asked_name(query: bytes) -> str:
    """The name in a question without compression."""
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode())
        at += 1 + query[at]
    return ".".join(labels)


def parse(reply: bytes) -> Parsed:
    """Read a reply of the resolver; its records' names must be pointers to the question, or the root."""
    query_id, flags, questions, answers, authorities, extras = struct.unpack_from("!HHHHHH", reply)
    assert flags & 0x8000
    assert authorities == 0
    at = reply.index(b"\0", 12) + 5 if questions else 12
    addresses, ttl_s, extended = [], 0, None
    for index in range(answers + extras):
        root = reply[at] == 0
        assert root or reply[at : at + 2] == b"\xc0\x0c"
        at += 1 if root else 2
        kind, _, ttl, length = struct.unpack_from("!HHIH", reply, at)
        data = reply[at + 10 : at + 10 + length]
        at += 10 + length
        if index < answers:
            assert kind == A
            addresses.append(".".join(map(str, data)))
            ttl_s = ttl
        elif data:
            code, size, info = struct.unpack_from("!HHH", data)
            assert (code, size) == (15, len(data) - 4)
            extended = (info, data[6:].decode())
    assert at == len(reply)
    return Parsed(query_id, flags & 0xF, bool(flags & 0x0200), addresses, ttl_s, extended)
