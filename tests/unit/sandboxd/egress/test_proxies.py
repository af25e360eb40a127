"""URLs of proxies, and what is said to them."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandboxd.egress.relay.proxies import MAX_HEAD, Proxy, ProxyError, dialogue, parse_url

ADDRESS = IPv4Address("192.0.2.7")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("socks5://exit.example", Proxy(scheme="socks5", host="exit.example", port=1080)),
        ("http://10.0.0.1:8080/", Proxy(scheme="http", host="10.0.0.1", port=8080)),
        ("socks5://[2001:db8::1]:99", Proxy(scheme="socks5", host="2001:db8::1", port=99)),
        ("http://me:p%40ss%3A@h", Proxy(scheme="http", host="h", port=3128, username="me", password="p@ss:")),
    ],
)
def test_urls_of_proxies(url: str, expected: Proxy) -> None:
    assert parse_url(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "https://secret@h",
        "exit.example:1080",
        "socks5://",
        "socks5://secret:secret@:1080",
        "http://secret@h:70000",
        "http://secret@h:0",
        "http://secret@h/path",
        "http://h/?secret",
        "http://:secret@h",
        "http://sec%3Aret:x@h",
        f"http://u:{'secret' * 50}@h",
    ],
)
def test_what_is_no_proxy_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_url(url)
    assert "secret" not in str(caught.value)


def test_credentials_are_in_no_text() -> None:
    proxy = parse_url("socks5://me:secret@h")
    assert "secret" not in f"{proxy!r} {proxy} {[proxy]}"


@given(st.sampled_from(["socks5", "http"]), st.lists(st.binary(max_size=40), max_size=6))
def test_any_answer_is_understood_or_an_error(scheme: str, answers: list[bytes]) -> None:
    steps = dialogue(Proxy(scheme=scheme, host="h", port=1), ADDRESS, 80)
    try:
        _, wanted = next(steps)
        said = b""
        for answer in answers:
            said += answer
            while size := wanted(said):
                assert size <= len(said)
                answer, said = said[:size], said[size:]
                _, wanted = steps.send(answer)
    except (ProxyError, StopIteration):
        pass


def test_a_head_without_an_end_is_given_up() -> None:
    _, wanted = next(dialogue(Proxy(scheme="http", host="h", port=1), ADDRESS, 80))
    with pytest.raises(ProxyError):
        wanted(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * MAX_HEAD)
