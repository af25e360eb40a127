"""What a hostile page says is refused before anything of it is used."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.terminal.messages import KEYS_BYTES, Attach, Keys, Resize, Seen, Violation, decode, encode_output

ATTACH = {"type": "attach", "page": "0" * 32, "offset": 0, "rows": 24, "columns": 80, "taken": 0, "pending": 0, "stdin": None}


def test_what_a_page_says_is_understood() -> None:
    assert decode(json.dumps(ATTACH)) == Attach(page="0" * 32, offset=0, rows=24, columns=80, taken=0, pending=0, stdin=None)
    assert decode('{"type":"resize","rows":1,"columns":1000}') == Resize(rows=1, columns=1000)
    assert decode('{"type":"seen","offset":9007199254740992}') == Seen(offset=2**53)
    assert decode(encode_output(7, b"key")) == Keys(7, b"key")


@pytest.mark.parametrize(
    "change",
    [
        {"page": "x" * 32},
        {"page": "0" * 33},
        {"page": 0},
        {"offset": -1},
        {"offset": 2**53 + 1},
        {"offset": 0.5},
        {"offset": "0"},
        {"rows": 0},
        {"rows": 1001},
        {"columns": 10**30},
        {"pending": 2**20},
        {"stdin": -1},
        {"taken": None},
        {"more": 1},
        {"type": "attached"},
        {"type": ["attach"]},
    ],
)
def test_what_is_out_of_bounds_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(Violation):
        decode(json.dumps({**ATTACH, **change}))


@pytest.mark.parametrize("message", ["", "null", "[]", "{}", "1" * 5000, "[" * 5000, '{"type":"seen"}', '{"type":"seen","offset":1}x'])
def test_what_is_no_message_is_refused(message: str) -> None:
    with pytest.raises(Violation):
        decode(message)


@pytest.mark.parametrize("message", [b"", b"\0" * 7, b"\0" * 8, b"\0" * (9 + KEYS_BYTES)])
def test_keys_have_an_offset_and_a_bounded_length(message: bytes) -> None:
    with pytest.raises(Violation):
        decode(message)


@given(st.one_of(st.text(), st.binary(max_size=64), st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps)))
def test_garbage_is_a_violation_or_a_message(message: str | bytes) -> None:
    try:
        decode(message)
    except Violation as violation:
        assert len(str(violation)) < 100
