"""Differences between file systems, as the server streams them."""

from __future__ import annotations

import os
from typing import TypeVar

from cove._transport.connection import Connection
from cove._transport.methods import Streamed
from cove._transport.plane import Stream
from cove.types import FileChange
from cove.wire import image_pb2

Q = TypeVar("Q")


async def collect(connection: Connection, method: Streamed[Q, image_pb2.FileChanges], request: Q) -> list[FileChange]:
    """All changes that ``method`` tells of. A stream that breaks is asked for again, from its start."""
    found: list[FileChange] = []

    def begin() -> Q:
        found.clear()
        return request

    stream = Stream(connection.control, method, begin)
    try:
        while (part := await stream.read()) is not None:
            found += [FileChange(os.fsdecode(b"/" + change.path.lstrip(b"/")), change.kind) for change in part.changes]
    finally:
        stream.cancel()
    return found
