"""DNS messages as bytes: what is read, what is refused, and that nothing crashes on rubbish."""

from __future__ import annotations

import contextlib
import struct
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandboxd.egress.dns.message import (
    MAX_ADDRESSES,
    MAX_UDP,
    Answer,
    ExtendedError,
    MalformedError,
    Query,
    Rcode,
    read_answer,
    read_query,
    refuse_unread,
    write_question,
    write_reply,
)
from tests.support import dns_messages as dns

LABEL = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_", min_size=1, max_size=63)
NAME = st.lists(LABEL, min_size=1, max_size=5).map(".".join).filter(lambda name: len(name) <= 253)
ADDRESSES = [IPv4Address(f"192.0.2.{number}") for number in range(1, 21)]


def query(name: str = "example.com", **options: int) -> Query:
    return read_query(dns.question(name, **options))


def test_a_question_is_read() -> None:
    read = read_query(dns.question("Www.EXAMPLE.com", query_id=0xBEEF, edns=4096))
    assert (read.id, read.name, read.type, read.recursion_desired) == (0xBEEF, "www.example.com", 1, True)
    assert read.payload_bytes == MAX_UDP
    assert b"\x07EXAMPLE" in read.question  # sent back as it came


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 11,
        dns.question("example.com")[:-1],
        dns.question("example.com") + b"\0",
        dns.question("example.com", class_=3),
        dns.question("example.com", flags=0x8100),
        dns.question("example.com", flags=0x2900),
        struct.pack("!HHHHHH", 1, 0x0100, 2, 0, 0, 0) + dns.question("a.example")[12:] * 2,
        struct.pack("!HHHHHH", 1, 0x0100, 1, 1, 0, 0) + dns.question("a.example")[12:],
        struct.pack("!HHHHHH", 1, 0x0100, 1, 0, 0, 2) + dns.question("a.example", edns=512)[12:],
        struct.pack("!HHHHHH", 1, 0x0100, 1, 0, 0, 0) + b"\xc0\x0c\0\1\0\1",
        struct.pack("!HHHHHH", 1, 0x0100, 1, 0, 0, 0) + b"\x3fshort",
        struct.pack("!HHHHHH", 1, 0x0100, 1, 0, 0, 0) + b"\x04a\0.b\0\0\1\0\1",
        struct.pack("!HHHHHH", 1, 0x0100, 1, 0, 0, 0) + (b"\x3f" + b"a" * 63) * 4 + b"\0\0\1\0\1",
        dns.question("example.com", edns=512)[:-2] + b"\0\5",
        dns.question("example.com", edns=512) + b"hidden",
    ],
)
def test_what_is_not_one_plain_question_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError):
        read_query(data)


def test_unreadable_queries_are_answered_and_answers_never() -> None:
    assert refuse_unread(b"rubbish") is None
    assert refuse_unread(dns.question("example.com", flags=0x8100)) is None
    reply = refuse_unread(dns.question("example.com", query_id=9)[:-1])
    assert reply is not None
    assert (dns.parse(reply).id, dns.parse(reply).rcode) == (9, Rcode.FORMERR)
    update = refuse_unread(dns.question("example.com", flags=0x2800))
    assert update is not None
    assert dns.parse(update).rcode == Rcode.NOTIMP


def test_a_reply_has_the_addresses_under_the_name_that_was_asked_for() -> None:
    reply = write_reply(query("Example.com", query_id=3), Answer(Rcode.NOERROR, tuple(ADDRESSES[:2]), 77))
    assert dns.parse(reply) == dns.Parsed(3, 0, False, ["192.0.2.1", "192.0.2.2"], 77, None)
    assert dns.encode_name("Example.com") in reply


def test_why_is_told_to_those_who_can_read_it() -> None:
    why = (ExtendedError.PROHIBITED, "Add it.")
    with_edns = write_reply(query(edns=1232), Answer(Rcode.NXDOMAIN, (), 1), why=why)
    assert dns.parse(with_edns).extended_error == (18, "Add it.")
    assert dns.parse(write_reply(query(), Answer(Rcode.NXDOMAIN, (), 1), why=why)).extended_error is None


def test_a_reply_that_does_not_fit_sends_the_client_to_tcp() -> None:
    answer = Answer(Rcode.NOERROR, tuple(ADDRESSES[:16]), 60)
    asked = query("a" * 63 + "." + "b" * 63 + "." + "c" * 63 + "." + "d" * 50)
    parsed = dns.parse(write_reply(asked, answer, limit=512))
    assert (parsed.truncated, parsed.addresses) == (True, [])
    assert len(dns.parse(write_reply(asked, answer)).addresses) == 16


def test_an_upstream_answer_is_followed_through_aliases_in_any_order() -> None:
    asked = write_question(5, "www.example.com")
    records = [
        dns.address("edge.cdn.example", "192.0.2.9", ttl_s=30),
        dns.alias("Middle.example", "edge.CDN.example", ttl_s=20),
        dns.alias("www.example.com", "middle.example", ttl_s=900),
        dns.address("edge.cdn.example", "192.0.2.8", ttl_s=600),
    ]
    answer = read_answer(dns.answer(asked, records), query_id=5, name="www.example.com")
    assert answer == Answer(Rcode.NOERROR, (IPv4Address("192.0.2.9"), IPv4Address("192.0.2.8")), 20)


def test_records_of_other_names_are_passed_over() -> None:
    asked = write_question(5, "www.example.com")
    records = [dns.address("bank.example", "203.0.113.1"), dns.address("example.com", "203.0.113.2")]
    assert read_answer(dns.answer(asked, records), query_id=5, name="www.example.com").addresses == ()


def test_aliases_in_a_circle_end() -> None:
    asked = write_question(5, "a.example")
    circle = [dns.alias("a.example", "b.example"), dns.alias("b.example", "a.example")]
    assert read_answer(dns.answer(asked, circle), query_id=5, name="a.example").addresses == ()


def test_no_more_addresses_than_help() -> None:
    asked = write_question(5, "a.example")
    many = [dns.address("a.example", str(address)) for address in ADDRESSES]
    assert len(read_answer(dns.answer(asked, many), query_id=5, name="a.example").addresses) == MAX_ADDRESSES


def test_no_holds_as_long_as_the_zone_says() -> None:
    asked = write_question(5, "no.example")
    data = dns.answer(asked, rcode=3, authorities=[dns.soa("example", ttl_s=900, minimum_s=17)])
    assert read_answer(data, query_id=5, name="no.example") == Answer(Rcode.NXDOMAIN, (), 17)


@pytest.mark.parametrize(
    "changes",
    [
        {"query_id": 6},
        {"flags": 0x0100},
        {"asked": dns.encode_name("b.example") + b"\0\1\0\1"},
        {"asked": dns.encode_name("a.example") + b"\0\x1c\0\1"},
        {"asked": dns.encode_name("a.example") + b"\0\1\0\3"},
    ],
)
def test_answers_to_other_questions_are_refused(changes: dict[str, object]) -> None:
    forged = dns.answer(write_question(5, "a.example"), [dns.address("a.example", "203.0.113.1")], **changes)  # type: ignore[arg-type]
    with pytest.raises(MalformedError):
        read_answer(forged, query_id=5, name="a.example")


@pytest.mark.parametrize("owner", [b"\xc0\x1b" + b"\0" * 10, b"\xc0\xff" + b"\0" * 10, b"\xc1", b"\x3fabc" + b"\0" * 10])
def test_names_that_lead_nowhere_are_refused(owner: bytes) -> None:
    data = dns.answer(write_question(5, "a.example"))
    with pytest.raises(MalformedError):
        read_answer(data[:6] + b"\0\1" + data[8:] + owner, query_id=5, name="a.example")


@given(NAME, st.integers(0, 0xFFFF))
def test_what_is_asked_upstream_is_what_was_asked(name: str, query_id: int) -> None:
    sent = write_question(query_id, read_query(dns.question(name.upper())).name)
    assert dns.asked_name(sent) == name
    assert read_query(sent).name == name


@given(st.binary(max_size=600))
def test_rubbish_is_only_ever_malformed(data: bytes) -> None:
    for read in (read_query, lambda data: read_answer(data, query_id=5, name="a.example")):
        with contextlib.suppress(MalformedError):
            read(data)
    refuse_unread(data)


@given(st.data())
def test_a_damaged_answer_is_only_ever_malformed(data: st.DataObject) -> None:
    asked = write_question(5, "a.example")
    records = [dns.alias("a.example", "b.example"), dns.address("b.example", "192.0.2.1"), dns.soa("example", ttl_s=1, minimum_s=1)]
    damaged = bytearray(dns.answer(asked, records))
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(2, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(damaged)))
    try:
        answer = read_answer(bytes(damaged[:cut]), query_id=5, name="a.example")
    except MalformedError:
        return
    assert len(answer.addresses) <= MAX_ADDRESSES
