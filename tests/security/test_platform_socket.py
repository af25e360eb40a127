"""``/run/cove/api.sock`` lets plain sandboxes do nothing, and says so; no request hurts whoever serves it."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

import cove
from tests.security.probe import inside
from tests.support.live_fixtures import Sandboxes

FORBIDDEN: Final = "HTTP/1.1 403 "


def ask(head: str, user: int) -> dict[str, Any]:
    """Send ``head`` to the socket as a user. Returns: status line and body of the answer."""
    import os
    import socket

    os.setuid(user)
    with socket.socket(socket.AF_UNIX) as one:
        one.settimeout(10)
        one.connect("/run/cove/api.sock")
        one.sendall(head.encode())
        one.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := one.recv(65536):
            answer += piece
    top, _, body = answer.decode().partition("\r\n\r\n")
    return {"status": top.split("\r\n")[0], "body": body}


@pytest.mark.parametrize("user", [0, 65534], ids=["root", "nobody"])
@pytest.mark.parametrize(
    "head",
    [
        "GET / HTTP/1.1\r\nHost: cove\r\n\r\n",
        "POST /cove.v1.Control/SandboxCreate HTTP/1.1\r\nHost: cove\r\nContent-Length: 2\r\n\r\n{}",
        "GET / HTTP/1.1\r\nAuthorization: Bearer root\r\nX-Forwarded-For: 127.0.0.1\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
    ids=["get", "post", "spoofed", "http2"],
)
def test_every_request_is_forbidden(shared: cove.Sandbox, head: str, user: int) -> None:
    answer = inside(shared, ask, head, user)
    assert answer["status"].startswith(FORBIDDEN)
    error = json.loads(answer["body"])
    assert error["code"] == "permission_denied"
    assert error["cause"] and error["remedy"] and error["retryable"] is False


@pytest.mark.parametrize("head", ["", "GET / HTTP/1.1\r\n", "\0" * 1000, "A" * 100_000], ids=["empty", "half", "binary", "endless"])
def test_nonsense_gets_no_other_answer(shared: cove.Sandbox, head: str) -> None:
    assert inside(shared, ask, head, 0)["status"].startswith(FORBIDDEN)


def flood(count: int) -> int:
    """Open many connections and leave them. Returns: how many could be opened."""
    import socket

    held = []
    for _ in range(count):
        one = socket.socket(socket.AF_UNIX)
        one.settimeout(5)
        try:
            one.connect("/run/cove/api.sock")
            one.send(b"GET")
        except OSError:
            break
        held.append(one)
    return len(held)


def test_a_flood_of_connections_hurts_neither_sandbox_nor_neighbour(sandboxes: Sandboxes) -> None:
    sandbox, neighbour = sandboxes.create(), sandboxes.create()
    assert inside(sandbox, flood, 2000) > 0
    assert neighbour.exec("true").wait() == 0
    assert inside(sandbox, ask, "GET / HTTP/1.1\r\n\r\n", 0)["status"].startswith(FORBIDDEN)
