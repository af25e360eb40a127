"""Whole files and directories between client and sandbox, streamed over HTTP: nothing is held in memory or packed on disk."""

from __future__ import annotations

import asyncio
import os
import stat
import tempfile
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any, Final

from cove import _archive, _spec
from cove._async import _filesystem
from cove._async._filesystem import os_errors
from cove._async._threads import Link, worker
from cove._transport import bulk
from cove._transport.connection import Connection
from cove._transport.data import DataPlane

PIECE_BYTES: Final = 256 * 1024
PIECES_AHEAD: Final = 4


async def upload(connection: Connection, plane: DataPlane, local: str | os.PathLike[str], remote: str | os.PathLike[str]) -> None:
    """See ``Sandbox.upload``."""
    source = Path(local)
    mode = (await asyncio.to_thread(source.stat)).st_mode
    query: bulk.Query = {"path": _spec.path(remote)}
    with os_errors(remote):
        if stat.S_ISDIR(mode):
            await bulk.put(connection, plane, "archive", query, lambda: _packed(source))
        else:
            query = {**query, "mode": f"{mode & 0o7777:04o}", "parents": "1"}
            await bulk.put(connection, plane, "file", query, lambda: _content(source))


async def download(connection: Connection, plane: DataPlane, remote: str | os.PathLike[str], local: str | os.PathLike[str]) -> None:
    """See ``Sandbox.download``."""
    info = await _filesystem.stat(plane, remote)
    target = Path(local)
    query: bulk.Query = {"path": _spec.path(remote)}
    with os_errors(remote):
        if info.is_dir():
            await bulk.get(connection, plane, "archive", query, lambda body: _unpack(body, target))
        else:
            await bulk.get(connection, plane, "file", query, lambda body: _save(body, target, info.mode))


async def _content(source: Path) -> AsyncIterator[bytes]:
    with await asyncio.to_thread(source.open, "rb") as file:
        while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
            yield piece


async def _save(body: AsyncIterator[bytes], target: Path, mode: int) -> None:
    """Write a file's content beside ``target`` and put it in its place when it is complete."""
    if target.is_dir():
        target /= ""
    descriptor, name = await asyncio.to_thread(tempfile.mkstemp, dir=target.parent, prefix=f".{target.name[:100]}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            async for piece in body:
                await asyncio.to_thread(file.write, piece)
        # Neither set-user-id bits nor a file that its owner cannot read come out of a sandbox.
        temporary.chmod(mode & 0o755 | 0o600)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


class _Sink:
    """What the packing thread writes to: pieces for the loop, a few at a time."""

    def __init__(self, link: Link, pieces: asyncio.Queue[bytes | None]) -> None:
        self._link = link
        self._pieces = pieces

    def write(self, data: bytes) -> None:
        """Hand over the next piece; waits while the network is slower."""
        self._link.run(self._pieces.put(data))

    def close(self) -> None:
        """Tell that nothing follows."""
        self._link.run(self._pieces.put(None))


async def _packed(source: Path) -> AsyncIterator[bytes]:
    """A tar stream of a directory's content, made in a thread that is never more than a few pieces ahead."""
    pieces: asyncio.Queue[bytes | None] = asyncio.Queue(PIECES_AHEAD)

    def pack(link: Link) -> None:
        sink = _Sink(link, pieces)
        try:
            _archive.pack(source, sink)
        finally:
            sink.close()

    async with worker(pack) as packing:
        while (piece := await pieces.get()) is not None:
            yield piece
        await packing


class _Source:
    """What the unpacking thread reads from."""

    def __init__(self, link: Link, body: AsyncIterator[bytes]) -> None:
        self._link = link
        self._body = body

    def read(self, size: int) -> bytes:
        """The next piece, of any size; empty at the end."""
        return self._link.run(self._next())

    def _next(self) -> Coroutine[Any, Any, bytes]:
        async def following() -> bytes:
            return await anext(self._body, b"")

        return following()


async def _unpack(body: AsyncIterator[bytes], target: Path) -> None:
    """Extract a tar stream into ``target``, in a thread that asks for the next piece when it needs it."""
    async with worker(lambda link: _archive.unpack(_Source(link, body), target)) as unpacking:
        await asyncio.shield(unpacking)
