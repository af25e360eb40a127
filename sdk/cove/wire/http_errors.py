"""How a :class:`cove.exception.Error` crosses HTTP: a status, and a JSON object with the fields of ``ErrorInfo``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from cove.exception import CODES, Error, ServiceError, from_code

if TYPE_CHECKING:  # half a second to import, and only transfers need it
    import aiohttp

MAX_BYTES: Final = 64 * 1024
"""Of an answer that is an error, this much is read."""


def status_of(error: Error) -> int:
    """The HTTP status that ``error`` travels under."""
    return (CODES.get(error.code) or CODES["internal"]).http


def encode(error: Error) -> bytes:
    """The JSON form of ``error``."""
    fields = {"code": error.code, "cause": error.cause, "remedy": error.remedy, "retryable": error.retryable, "context": error.context}
    return json.dumps(fields).encode()


def decode(status: int, body: bytes) -> Error:
    """The error that an answer carries, or one that names its status where it carries none of ours."""
    try:
        fields = json.loads(body)
        return from_code(
            str(fields["code"]),
            str(fields["cause"]),
            remedy=str(fields["remedy"]),
            retryable=bool(fields["retryable"]),
            context={str(key): str(value) for key, value in fields["context"].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ServiceError(f"The request was answered with HTTP status {status}.")


async def check(response: aiohttp.ClientResponse) -> None:
    """Raises:  Error: the one in the answer, if it is one."""
    if response.status < 300:
        return
    body = b""
    while len(body) < MAX_BYTES and (piece := await response.content.read(MAX_BYTES - len(body))):
        body += piece
    raise decode(response.status, body)
