"""What is no head, is refused; what is one, has one meaning."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.ingress.http.heads import Malformed, parse_request, parse_response, tokens, values

GOOD = b"GET /a?b HTTP/1.1\r\nHost: x"


def test_a_head_is_split() -> None:
    head = parse_request(b"POST /a?b=%20 HTTP/1.0\r\nHOST: x:80\r\nX-Empty:\r\nX:  a \t b \t\r\nx: c")
    assert (head.method, head.target, head.minor) == (b"POST", b"/a?b=%20", 0)
    assert [tuple(field) for field in head.fields] == [(b"HOST", b"x:80"), (b"X-Empty", b""), (b"X", b"a \t b"), (b"x", b"c")]
    assert values(head.fields, b"x") == [b"a \t b", b"c"]


def test_lists_are_joined_over_fields() -> None:
    head = parse_request(GOOD + b"\r\nConnection: Keep-Alive, ,X-A\r\nconnection: close")
    assert tokens(head.fields, b"connection") == [b"keep-alive", b"x-a", b"close"]


@pytest.mark.parametrize(
    "line",
    [
        *(b"", b"GET", b"GET /", b"GET / HTTP/2.0", b"GET / HTTP/1.1 ", b" GET / HTTP/1.1", b"GET  / HTTP/1.1", b"GET\t/ HTTP/1.1"),
        *(b"GET / http/1.1", b"GET / HTTP/1.10", b"GET / HTTP/01.1", b"GET /a b HTTP/1.1", b"GET /\x00 HTTP/1.1", b"GET /\xff HTTP/1.1"),
        *(b"GET http://x/ HTTP/1.1", b"GET x HTTP/1.1", b"OPTIONS * HTTP/1.1", b"GET /#f HTTP/1.1", b"CONNECT x:80 HTTP/1.1"),
        *(
            b"G(T / HTTP/1.1",
            b"G\xe9T / HTTP/1.1",
            b"A" * 33 + b" / HTTP/1.1",
            b"GET /" + b"a" * 20_000 + b" HTTP/1.1",
            b"GET /\rx HTTP/1.1",
        ),
    ],
)
def test_bad_request_lines(line: bytes) -> None:
    with pytest.raises(Malformed):
        parse_request(line + b"\r\nHost: x")


@pytest.mark.parametrize(
    "field",
    [
        *(
            b"X",
            b": x",
            b"X : 1",
            b"X\t: 1",
            b" X: 1",
            b"\tfolded",
            b" folded",
            b"X: a\rb",
            b"X: a\nb",
            b"X: a\x00b",
            b"X: \x7f",
            b"X: \x1b[2J",
        ),
        *(b"X\n: 1", b"X\r: 1", b"X(: 1", b"X@y: 1", b"X\xe9: 1", b"X" * 257 + b": 1", b"", b"Host: y", b"Host: x"),
    ],
)
def test_bad_fields(field: bytes) -> None:
    with pytest.raises(Malformed):
        parse_request(GOOD + b"\r\n" + field)


@pytest.mark.parametrize("host", [b"a b", b"a/b", b"a@b", b"", b"a:b", b"[::1", b"a,b", b"a#b", b"a\tb"])
def test_bad_hosts(host: bytes) -> None:
    with pytest.raises(Malformed):
        parse_request(b"GET / HTTP/1.1\r\nHost: " + host)


def test_a_host_is_needed_since_1_1() -> None:
    with pytest.raises(Malformed):
        parse_request(b"GET / HTTP/1.1\r\nX: y")
    parse_request(b"GET / HTTP/1.0")


def test_too_many_fields() -> None:
    with pytest.raises(Malformed) as caught:
        parse_request(GOOD + b"\r\nX: y" * 128)
    assert caught.value.status == 431


def test_responses() -> None:
    head = parse_response(b"HTTP/1.1 404 Not \xe9 here\r\nX: \xff")
    assert (head.status, head.reason, head.minor) == (404, b"Not \xe9 here", 1)
    assert parse_response(b"HTTP/1.0 200").reason == b""
    for line in (b"HTTP/1.1 20", b"HTTP/1.1 0200 x", b"HTTP/1.1 099 x", b"HTTP/1.1 200x", b"HTTP/2 200 OK", b"200 OK", b"HTTP/1.1  200 OK"):
        with pytest.raises(Malformed):
            parse_response(line)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_head_or_refused(data: bytes) -> None:
    for head in (data, GOOD + b"\r\n" + data, b"HTTP/1.1 " + data):
        for parse in (parse_request, parse_response):
            try:
                parsed = parse(head)
            except Malformed:
                continue
            assert not any(byte in name + value for name, value in parsed.fields for byte in (b"\r", b"\n", b"\0"))


@given(
    st.lists(
        st.tuples(st.from_regex(rb"[A-Za-z][A-Za-z0-9_.-]{0,20}", fullmatch=True), st.from_regex(rb"[\x21-\x7e]{0,20}", fullmatch=True))
    )
)
def test_what_is_printed_is_parsed_again(fields: list[tuple[bytes, bytes]]) -> None:
    fields = [(name, value) for name, value in fields if name.lower() != b"host"]
    head = b"\r\n".join([GOOD, *(b"%b: %b" % field for field in fields)])
    assert [tuple(field) for field in parse_request(head).fields[1:]] == fields
