"""Where a request carries a connect token, and the request without it. Pure.

Names are recognised however they are spelled; what remains of a request has no trace of a token of ours.
"""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from router.ingress.http.heads import Field, Malformed, RequestHead, values

NAMES: Final = (b"_cove_connect_token", b"_modal_connect_token")
"""Of query parameter and cookie."""

MAX_TOKENS: Final = 8
"""Tokens that one request may carry; each may cost a check of its signature."""


class Presented(NamedTuple):
    """A token that a request carries."""

    token: str
    carrier: str
    """``bearer``, ``query`` or ``cookie``."""
    name: str = ""
    """Of the parameter or the cookie."""


def find_tokens(head: RequestHead) -> list[Presented]:
    """All tokens, those that were given on purpose before those that browsers add.

    Raises:  Malformed: two Authorization fields, or too many tokens.
    """
    found = [*_bearers(head), *_in_query(head.target), *_in_cookies(head)]
    if len(found) > MAX_TOKENS:
        raise Malformed("The request carries too many tokens.")
    return found


def target_without(target: bytes) -> bytes:
    """``target`` without the query parameters that carry tokens; everything else stays to the byte."""
    path, mark, query = target.partition(b"?")
    if not mark:
        return target
    kept = [pair for pair in query.split(b"&") if _parameter(pair)[0] not in NAMES]
    return path + b"?" + b"&".join(kept) if kept else path


def cookies_without(value: bytes) -> bytes:
    """A Cookie field's value without the cookies that carry tokens; empty if no other is there."""
    return b"; ".join(pair.strip() for pair in value.split(b";") if pair.strip() and _cookie(pair)[0] not in NAMES)


def referer_without(value: bytes) -> bytes:
    """The same for a Referer field: a page that was opened with a token in its address tells its address."""
    address, mark, fragment = value.partition(b"#")
    return target_without(address) + mark + fragment


def _bearers(head: RequestHead) -> list[Presented]:
    fields = values(head.fields, b"authorization")
    if len(fields) > 1:
        raise Malformed("There is more than one Authorization field.")
    return [Presented(token, "bearer") for field in fields if (token := bearer_of(field))]


def bearer_of(value: bytes) -> str:
    """The token in an Authorization field's value; empty if it is of another scheme."""
    scheme, _, token = value.partition(b" ")
    return token.strip().decode("latin-1") if scheme.lower() == b"bearer" else ""


def _in_query(target: bytes) -> list[Presented]:
    pairs = map(_parameter, target.partition(b"?")[2].split(b"&"))
    return [Presented(value.decode("latin-1"), "query", name.decode()) for name, value in pairs if name in NAMES]


def _in_cookies(head: RequestHead) -> list[Presented]:
    pairs = (_cookie(pair) for value in values(head.fields, b"cookie") for pair in value.split(b";"))
    return [Presented(value.decode("latin-1"), "cookie", name.decode()) for name, value in pairs if name in NAMES]


def _parameter(pair: bytes) -> tuple[bytes, bytes]:
    name, _, value = pair.partition(b"=")
    return unquote_to_bytes(name.replace(b"+", b" ")), unquote_to_bytes(value)


def _cookie(pair: bytes) -> tuple[bytes, bytes]:
    name, _, value = pair.partition(b"=")
    return name.strip(), value.strip().strip(b'"')


def clean(field: Field) -> Field | None:
    """The field without tokens; None if nothing is left of it."""
    name = field.name.lower()
    if name == b"cookie":
        kept = cookies_without(field.value)
        return Field(field.name, kept) if kept else None
    return Field(field.name, referer_without(field.value)) if name == b"referer" else field
