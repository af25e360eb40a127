"""HTTP answers that the edge itself gives, as whole messages after which the connection is closed. Pure."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from cove.exception import Error
from cove.wire import http_errors

_TUNNEL: Final = {"sandbox_ended": 410, "not_found": 404, "unreachable": 502}
"""Where a visitor expects another status than a caller of the API. Else it is that one."""


def refusal(error: Error, *, headers: str = "") -> bytes:
    """What a visitor is told of ``error``."""
    return answer(_TUNNEL.get(error.code) or http_errors.status_of(error), str(error), headers=headers)


def answer(status: int, text: str, *, headers: str = "") -> bytes:
    """A plain text. ``headers``: more of them, each with its line end."""
    body = f"{text}\n".encode()
    phrase = HTTPStatus(status).phrase
    head = (
        f"HTTP/1.1 {status} {phrase}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {len(body)}\r\n"
        f"Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n{headers}Connection: close\r\n\r\n"
    )
    return head.encode("ascii") + body
