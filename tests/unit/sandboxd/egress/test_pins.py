"""Pins: what is kept, what is forgotten, and what a restarted daemon finds."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path

from cove.types import SandboxId, new_id
from sandboxd.egress import pin_store, pins
from sandboxd.egress.pin_store import PinStore
from sandboxd.egress.pins import LASTS_S, PinBook
from tests.unit.sandboxd.egress.conftest import Clock

FIRST, SECOND = IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2")


def sandbox() -> SandboxId:
    return SandboxId(new_id("sb"))


def test_a_pin_ends() -> None:
    book = PinBook()
    book.add("a.example", [FIRST], until=100.0, now=0.0)
    assert book.names_of(FIRST, 99.9) == ("a.example",)
    assert book.names_of(FIRST, 100.0) == ()
    assert book.left(40.0) == {FIRST: 60.0}


def test_the_latest_name_comes_last_and_a_pin_never_gets_shorter() -> None:
    book = PinBook()
    book.add("a.example", [FIRST], until=100.0, now=0.0)
    book.add("b.example", [FIRST], until=50.0, now=0.0)
    book.add("a.example", [FIRST], until=60.0, now=0.0)
    assert book.names_of(FIRST, 99.0) == ("b.example", "a.example")


def test_what_is_pinned_for_long_enough_is_not_missing() -> None:
    book = PinBook()
    book.add("a.example", [FIRST], until=60 + LASTS_S, now=0.0)
    assert book.missing([FIRST, SECOND], 60, 0.0) == [SECOND]
    assert book.missing([FIRST], 60, LASTS_S * 0.6) == [FIRST]


def test_a_tightened_policy_forgets_addresses_of_names_that_went() -> None:
    book = PinBook()
    book.add("a.example", [FIRST, SECOND], until=100.0, now=0.0)
    book.add("b.example", [SECOND], until=100.0, now=0.0)
    assert book.keep_only(lambda name: name == "b.example") == [FIRST]
    assert book.left(0.0) == {SECOND: 100.0}
    assert book.names_of(SECOND, 0.0) == ("b.example",)


def test_a_book_is_bounded_and_keeps_what_lasts() -> None:
    book = PinBook()
    for number in range(pins.MAX_ADDRESSES + 10):
        book.add("a.example", [IPv4Address(number)], until=100.0 + number, now=0.0)
    assert len(book) <= pins.MAX_ADDRESSES
    assert book.names_of(IPv4Address(pins.MAX_ADDRESSES + 9), 0.0)
    assert not book.names_of(IPv4Address(0), 0.0)


def test_an_address_has_a_bounded_number_of_names() -> None:
    book = PinBook()
    for number in range(100):
        book.add(f"{number}.example", [FIRST], until=100.0, now=0.0)
    assert len(book.names_of(FIRST, 0.0)) == pins.MAX_NAMES


def test_a_restarted_daemon_knows_the_pins(tmp_path: Path, clock: Clock) -> None:
    store, first, second = PinStore(tmp_path, clock), sandbox(), sandbox()
    store.keep(first, "a.example", [FIRST], until=clock() + 100)
    store.keep(first, "b.example", [FIRST, SECOND], until=clock() + 200)
    store.keep(second, "c.example", [SECOND], until=clock() + 10)
    clock.now += 20
    again = PinStore(tmp_path, clock)
    assert again.book(first).left(clock()) == {FIRST: 180.0, SECOND: 180.0}
    assert again.book(first).names_of(FIRST, clock()) == ("a.example", "b.example")
    assert again.book(second).left(clock()) == {}
    assert again.list_() == {first, second}


def test_a_line_cut_short_is_passed_over(tmp_path: Path, clock: Clock) -> None:
    store, one = PinStore(tmp_path, clock), sandbox()
    store.keep(one, "a.example", [FIRST], until=clock() + 100)
    with (tmp_path / one).open("ab") as file:
        file.write(b'{"name":"b.exa')
    again = PinStore(tmp_path, clock)
    assert set(again.book(one).left(clock())) == {FIRST}
    again.keep(one, "c.example", [SECOND], until=clock() + 100)
    assert set(PinStore(tmp_path, clock).book(one).left(clock())) == {FIRST, SECOND}


def test_a_file_begins_anew_before_it_gets_long(tmp_path: Path, clock: Clock) -> None:
    store, one = PinStore(tmp_path, clock), sandbox()
    for number in range(pin_store.MAX_LINES + 5):
        store.keep(one, "a.example", [FIRST], until=clock() + number)
    assert (tmp_path / one).stat().st_size < 10_000
    assert set(PinStore(tmp_path, clock).book(one).left(clock())) == {FIRST}


def test_pins_that_a_policy_took_away_do_not_come_back(tmp_path: Path, clock: Clock) -> None:
    store, one = PinStore(tmp_path, clock), sandbox()
    store.keep(one, "a.example", [FIRST], until=clock() + 100)
    store.keep(one, "b.example", [SECOND], until=clock() + 100)
    store.book(one).keep_only(lambda name: name == "b.example")
    store.rewrite(one)
    assert set(PinStore(tmp_path, clock).book(one).left(clock())) == {SECOND}
