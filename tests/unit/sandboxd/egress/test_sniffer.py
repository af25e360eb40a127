"""Which names connections say, byte by byte, and that nothing gets through before they were checked."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandboxd.egress.relay import client_hello
from sandboxd.egress.relay.sniffer import MalformedError, Sniffer
from tests.support import hellos

GET = b"GET / HTTP/1.1\r\nHost: good.example\r\n\r\n"
EVIL = b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n"
WEBSOCKET = b"GET /chat HTTP/1.1\r\nHost: good.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


class NotAllowed(Exception):
    pass


class Watched:
    """A sniffer that allows ``good.example`` and what is below it, and remembers what got through."""

    def __init__(self) -> None:
        self.sniffer = Sniffer(self._check)
        self.said: list[str] = []
        self.through = b""

    def _check(self, name: str) -> None:
        self.said.append(name)
        if not name.lower().endswith("good.example"):
            raise NotAllowed(name)

    def feed(self, *pieces: bytes) -> bytes:
        """Returns: all that got through so far."""
        for piece in pieces:
            self.through += self.sniffer.feed(piece)
        return self.through

    def answered(self, data: bytes) -> bytes:
        self.through += self.sniffer.answered(data)
        return self.through


def one_by_one(data: bytes) -> Iterable[bytes]:
    return (data[at : at + 1] for at in range(len(data)))


# --- TLS -----------------------------------------------------------------------------------------------------------------------------


def test_a_client_hello_gets_through_whole_when_its_name_is_allowed() -> None:
    hello, watched = hellos.client_hello("Good.example"), Watched()
    for piece in one_by_one(hello[:-1]):
        assert watched.feed(piece) == b""
        assert watched.sniffer.is_waiting
    assert watched.feed(hello[-1:]) == hello
    assert watched.said == ["Good.example"]
    assert watched.feed(b"\x17\x03\x03") == hello + b"\x17\x03\x03"
    assert watched.sniffer.is_over


def test_a_client_hello_with_another_name_does_not() -> None:
    watched = Watched()
    with pytest.raises(NotAllowed):
        watched.feed(hellos.client_hello("evil.example"))
    assert (watched.through, watched.sniffer.speaks_tls) == (b"", True)


def test_a_client_hello_without_a_name_says_nothing() -> None:
    hello, watched = hellos.client_hello(None), Watched()
    assert watched.feed(hello) == hello
    assert watched.said == []


@pytest.mark.parametrize("size", [1, 3, 64, 200])
def test_a_client_hello_in_many_records(size: int) -> None:
    watched = Watched()
    with pytest.raises(NotAllowed):
        watched.feed(hellos.in_records(hellos.client_hello("evil.example"), size))
    assert watched.through == b""


@pytest.mark.parametrize(
    "damage",
    [
        lambda hello: hello[:1] + b"\x02" + hello[2:],
        lambda hello: hello[:5] + b"\x02" + hello[6:],
        lambda hello: hello[:3] + b"\0\0" + hello[5:],
        lambda hello: hello[:6] + b"\xff\xff\xff" + hello[9:],
        lambda hello: hello[:43] + b"\xff" + hello[44:],
        lambda hello: hello.replace(b"good.example", b"good\xffexample"),
        lambda hello: b"\x16\x03\x01\x40\x00" + b"\x01\x00\x40\x01" + b"\0" * 16_000 + b"\x16\x03\x01\x40\x00" + b"\0" * 2_000,
    ],
)
def test_what_is_no_proper_client_hello_is_refused(damage: object) -> None:
    watched = Watched()
    with pytest.raises(MalformedError):
        watched.feed(damage(hellos.client_hello("good.example")))  # type: ignore[operator]
    assert watched.through == b""


def test_two_names_in_one_client_hello_are_refused() -> None:
    hello = bytearray(hellos.client_hello("good.example"))
    at = hello.index(b"good.example") - 9
    extension = hello[at : at + 9 + 12]
    doubled = hello[:at] + extension + extension + hello[at + 21 :]
    for place in (3, 7, at - 2):  # lengths of record, message (low bytes), extensions
        doubled[place : place + 2] = (int.from_bytes(doubled[place : place + 2], "big") + len(extension)).to_bytes(2, "big")
    with pytest.raises(client_hello.MalformedError):
        client_hello.server_name(doubled)


@given(st.binary(max_size=300), st.integers(0, 250))
def test_damaged_hellos_are_malformed_incomplete_or_named(noise: bytes, at: int) -> None:
    hello = hellos.client_hello("good.example")
    with contextlib.suppress(client_hello.MalformedError, client_hello.IncompleteError):
        client_hello.server_name(hello[:at] + noise + hello[at + len(noise) :])


# --- HTTP ----------------------------------------------------------------------------------------------------------------------------


def test_every_request_of_a_connection_is_looked_at() -> None:
    watched = Watched()
    assert watched.feed(GET, GET) == GET * 2
    with pytest.raises(NotAllowed):
        watched.feed(EVIL)
    assert watched.through == GET * 2
    assert watched.sniffer.speaks_http


def test_a_request_byte_by_byte() -> None:
    watched = Watched()
    watched.feed(*one_by_one(GET))
    assert watched.through == GET
    line_end = EVIL.index(b"\n")
    with pytest.raises(NotAllowed):
        watched.feed(*one_by_one(EVIL))
    assert watched.through == GET
    fresh = Watched()
    with pytest.raises(NotAllowed):
        fresh.feed(*one_by_one(EVIL))
    assert len(fresh.through) <= line_end  # of a first line the end is missing: no server acts on it


def test_a_second_request_hidden_behind_a_body() -> None:
    watched = Watched()
    post = b"POST / HTTP/1.1\r\nHost: good.example\r\nContent-Length: 5\r\n\r\nhello"
    assert watched.feed(post[:-3], post[-3:]) == post
    with pytest.raises(NotAllowed):
        watched.feed(post + EVIL)
    assert watched.through == post  # all of one segment is held back when something in it is refused


def test_bodies_in_chunks_end_where_they_say() -> None:
    watched = Watched()
    head = b"POST / HTTP/1.1\r\nHost: good.example\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = b"5;extension=1\r\nhello\r\n1A\r\n" + b"x" * 26 + b"\r\n0\r\nTrailer: yes\r\n\r\n"
    for pieces in ([head + body + GET], list(one_by_one(head + body + GET))):
        watched = Watched()
        assert watched.feed(*pieces) == head + body + GET
        assert watched.said == ["good.example"] * 2


def test_large_bodies_are_not_kept() -> None:
    watched = Watched()
    watched.feed(b"PUT / HTTP/1.1\r\nHost: good.example\r\nContent-Length: 1000000000\r\n\r\n")
    piece = b"x" * 65_536
    before = len(watched.through)
    watched.feed(piece)
    assert len(watched.through) == before + len(piece)
    assert not watched.sniffer.is_waiting


@pytest.mark.parametrize(
    "request_",
    [
        b"GET http://evil.example/ HTTP/1.1\r\nHost: good.example\r\n\r\n",
        b"GET http://user@evil.example:80/ HTTP/1.1\r\nHost: good.example\r\n\r\n",
        b"GET http://good.example@evil.example/ HTTP/1.1\r\nHost: good.example\r\n\r\n",
        b"CONNECT evil.example:443 HTTP/1.1\r\nHost: good.example\r\n\r\n",
        b"GET / HTTP/1.0\r\nHost: evil.example\r\n\r\n",
        b"\r\n\r\nGET / HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"GET / HTTP/1.1\r\nhOsT:evil.example:80\r\n\r\n",
    ],
)
def test_other_ways_to_name_a_host(request_: bytes) -> None:
    watched = Watched()
    with pytest.raises(NotAllowed):
        watched.feed(request_)
    assert b"evil" not in watched.through


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\r\nHost: good.example\r\nHost: evil.example\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\nHost: evil.example\n\n" + GET,
        b"GET / HTTP/1.1\r\nX: a\n\nGET / HTTP/1.1\r\nHost: good.example\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: good.example\r\nX: a\r\n Host: evil.example\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : evil.example\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: good.example, evil.example\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: good.example evil.example\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: good.example\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: good.example\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: good.example\r\nContent-Length: +5\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: good.example\r\nContent-Length: 5, 5\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: good.example\r\nTransfer-Encoding: chunked, identity\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: good.example\r\nTransfer-Encoding: \x0bchunked\r\n\r\n",
        b"POST / HTTP/1.0\r\nHost: good.example\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /\x01 HTTP/1.1\r\nHost: good.example\r\n\r\n",
        b"GET / HTTP/1.1 \r\nHost: good.example\r\n\r\n",
        b"GET  / HTTP/1.1\r\nHost: good.example\r\n\r\n",
        b"\nGET / HTTP/1.1\r\nHost: good.example\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET evil.example HTTP/1.1\r\nHost: good.example\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: good.example\r\nX: " + b"a" * 70_000,
        b"GET /" + b"a" * 17_000,
    ],
)
def test_requests_that_servers_could_read_differently_are_refused(request_: bytes) -> None:
    for pieces in ([request_], one_by_one(request_)):
        watched = Watched()
        with pytest.raises(MalformedError):
            watched.feed(*pieces)
        assert b"\n" not in watched.through.lstrip()  # at most the beginning of a line, on which no server acts


@pytest.mark.parametrize("body", [b"5\r\nhelloX\r\n", b"-5\r\nhello\r\n", b"5\nhello\r\n", b"0\r\nno trailer\r\n", b"9" * 9_000])
def test_chunks_that_servers_could_read_differently_are_refused(body: bytes) -> None:
    watched = Watched()
    watched.feed(b"POST / HTTP/1.1\r\nHost: good.example\r\nTransfer-Encoding: chunked\r\n\r\n")
    with pytest.raises(MalformedError):
        watched.feed(body)


def test_a_websocket_is_let_alone_once_the_server_agreed() -> None:
    watched = Watched()
    assert watched.feed(GET, WEBSOCKET) == GET + WEBSOCKET
    assert watched.feed(b"\x81\x85too early") == GET + WEBSOCKET
    assert watched.sniffer.is_switching
    assert watched.answered(b"HTTP/1.1 101 Switching Protocols\r\n").endswith(b"too early")
    assert watched.feed(b"\x81\x05hello").endswith(b"hello")
    assert watched.sniffer.is_over


def test_a_server_that_does_not_switch_still_speaks_http() -> None:
    watched = Watched()
    watched.feed(WEBSOCKET, EVIL)
    with pytest.raises(NotAllowed):
        watched.answered(b"HTTP/1.1 200 OK\r\n\r\n")
    assert watched.through == WEBSOCKET


@pytest.mark.parametrize("upgrade", [b"h2c", b"websocket, h2c", b"H2C"])
def test_http2_without_tls_cannot_be_switched_to(upgrade: bytes) -> None:
    watched = Watched()
    watched.feed(GET[:-2] + b"Connection: Upgrade\r\nUpgrade: " + upgrade + b"\r\n\r\n")
    with pytest.raises(MalformedError):
        watched.feed(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")


def test_a_long_header_of_blanks_takes_no_time() -> None:
    watched = Watched()
    with pytest.raises(MalformedError):
        watched.feed(b"GET / HTTP/1.1\r\nX:" + b" " * 60_000 + b"\x01\r\n\r\n")


# --- others --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        [b"SSH-2.0-OpenSSH_9.2\r\n", b"\0\0\1"],
        [b"EHLO client\r\n", b"MAIL FROM:<a@b>\r\n"],
        [b"ping"],
        [b"PING\r\n"],
        [b"\0\0\0\x08\x04\xd2\x16\x2f"],
        [b"AMQP\0\0\x09\x01"],
        [b"*1\r\n$4\r\nPING\r\n"],
        [b"get key\r\n", b"set key 0 0 1\r\nx\r\n"],
        [b"x" * 70_000],
    ],
)
def test_protocols_that_name_nothing_get_through_at_once(words: list[bytes]) -> None:
    watched = Watched()
    for count, word in enumerate(words, 1):
        assert watched.feed(word) == b"".join(words[:count])
        assert not watched.sniffer.is_waiting
    assert watched.said == []


@given(st.lists(st.sampled_from([GET, EVIL[:-4], EVIL, WEBSOCKET, b"\r\n", b"POST / HTTP/1.1\r\n", b"x", b"0\r\n"]), max_size=6), st.data())
def test_however_it_is_cut_the_same_gets_through(parts: list[bytes], data: st.DataObject) -> None:
    """And never a byte of a request to a host that is not allowed."""
    stream = b"".join(parts)
    at = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    cuts = [stream[begin:end] for begin, end in zip([0, *at], [*at, len(stream)], strict=True)]
    results = []
    for pieces in ([stream], cuts, list(one_by_one(stream))):
        watched = Watched()
        try:
            watched.feed(*pieces)
            verdict = "let"
        except (MalformedError, NotAllowed) as error:
            verdict = type(error).__name__
        if watched.sniffer.speaks_http:
            assert b"evil.example" not in watched.through
        # Requests before a refused one get through if they came earlier, and so does the beginning of a first line.
        results.append((verdict, watched.through.rpartition(b"\n")[0] if verdict == "let" else b""))
    assert results[1:] == results[:1] * 2
