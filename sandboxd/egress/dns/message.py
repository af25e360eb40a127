"""DNS messages, as far as the resolver speaks them: one question for addresses, and its answer. Pure.

Written by hand and not with a library, as this is where hostile bytes meet the network on both sides: what a sandbox sends is read by
something that knows one question and nothing else, what goes upstream is written afresh, and of what comes back only addresses get
through. It is also ten times as fast as general parsers.

Source: RFC 1035 (messages), RFC 6891 (EDNS), RFC 8914 (extended errors), RFC 2308 (negative answers).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from enum import IntEnum
from ipaddress import IPv4Address
from typing import Final, NamedTuple

MAX_MESSAGE: Final = 65_535
MAX_UDP: Final = 1_232
"""Bytes that fit an unfragmented datagram everywhere. Source: DNS flag day 2020."""
PLAIN_UDP: Final = 512
"""What clients without EDNS take. Source: RFC 1035, 4.2.1."""
MAX_ADDRESSES: Final = 16
"""Of one answer that are passed on: more help nobody, and would carry data in."""

_MAX_NAME: Final = 255
_MAX_LABEL: Final = 63
_MAX_RECORDS: Final = 512
_MAX_ALIASES: Final = 16
_CLASS_IN: Final = 1
_HEADER: Final = struct.Struct("!HHHHHH")
_RECORD: Final = struct.Struct("!HHIH")
_RESPONSE, _TRUNCATED, _RECURSION, _AVAILABLE, _OPCODE = 0x8000, 0x0200, 0x0100, 0x0080, 0x7800
_EXTENDED_ERROR: Final = 15
_LABEL: Final = re.compile(rb"[a-z0-9_-]{1,63}")


class RecordType(IntEnum):
    """Types of records that something is done about."""

    A = 1
    CNAME = 5
    SOA = 6
    PTR = 12
    AAAA = 28
    OPT = 41
    SVCB = 64
    HTTPS = 65


class Rcode(IntEnum):
    """Outcome of a query."""

    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5


class ExtendedError(IntEnum):
    """Why, for those who can read it. Source: RFC 8914, 4."""

    BLOCKED = 15
    PROHIBITED = 18
    NOT_SUPPORTED = 21
    NO_REACHABLE_AUTHORITY = 22


class MalformedError(Exception):
    """Bytes that are no message of the kind expected."""


class Query(NamedTuple):
    """One question of a sandbox."""

    id: int
    name: str
    """Lower case, no trailing period; empty: the root."""
    type: int
    question: bytes
    """As it was sent, to be sent back: some clients compare capitals."""
    recursion_desired: bool
    payload_bytes: int
    """Largest datagram the client takes; 0: it does not speak EDNS."""


class Answer(NamedTuple):
    """What is known of a name."""

    rcode: Rcode
    addresses: tuple[IPv4Address, ...]
    ttl_s: int
    truncated: bool = False
    """There is more, over TCP."""


def read_query(data: bytes) -> Query:
    """The question of a sandbox. Raises: MalformedError: anything but exactly one question of class IN, with or without EDNS."""
    query_id, flags, questions, answers, authorities, extras = _header(data)
    if flags & (_RESPONSE | _OPCODE) or (questions, answers, authorities) != (1, 0, 0) or extras > 1:
        raise MalformedError("not one plain question")
    labels, at = _labels_in_question(data, _HEADER.size)
    if len(data) < at + 4:
        raise MalformedError("question ends early")
    kind, class_ = struct.unpack_from("!HH", data, at)
    if class_ != _CLASS_IN:
        raise MalformedError("class is not IN")
    payload_bytes = _edns_payload(data, at + 4) if extras else 0
    if not extras and len(data) != at + 4:
        raise MalformedError("bytes after the question")
    name = b".".join(labels).decode("ascii")
    return Query(query_id, name, kind, data[_HEADER.size : at + 4], bool(flags & _RECURSION), payload_bytes)


def refuse_unread(data: bytes) -> bytes | None:
    """The answer to a query that :func:`read_query` could not read; None: it is not even a query, and gets none."""
    if len(data) < _HEADER.size or data[2] & 0x80:
        return None
    query_id, flags = struct.unpack_from("!HH", data)
    rcode = Rcode.NOTIMP if flags & _OPCODE else Rcode.FORMERR
    return _HEADER.pack(query_id, _RESPONSE | flags & (_OPCODE | _RECURSION) | rcode, 0, 0, 0, 0)


def write_reply(query: Query, answer: Answer, *, limit: int = MAX_MESSAGE, why: tuple[ExtendedError, str] | None = None) -> bytes:
    """The reply to ``query``, of at most ``limit`` bytes; if that is too little, one that asks the client to come back over TCP.

    Aliases are not told: all addresses belong to the name that was asked for.

    Args:    why: of a refusal, for clients that speak EDNS.
    """
    flags = _RESPONSE | _AVAILABLE | (_RECURSION if query.recursion_desired else 0) | answer.rcode
    extra = _edns(why) if query.payload_bytes else b""
    records = b"".join(
        b"\xc0\x0c" + _RECORD.pack(RecordType.A, _CLASS_IN, answer.ttl_s, 4) + address.packed for address in answer.addresses
    )
    size = _HEADER.size + len(query.question) + len(records) + len(extra)
    if size > limit:
        return _HEADER.pack(query.id, flags | _TRUNCATED, 1, 0, 0, 0) + query.question
    return _HEADER.pack(query.id, flags, 1, len(answer.addresses), 0, 1 if extra else 0) + query.question + records + extra


def write_question(query_id: int, name: str) -> bytes:
    """What is sent upstream: a question for the addresses of ``name``, which :func:`read_query` gave."""
    encoded = b"".join(bytes([len(label)]) + label.encode("ascii") for label in name.split("."))
    return (
        _HEADER.pack(query_id, _RECURSION, 1, 0, 0, 1)
        + encoded
        + b"\0"
        + struct.pack("!HH", RecordType.A, _CLASS_IN)
        + b"\0"
        + _RECORD.pack(RecordType.OPT, MAX_UDP, 0, 0)
    )


def read_answer(data: bytes, *, query_id: int, name: str) -> Answer:
    """The answer of an upstream to :func:`write_question`. Records that are not on the way from ``name`` to an address are passed over.

    Raises:  MalformedError: not an answer to this question.
    """
    answer_id, flags, questions, answers, authorities, _ = _header(data)
    if answer_id != query_id or not flags & _RESPONSE or flags & _OPCODE or questions != 1 or answers + authorities > _MAX_RECORDS:
        raise MalformedError("not an answer to this question")
    asked = tuple(label.encode("ascii") for label in name.split("."))
    labels, at = _labels_anywhere(data, _HEADER.size)
    if labels != asked or data[at : at + 4] != struct.pack("!HH", RecordType.A, _CLASS_IN):
        raise MalformedError("an answer to another question")
    rcode = Rcode(flags & 0xF) if flags & 0xF in set(Rcode) else Rcode.SERVFAIL
    if flags & _TRUNCATED:
        return Answer(rcode, (), 0, truncated=True)
    records, _ = _records(data, at + 4, answers + authorities)
    addresses, ttl_s = _follow(asked, records[:answers])
    if addresses and rcode is Rcode.NOERROR:
        return Answer(rcode, addresses, ttl_s)
    return Answer(rcode, (), _negative_ttl(records[answers:]))


# --- reading -------------------------------------------------------------------------------------------------------------------------

_Labels = tuple[bytes, ...]


class _Record(NamedTuple):
    owner: _Labels
    type: int
    ttl_s: int
    data: bytes
    target: _Labels
    """Of an alias."""


def _header(data: bytes) -> tuple[int, int, int, int, int, int]:
    if not _HEADER.size <= len(data) <= MAX_MESSAGE:
        raise MalformedError("no header")
    return _HEADER.unpack_from(data)


def _labels_in_question(data: bytes, at: int) -> tuple[list[bytes], int]:
    """A name without compression, of host name characters; lower case. Returns: its labels, and the place behind it."""
    labels: list[bytes] = []
    begin = at
    while at < len(data) and (length := data[at]):
        label = data[at + 1 : at + 1 + length].lower()
        if length > _MAX_LABEL or len(label) != length or not _LABEL.fullmatch(label):
            raise MalformedError("a label is none")
        labels.append(label)
        at += 1 + length
    if at >= len(data) or at + 1 - begin > _MAX_NAME:
        raise MalformedError("a name does not end, or is too long")
    return labels, at + 1


def _labels_anywhere(data: bytes, at: int) -> tuple[_Labels, int]:
    """A name of an answer, lower case. Pointers may only lead backwards, so that this ends."""
    labels: list[bytes] = []
    behind, bound, size = 0, at, 1
    while True:
        if at >= len(data):
            raise MalformedError("a name does not end")
        length = data[at]
        if length >= 0xC0:
            if at + 1 >= len(data):
                raise MalformedError("a pointer does not end")
            behind = behind or at + 2
            at = (length & 0x3F) << 8 | data[at + 1]
            if at >= bound:
                raise MalformedError("a pointer leads forwards")
            bound = at
            continue
        if length == 0:
            return tuple(labels), behind or at + 1
        size += 1 + length
        if length > _MAX_LABEL or size > _MAX_NAME or at + 1 + length > len(data):
            raise MalformedError("a label is none, or the name too long")
        labels.append(data[at + 1 : at + 1 + length].lower())
        at += 1 + length


def _records(data: bytes, at: int, count: int) -> tuple[list[_Record], int]:
    records: list[_Record] = []
    for _ in range(count):
        owner, at = _labels_anywhere(data, at)
        if at + _RECORD.size > len(data):
            raise MalformedError("a record ends early")
        kind, class_, ttl_s, length = _RECORD.unpack_from(data, at)
        at += _RECORD.size
        if at + length > len(data):
            raise MalformedError("a record's data end early")
        target = _labels_anywhere(data, at)[0] if kind == RecordType.CNAME else ()
        # A time of more than 2³¹ s is none at all. Source: RFC 2181, 8.
        ours = class_ == _CLASS_IN
        records.append(_Record(owner, kind if ours else 0, ttl_s if ttl_s < 2**31 else 0, data[at : at + length], target))
        at += length
    return records, at


def _follow(asked: _Labels, records: Sequence[_Record]) -> tuple[tuple[IPv4Address, ...], int]:
    """The addresses at the end of the aliases that begin at ``asked``, and the shortest time on the way."""
    owner, times = asked, []
    for _ in range(_MAX_ALIASES):
        here = [record for record in records if record.owner == owner]
        found = [record for record in here if record.type == RecordType.A and len(record.data) == 4]
        if found:
            times += [record.ttl_s for record in found]
            return tuple(dict.fromkeys(IPv4Address(record.data) for record in found))[:MAX_ADDRESSES], min(times)
        alias = next((record for record in here if record.type == RecordType.CNAME), None)
        if alias is None:
            break
        times.append(alias.ttl_s)
        owner = alias.target
    return (), 0


def _negative_ttl(authorities: Sequence[_Record]) -> int:
    """How long "no" holds: what the zone says. Source: RFC 2308, 5."""
    for record in authorities:
        if record.type == RecordType.SOA and len(record.data) >= 22:
            (minimum,) = struct.unpack("!I", record.data[-4:])
            return min(record.ttl_s, int(minimum))
    return 0


def _edns_payload(data: bytes, at: int) -> int:
    """The largest datagram the client takes. What options it sends is read by nobody and goes nowhere."""
    if len(data) < at + 11 or data[at] != 0:
        raise MalformedError("not an EDNS record")
    kind, payload_bytes, _, length = _RECORD.unpack_from(data, at + 1)
    if kind != RecordType.OPT or len(data) != at + 11 + length:
        raise MalformedError("not one EDNS record at the end")
    return max(PLAIN_UDP, min(int(payload_bytes), MAX_UDP))


def _edns(why: tuple[ExtendedError, str] | None) -> bytes:
    options = b""
    if why:
        text = why[1].encode("ascii", "replace")[:256]
        options = struct.pack("!HHH", _EXTENDED_ERROR, 2 + len(text), why[0]) + text
    return b"\0" + _RECORD.pack(RecordType.OPT, MAX_UDP, 0, len(options)) + options
