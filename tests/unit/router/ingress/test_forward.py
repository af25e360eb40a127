"""Whatever a visitor sends, the server inside is told the truth of who it is and nothing of the token."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.ingress.http.bodies import Framing, request_length
from router.ingress.http.carriers import Presented, find_tokens
from router.ingress.http.forward import Visit, check_expectation, is_foreign, is_websocket, set_cookie, to_inside, to_visitor, wants_close
from router.ingress.http.heads import HEAD_END, Malformed, RequestHead, parse_request, parse_response, values

VISIT = Visit(user_metadata="{}", peer="192.0.2.1", tls=True, drop_authorization=True)


def request(*fields: str, target: str = "/", method: str = "GET", minor: int = 1) -> RequestHead:
    lines = "".join(f"\r\n{field}" for field in fields)
    return parse_request(f"{method} {target} HTTP/1.{minor}\r\nHost: x{lines}".encode("latin-1"))


def inside(head: RequestHead, *, websocket: bool = False, visit: Visit = VISIT) -> RequestHead:
    """The head as the server inside parses it."""
    raw = to_inside(head, visit, request_length(head), websocket=websocket)
    assert raw.endswith(HEAD_END) and raw.count(HEAD_END) == 1
    return parse_request(raw[: -len(HEAD_END)])


def spellings() -> list[str]:
    """The header's name as a server inside may see it as the same."""
    words = ["x", "verified", "user", "data"]
    return ["".join(itertools.chain(*zip(words, [*separators, ""], strict=True))) for separators in itertools.product("-_.", repeat=3)]


@pytest.mark.parametrize("name", [*spellings(), *(name.upper() for name in spellings()), "X-vErIfIeD-uSeR-dAtA", "X~Verified!User#Data"])
def test_identity_cannot_be_given(name: str) -> None:
    head = inside(request(f"{name}: me", f"{name}: me again", "X-Verified-User: stays"))
    same = [value for field, value in head.fields if re.sub(rb"[^a-z]", b"-", field.lower()) == b"x-verified-user-data"]
    assert same == [b"{}"]
    assert values(head.fields, b"x-verified-user") == [b"stays"]


def test_identity_cannot_be_taken_away() -> None:
    head = inside(request("Connection: X-Verified-User-Data, close, X-Own", "X-Own: 1", "X-Verified-User-Data: me"))
    assert values(head.fields, b"x-verified-user-data") == [b"{}"]
    assert not values(head.fields, b"connection") and not values(head.fields, b"x-own")


@pytest.mark.parametrize("name", ["Host", "content-length", "Authorization", "COOKIE", "Expect"])
def test_connection_names_nothing_that_matters(name: str) -> None:
    with pytest.raises(Malformed):
        inside(request(f"Connection: {name}"))


def test_where_the_visitor_is_cannot_be_given() -> None:
    head = inside(
        request("X-Forwarded-For: 10.0.0.1", "x_forwarded_for: 10.0.0.2", "Forwarded: for=1", "X-Real-IP: 1", "X_Forwarded.Proto: a")
    )
    assert values(head.fields, b"x-forwarded-for") == [b"192.0.2.1"]
    assert values(head.fields, b"x-forwarded-proto") == [b"https"]
    assert len(head.fields) == 5


def test_what_is_the_connections_stays_here() -> None:
    fields = ("TE: trailers", "Trailer: X", "Keep-Alive: 5", "Proxy-Authorization: x", "Proxy-Connection: x", "HTTP2-Settings: x")
    head = inside(request(*fields, "Transfer-Encoding: chunked", "Accept: */*"))
    assert {field.name.lower() for field in head.fields} == {
        *(b"host", b"accept", b"transfer-encoding", b"x-verified-user-data"),
        *(b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"),
    }


def test_the_length_is_told_once() -> None:
    assert values(inside(request("Content-Length: 5", method="PUT")).fields, b"content-length") == [b"5"]


@pytest.mark.parametrize(
    ("target", "cleaned"),
    [
        ("/?_cove_connect_token=t", b"/"),
        ("/a?b=1&_cove_connect_token=t&c=%2F&&d", b"/a?b=1&c=%2F&&d"),
        ("/?_modal_connect_token=t&_cove_connect_token=u&x", b"/?x"),
        ("/?%5f%63ove_connect_token=t", b"/"),
        ("/?_cove_connect_token", b"/"),
        ("/?a=_cove_connect_token=t", b"/?a=_cove_connect_token=t"),
        ("/?", b"/?"),
        ("//x/..//?q", b"//x/..//?q"),
    ],
)
def test_tokens_leave_the_target(target: str, cleaned: bytes) -> None:
    assert inside(request(target=target)).target == cleaned


def test_tokens_leave_cookies_and_referer() -> None:
    head = inside(
        request(
            "Cookie: a=b; _cove_connect_token=t;c=d",
            "Cookie: _modal_connect_token=t",
            "Referer: https://x/?_cove_connect_token=t&a=b#f",
            "Authorization: Bearer t",
        )
    )
    assert values(head.fields, b"cookie") == [b"a=b; c=d"]
    assert values(head.fields, b"referer") == [b"https://x/?a=b#f"]
    assert not values(head.fields, b"authorization")


def test_tokens_are_found_in_every_carrier_in_order() -> None:
    head = request(
        "Cookie: a=b; _cove_connect_token=c1",
        'Cookie: _modal_connect_token="c2"',
        "Authorization: bearer b",
        target="/?_modal_connect_token=%71",
    )
    assert find_tokens(head) == [
        Presented("b", "bearer"),
        Presented("q", "query", "_modal_connect_token"),
        Presented("c1", "cookie", "_cove_connect_token"),
        Presented("c2", "cookie", "_modal_connect_token"),
    ]


def test_tokens_are_bounded() -> None:
    with pytest.raises(Malformed):
        find_tokens(request("Authorization: Bearer a", "Authorization: Bearer b"))
    with pytest.raises(Malformed):
        find_tokens(request(target="/?" + "&".join(["_cove_connect_token=t"] * 9)))
    assert find_tokens(request("Authorization: Basic x")) == []


def test_websockets() -> None:
    fields = ("Connection: keep-alive, Upgrade", "Upgrade: WebSocket", "Sec-WebSocket-Key: k", "Sec-WebSocket-Protocol: p")
    assert not is_websocket(request())
    assert is_websocket(request(*fields))
    head = inside(request(*fields), websocket=True)
    assert (values(head.fields, b"connection"), values(head.fields, b"upgrade")) == ([b"Upgrade"], [b"websocket"])
    assert values(head.fields, b"sec-websocket-protocol") == [b"p"]


@pytest.mark.parametrize(
    "head",
    [
        request("Connection: Upgrade", "Upgrade: h2c"),
        request("Connection: Upgrade", "Upgrade: websocket, h2c", "Sec-WebSocket-Key: k"),
        request("Connection: Upgrade", "Upgrade: websocket", "Upgrade: websocket", "Sec-WebSocket-Key: k"),
        request("Upgrade: websocket", "Sec-WebSocket-Key: k"),
        request("Connection: Upgrade", "Upgrade: websocket"),
        request("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: k", "Sec-WebSocket-Key: l"),
        request("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: k", "Content-Length: 1"),
        request("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: k", "Transfer-Encoding: chunked"),
        request("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: k", method="POST"),
        request("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: k", minor=0),
    ],
)
def test_odd_upgrades(head: RequestHead) -> None:
    with pytest.raises(Malformed):
        is_websocket(head)


def test_expectations() -> None:
    check_expectation(request("Expect: 100-Continue"))
    with pytest.raises(Malformed) as caught:
        check_expectation(request("Expect: the spanish inquisition"))
    assert caught.value.status == 417


def test_who_closes() -> None:
    assert not wants_close(request())
    assert wants_close(request("Connection: x, Close"))
    assert wants_close(request(minor=0))
    assert not wants_close(request("Connection: keep-alive", minor=0))


@pytest.mark.parametrize(
    ("fields", "foreign"),
    [
        ((), False),
        (("Origin: http://x",), False),
        (("Origin: https://X",), False),
        (("Origin: http://y",), True),
        (("Origin: null",), True),
    ],
)
def test_pages_of_other_sites(fields: tuple[str, ...], foreign: bool) -> None:
    assert is_foreign(request(*fields)) is foreign


def test_responses_lose_what_is_the_connections() -> None:
    head = parse_response(b"HTTP/1.1 200 OK\r\nConnection: X-Own, close\r\nX-Own: 1\r\nKeep-Alive: 5\r\nTransfer-Encoding: chunked\r\nX: y")
    raw = to_visitor(head, Framing.CHUNKED, close=False, plain=False, more=[set_cookie("n", "t", max_age_s=5, tls=True)])
    again = parse_response(raw[: -len(HEAD_END)])
    assert [field.name.lower() for field in again.fields] == [b"x", b"set-cookie", b"transfer-encoding"]
    assert values(again.fields, b"set-cookie") == [b"n=t; Path=/; Max-Age=5; HttpOnly; SameSite=Lax; Secure"]
    assert b"transfer-encoding" not in to_visitor(head, Framing.CHUNKED, close=True, plain=True).lower()


NAME = st.from_regex(rb"[A-Za-z!#$%&'*+._`|~^-]{1,30}", fullmatch=True)
VALUE = st.from_regex(rb"[\x21-\x7e]([\x20-\x7e]{0,30}[\x21-\x7e])?", fullmatch=True)


@given(st.lists(st.tuples(NAME, VALUE), max_size=12), st.from_regex(rb"/[!-\"$-~]{0,60}", fullmatch=True))
def test_no_request_says_another_identity_or_length(fields: list[tuple[bytes, bytes]], target: bytes) -> None:
    lines = b"".join(b"\r\n%b: %b" % field for field in fields)
    try:
        head = parse_request(b"GET %b HTTP/1.1\r\nHost: x%b" % (target, lines))
        length = request_length(head)
        raw = to_inside(head, VISIT, length, websocket=False)
    except Malformed:
        return
    again = parse_request(raw[: -len(HEAD_END)])
    assert request_length(again) == length
    names = [re.sub(rb"[^0-9a-z]", b"-", field.name.lower()) for field in again.fields]
    assert names.count(b"x-verified-user-data") == 1 and b"_cove_connect_token=" not in again.target
