"""The platform's door inside a sandbox: ``/run/cove/api.sock``, HTTP/1.1. Plain sandboxes find it closed, politely."""

from __future__ import annotations

from typing import Final

import msgspec

from sandboxd.channel.streams import ByteStream, StreamCut

MAX_HEAD_BYTES: Final = 16 * 1024

_BODY: Final = msgspec.json.encode(
    {
        "code": "permission_denied",
        "cause": "A sandbox has no access to the platform.",
        "remedy": "Call the platform from outside, or run the code as a Function.",
        "retryable": False,
        "context": {},
    }
)
FORBIDDEN: Final = (
    b"HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(_BODY)
) + _BODY


async def serve_plain_sandbox(stream: ByteStream) -> None:
    """Read one request's head, bounded, and refuse it."""
    head = b""
    try:
        stream.accept()
        async for chunk in stream:
            head = (head + bytes(chunk))[-MAX_HEAD_BYTES:]
            if b"\r\n\r\n" in head or len(head) == MAX_HEAD_BYTES:
                break
        await stream.write(FORBIDDEN)
        stream.end()
    except StreamCut:
        pass
    finally:
        stream.close()
