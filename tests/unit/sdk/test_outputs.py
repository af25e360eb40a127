"""Bytes to lines and chunks: however they are cut, the same comes out."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from cove import _outputs
from cove._outputs import Chunks, Lines

_BYTES = st.one_of(st.binary(max_size=200), st.text(max_size=100).map(str.encode))


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    ends = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[start:end] for start, end in itertools.pairwise(ends)]


@given(data=_BYTES, cuts=st.lists(st.integers(0, 1000), max_size=20))
def test_text_does_not_depend_on_how_it_is_cut(data: bytes, cuts: list[int]) -> None:
    lines = Lines()
    items = [line for piece in pieces(data, cuts) for line in lines.feed(piece)] + lines.end()
    assert lines.join(items) == data.decode("utf-8", "replace")
    assert all(line.endswith("\n") for line in items[:-1])
    assert all("\n" not in line[:-1] for line in items)
    assert "" not in items


@given(data=_BYTES, cuts=st.lists(st.integers(0, 1000), max_size=20))
def test_bytes_stay_what_they_are(data: bytes, cuts: list[int]) -> None:
    chunks = Chunks()
    items = [item for piece in pieces(data, cuts) for item in chunks.feed(piece)] + chunks.end()
    assert chunks.join(items) == data
    assert b"" not in items


def test_a_line_comes_as_soon_as_it_is_complete() -> None:
    lines = Lines()
    assert lines.feed(b"one\ntw") == ["one\n"]
    assert lines.feed(b"o\r\n\n") == ["two\r\n", "\n"]
    assert lines.feed(b"rest") == []
    assert lines.end() == ["rest"]


def test_a_character_cut_in_two_is_one_character() -> None:
    euro = "€".encode()
    lines = Lines()
    assert lines.feed(euro[:1]) + lines.feed(euro[1:2]) + lines.feed(euro[2:] + b"\n") == ["€\n"]


def test_a_gap_is_a_line_of_its_own_even_inside_a_line_and_a_character() -> None:
    lines = Lines()
    before = lines.feed(b"half \xe2\x82")
    assert before + lines.gap(1234) == ["half �\n", "[cove: 1234 bytes of output were dropped here]\n"]
    assert lines.feed(b"on\n") == ["on\n"]


def test_a_gap_at_the_start_of_a_line_adds_nothing_else() -> None:
    lines = Lines()
    assert lines.feed(b"whole\n") + lines.gap(1) == ["whole\n", "[cove: 1 bytes of output were dropped here]\n"]


def test_bytes_have_no_mark_for_a_gap() -> None:
    chunks = Chunks()
    assert chunks.feed(b"a") + chunks.gap(5) + chunks.feed(b"b") == [b"a", b"b"]


def test_an_endless_line_does_not_gather_without_bound() -> None:
    lines = Lines()
    block = b"x" * (1024 * 1024)
    handed_out = [line for _ in range(10) for line in lines.feed(block)]
    assert handed_out
    assert max(map(len, handed_out)) <= _outputs.MAX_LINE_CHARS + len(block)
    assert sum(map(len, handed_out)) + sum(map(len, lines.end())) == 10 * len(block)
