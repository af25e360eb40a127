"""Where bodies end, and that what is sent on is what came."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.ingress.http.bodies import MAX_TRAILERS, Body, Framing, Length, request_length, response_length
from router.ingress.http.heads import Malformed, parse_request, parse_response


def request(*fields: str, minor: int = 1) -> Length:
    lines = "".join(f"\r\n{field}" for field in fields)
    return request_length(parse_request(f"POST / HTTP/1.{minor}\r\nHost: x{lines}".encode("latin-1")))


def response(line: str, *fields: str, method: bytes = b"GET") -> Length:
    return response_length(parse_response("\r\n".join([line, *fields]).encode()), method)


def test_lengths_of_requests() -> None:
    assert request() == 0
    assert request("Content-Length: 0") == 0
    assert request("content-length: 007") == 7
    assert request("Transfer-Encoding: Chunked") is Framing.CHUNKED


@pytest.mark.parametrize(
    "fields",
    [
        ("Content-Length: 1", "Content-Length: 1"),
        ("Content-Length: 1", "Content-Length: 2"),
        ("Content-Length: 1, 1",),
        ("Content-Length: +1",),
        ("Content-Length: -1",),
        ("Content-Length: 0x1",),
        ("Content-Length: 1 1",),
        ("Content-Length: ",),
        ("Content-Length: ١",),
        ("Content-Length: " + "9" * 19,),
        ("Content-Length: 1_0",),
        ("Content-Length: 1", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked", "Content-Length: 0"),
        ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked, chunked",),
        ("Transfer-Encoding: gzip, chunked",),
        ("Transfer-Encoding: chunked, identity",),
        ("Transfer-Encoding: identity",),
        ("Transfer-Encoding: xchunked",),
        ("Transfer-Encoding: chunked;q=1",),
        ('Transfer-Encoding: "chunked"',),
        ("Transfer-Encoding: \x0bchunked",),
        ("Transfer-Encoding:",),
    ],
)
def test_lengths_that_could_be_understood_in_two_ways(fields: tuple[str, ...]) -> None:
    with pytest.raises((Malformed, UnicodeEncodeError)):
        request(*fields)


def test_chunks_came_with_1_1() -> None:
    with pytest.raises(Malformed):
        request("Transfer-Encoding: chunked", minor=0)


def test_lengths_of_responses() -> None:
    assert response("HTTP/1.1 200 OK") is Framing.UNTIL_CLOSE
    assert response("HTTP/1.1 200 OK", "Content-Length: 5") == 5
    assert response("HTTP/1.1 200 OK", "Content-Length: 5", method=b"HEAD") == 0
    assert response("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", method=b"HEAD") == 0
    assert response("HTTP/1.1 204 No") == response("HTTP/1.1 304 No", "Content-Length: 9") == response("HTTP/1.1 103 x") == 0
    with pytest.raises(Malformed) as caught:
        response("HTTP/1.1 200 OK", "Content-Length: 5", "Content-Length: 5")
    assert caught.value.status == 502


def fed(length: Length, pieces: list[bytes], *, plain: bool = False) -> tuple[bytes, bytes, Body]:
    """All that is sent on, what is left over, and the body."""
    body, sent, left = Body(length, plain=plain), b"", b""
    for piece in pieces:
        if body.done:
            left += piece
            continue
        out, rest = body.feed(piece)
        sent, left = sent + out, left + rest
    return sent, left, body


@given(st.binary(max_size=200), st.integers(0, 200), st.lists(st.integers(0, 400), max_size=8))
def test_a_length_is_kept_however_the_bytes_come(data: bytes, length: int, cuts: list[int]) -> None:
    sent, left, body = fed(length, cut(data, cuts))
    assert (sent, left) == (data[:length], data[length:])
    assert body.done == (len(data) >= length) and body.ends_well() == body.done


@given(
    st.lists(st.binary(min_size=1, max_size=50), max_size=6),
    st.binary(max_size=20),
    st.lists(st.integers(0, 600), max_size=10),
    st.booleans(),
)
def test_chunks_are_kept_however_the_bytes_come(chunks: list[bytes], after: bytes, cuts: list[int], plain: bool) -> None:
    coded = b"".join(b"%X;a=b\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"000\r\nX-Trailer: secret\r\n\r\n"
    sent, left, body = fed(Framing.CHUNKED, cut(coded + after, cuts), plain=plain)
    assert body.done and left == after and b"secret" not in sent
    if plain:
        assert sent == b"".join(chunks)
    else:
        again, left, body = fed(Framing.CHUNKED, [sent], plain=True)
        assert (again, left, body.done) == (b"".join(chunks), b"", True)


@pytest.mark.parametrize(
    "coded",
    [
        *(
            b"x\r\n",
            b"\r\n",
            b"-1\r\n",
            b"0x1\r\n",
            b"+1\r\n",
            b" 1\r\n",
            b"1 2\r\n",
            b"1;\x00\r\n",
            b"1\n",
            b"1\rx\r\n",
            b"f" * 16 + b"\r\n",
        ),
        *(b"1\r\nab\r\n", b"1\r\na\n", b"1\r\na\rb", b"3\r\nab\r\n\r\n", b"1;" + b"a" * 300 + b"\r\n", b"1" * 300),
        *(
            b"0\r\nbad trailer\r\n\r\n",
            b"0\r\n folded\r\n\r\n",
            b"0\r\nX: " + b"a" * (MAX_TRAILERS + 1),
            b"0\r\n" + b"X: yyyyyy\r\n" * 1200,
        ),
    ],
)
def test_bad_chunks(coded: bytes) -> None:
    with pytest.raises(Malformed):
        _, _, body = fed(Framing.CHUNKED, [bytes([byte]) for byte in coded] if len(coded) < 400 else [coded])
        if not body.done:
            fed(Framing.CHUNKED, [coded + b"\r\n\r\n\r\n"])


@given(st.binary(max_size=100), st.lists(st.integers(0, 100), max_size=5))
def test_any_bytes_are_chunks_or_refused_alike_however_they_come(data: bytes, cuts: list[int]) -> None:
    def outcome(pieces: list[bytes]) -> tuple[bytes, bytes, bool] | str:
        try:
            sent, left, body = fed(Framing.CHUNKED, pieces, plain=True)
        except Malformed as error:
            return error.text
        return sent, left, body.done

    assert outcome([data]) == outcome(cut(data, cuts))


def test_a_body_until_the_end_goes_on_as_it_is() -> None:
    sent, left, body = fed(Framing.UNTIL_CLOSE, [b"a", b"bc"])
    assert (sent, left, body.done, body.ends_well()) == (b"abc", b"", False, True)


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    """``data`` in pieces."""
    places = sorted({0, len(data), *(place for place in cuts if place < len(data))})
    return [data[start:end] for start, end in itertools.pairwise(places)] or [data]
