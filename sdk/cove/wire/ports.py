"""How a router asks a node for a connection to a port inside a sandbox. Pure.

On the node's HTTP port::

    GET /v1/ports/<sandbox id>/<port> HTTP/1.1
    Host: node
    Connection: upgrade
    Upgrade: cove-tcp
    Authorization: Bearer <token that opens the sandbox>

in this order and form, at most :data:`MAX_HEAD_BYTES`. The answer is :data:`UPGRADED`, after which both directions carry the connection's
bytes and end one by one as TCP's do, or an HTTP answer with an error (``cove.wire.http_errors``) before the connection is closed.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from cove.exception import InvalidError
from cove.types import SandboxId

PREFIX: Final = b"GET /v1/ports/"
"""By their first bytes these requests are told from others."""

MAX_HEAD_BYTES: Final = 8 * 1024
HEAD_END: Final = b"\r\n\r\n"
UPGRADED: Final = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: cove-tcp\r\n\r\n"

_REQUEST: Final = re.compile(
    rb"GET /v1/ports/(sb-[A-Za-z0-9]{22})/([1-9][0-9]{0,4}) HTTP/1\.1\r\n"
    rb"Host: node\r\nConnection: upgrade\r\nUpgrade: cove-tcp\r\nAuthorization: (Bearer [A-Za-z0-9._-]+)\r\n\r\n"
)


class PortRequest(NamedTuple):
    """What is asked for; ``authorization`` is the header's value, unchecked."""

    sandbox_id: SandboxId
    port: int
    authorization: str


def encode(sandbox_id: SandboxId, port: int, token: str) -> bytes:
    """The request's head."""
    return (
        f"GET /v1/ports/{sandbox_id}/{port} HTTP/1.1\r\nHost: node\r\nConnection: upgrade\r\nUpgrade: cove-tcp\r\n"
        f"Authorization: Bearer {token}\r\n\r\n"
    ).encode("ascii")


def decode(head: bytes) -> PortRequest:
    """What a request's head asks for.

    Raises:  InvalidError: it has not the one form that these have.
    """
    match = _REQUEST.fullmatch(head)
    if match is None or int(match[2]) > 65_535:
        raise InvalidError("The request for a port is malformed.", remedy="Routers make these; ask one for a tunnel.")
    return PortRequest(SandboxId(match[1].decode()), int(match[2]), match[3].decode())


def error_head(status: int, length: int) -> bytes:
    """The head of an answer whose body is an error of ``length`` bytes; the connection is closed after it."""
    return b"HTTP/1.1 %d Refused\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (status, length)
