"""What goes inside instead of a visitor's head, and what comes out instead of the server's. Pure.

Names are compared as servers inside may: WSGI, CGI and PHP turn every other character into an underscore, so ``X_Verified-User.Data`` is as
good as the real one to them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from router.ingress.http.bodies import Framing, Length
from router.ingress.http.carriers import clean, target_without
from router.ingress.http.heads import Field, Malformed, RequestHead, ResponseHead, tokens, values

IDENTITY: Final = "X-Verified-User-Data"

_OURS: Final = frozenset(
    (
        b"x-verified-user-data",
        b"x-forwarded-for",
        b"x-forwarded-proto",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"forwarded",
        b"x-real-ip",
    )
)
"""What only this edge may say; a visitor's own, however spelled, go no further."""

_HOP_BY_HOP: Final = frozenset(
    (
        *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection"),
        *(b"te", b"trailer", b"transfer-encoding", b"upgrade", b"http2-settings"),
    )
)
_NEVER_NAMED: Final = frozenset((b"host", b"content-length", b"authorization", b"cookie", b"expect", b"set-cookie", b"sec-websocket-key"))
"""What ``Connection`` must not call hop-by-hop: a proxy that believed it would change what the message means."""

_OTHER: Final = re.compile(rb"[^0-9a-z]")
_WEBSOCKET: Final = ([b"websocket"], b"GET", 1)


class Visit(msgspec.Struct, frozen=True, kw_only=True):
    """What the edge knows of a request beyond its head."""

    user_metadata: str
    peer: str
    """The visitor's address."""
    tls: bool
    drop_authorization: bool
    """It carried our token; else it is the server's inside."""


def is_websocket(head: RequestHead) -> bool:
    """Whether a request asks for a WebSocket.

    Raises:  Malformed: it asks for something else, or for one in a way that is none.
    """
    asked = tokens(head.fields, b"upgrade")
    if not asked:
        return False
    if (asked, head.method, head.minor) != _WEBSOCKET or b"upgrade" not in tokens(head.fields, b"connection"):
        raise Malformed("Connections are upgraded to WebSockets only.")
    if (
        len(values(head.fields, b"sec-websocket-key")) != 1
        or values(head.fields, b"content-length")
        or values(head.fields, b"transfer-encoding")
    ):
        raise Malformed("The request for a WebSocket is malformed.")
    return True


def check_expectation(head: RequestHead) -> None:
    """Raises:  Malformed: it expects what cannot be promised."""
    if any(word != b"100-continue" for word in tokens(head.fields, b"expect")):
        raise Malformed("Nothing is expected here but 100-continue.", 417)


def wants_close(head: RequestHead | ResponseHead) -> bool:
    """Whether its sender will close the connection after this message."""
    words = tokens(head.fields, b"connection")
    return b"close" in words or (head.minor == 0 and b"keep-alive" not in words)


def to_inside(head: RequestHead, visit: Visit, length: Length, *, websocket: bool) -> bytes:
    """The head that the server inside gets."""
    named = _named(head)
    fields = [kept for field in head.fields if _goes_inside(field, named, visit) and (kept := clean(field))]
    host = next(iter(values(head.fields, b"host")), b"")
    added = [
        Field(b"X-Forwarded-For", visit.peer.encode()),
        Field(b"X-Forwarded-Proto", b"https" if visit.tls else b"http"),
        Field(b"X-Forwarded-Host", host),
    ]
    if visit.user_metadata:
        added.append(Field(IDENTITY.encode(), visit.user_metadata.encode("ascii")))
    if length is Framing.CHUNKED:
        added.append(Field(b"Transfer-Encoding", b"chunked"))
    if websocket:
        added += [Field(b"Connection", b"Upgrade"), Field(b"Upgrade", b"websocket")]
    elif head.minor == 0:
        added.append(Field(b"Connection", b"close"))
    # A reader of HTTP/1.0 knows no chunks: the server inside shall not send it any.
    return _head(b"%b %b HTTP/1.%d" % (head.method, target_without(head.target), head.minor), [*fields, *added])


def to_visitor(head: ResponseHead, length: Length, *, close: bool, plain: bool, more: Sequence[Field] = ()) -> bytes:
    """The head that the visitor gets.

    Args:
        close: the connection ends with this response.
        plain: the visitor knows no chunks.
        more: fields of our own.
    """
    named = _named(head)
    fields = [field for field in head.fields if (name := field.name.lower()) not in _HOP_BY_HOP and name not in named]
    added = list(more)
    if length is Framing.CHUNKED and not plain:
        added.append(Field(b"Transfer-Encoding", b"chunked"))
    if head.status == 101:
        added += [Field(b"Connection", b"Upgrade"), Field(b"Upgrade", b"websocket")]
    elif close:
        added.append(Field(b"Connection", b"close"))
    return _head(b"HTTP/1.1 %d %b" % (head.status, head.reason), [*fields, *added])


def set_cookie(name: str, token: str, *, max_age_s: int, tls: bool) -> Field:
    """A cookie that brings the token with later requests of a browser."""
    attributes = f"Path=/; Max-Age={max_age_s}; HttpOnly; SameSite=Lax{'; Secure' if tls else ''}"
    return Field(b"Set-Cookie", f"{name}={token}; {attributes}".encode("ascii"))


def is_foreign(head: RequestHead) -> bool:
    """Whether a page of somebody else's makes the request. Browsers send cookies with those, too, from neighbours below the same domain."""
    host = next(iter(values(head.fields, b"host")), b"").lower()
    return any(origin.lower().partition(b"://")[2] != host for origin in values(head.fields, b"origin"))


def _named(head: RequestHead | ResponseHead) -> frozenset[bytes]:
    """What ``Connection`` calls hop-by-hop. Raises: Malformed: something that cannot be."""
    named = frozenset(tokens(head.fields, b"connection"))
    if named & _NEVER_NAMED:
        raise Malformed("The Connection field names what is not the connection's.", 400 if isinstance(head, RequestHead) else 502)
    return named


def _goes_inside(field: Field, named: frozenset[bytes], visit: Visit) -> bool:
    name = field.name.lower()
    if name in _HOP_BY_HOP or name in named or (name == b"authorization" and visit.drop_authorization):
        return False
    return _OTHER.sub(b"-", name) not in _OURS


def _head(line: bytes, fields: Iterable[Field]) -> bytes:
    return b"\r\n".join([line, *(b"%b: %b" % field for field in fields), b"", b""])
