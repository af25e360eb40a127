"""Layer archives for the daemons: packing and unpacking as calls that leave the event loop free. The work is done by child processes.

Sparse files keep their holes: an archive has the map of their data, in GNU's PAX format 1.0. Zeros that were written stay written.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterable, AsyncIterator
from pathlib import Path
from typing import Final

import msgspec

from snapshots.digest import Digest
from snapshots.layers.child import run_child
from snapshots.layers.limits import Expected, Limits, Order, order_to_json

_PIPE_BYTES: Final = 2**20


class Packed(msgspec.Struct, frozen=True, kw_only=True):
    """A layer archive as it was written."""

    digest: Digest
    """Of the compressed bytes."""
    diff_id: Digest
    """Of the tar, as OCI's image configuration names the layer."""
    size_bytes: int
    """Compressed."""
    tar_bytes: int
    members: int


class Unpacked(msgspec.Struct, frozen=True, kw_only=True):
    """A layer archive as it was read, to the end and verified."""

    digest: Digest
    diff_id: Digest
    size_bytes: int
    """Compressed."""
    tar_bytes: int
    members: int
    notes: tuple[str, ...]
    """What was left out, for people; bounded in number and length."""


async def pack_layer(directory: Path, into: Path) -> Packed:
    """Pack a layer directory as a zstd layer archive, the same bytes for the same tree; needs root.

    Sockets are left out. Nothing may change in ``directory`` meanwhile.

    Args:    into: a file that is not there yet; after an error it is gone again. Not synced to disk.
    Raises:  ConflictError: the directory changed. InvalidError: it has something that no layer archive can have. FileExistsError.
             ResourceExhaustedError: the disk is full.
    """
    fd = os.open(into, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        result = await run_child("snapshots.layers.pack", [os.fspath(directory)], stdout=fd)
        return msgspec.convert(result, Packed)
    except BaseException:
        into.unlink(missing_ok=True)
        raise
    finally:
        os.close(fd)


async def unpack_archive(
    archive: int | AsyncIterable[bytes],
    into: Path,
    *,
    expect: Expected = Expected(),  # noqa: B008  # immutable
    limits: Limits = Limits(),  # noqa: B008  # immutable
    devices: bool = False,
) -> Unpacked:
    """Unpack a layer archive (tar; plain, zstd, gzip, bzip2 or xz) of anybody into a layer directory; needs root.

    Whiteouts become overlayfs's. Names with ``..`` and absolute ones are names inside; no link is followed, one on the way to a member is
    an error. Hard links lead to earlier members. Of two members of a name the last stays.

    Args:
        archive: a descriptor that is read to its end, or the bytes.
        into: an empty directory that nobody else works in; what is in it after an error is the caller's to remove.
        expect: what the archive must be.
        devices: make device nodes (own snapshots); otherwise they are left out with a note (anybody's images).

    Raises:
        InvalidError: malformed, cut off, followed by something else, or with members that cannot be.
        DataLossError: not the bytes that ``expect`` tells; getting them again can help.
        RequestSizeError: more than ``limits`` allow. ResourceExhaustedError: the disk is full, or would be.
        What ``archive`` raises.
    """
    if next(into.iterdir(), None) is not None:
        raise FileExistsError(f"{into} is not empty")
    arguments = [os.fspath(into), order_to_json(Order(expect, limits, devices))]
    async with _readable(archive) as stdin:
        return msgspec.convert(await run_child("snapshots.layers.unpack", arguments, stdin=stdin), Unpacked)


@contextlib.asynccontextmanager
async def _readable(archive: int | AsyncIterable[bytes]) -> AsyncIterator[int]:
    """A descriptor to read ``archive`` from during the block. What the bytes' source raises ends the block."""
    if isinstance(archive, int):
        yield archive
        return
    reading, writing = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(writing, False)
    with contextlib.suppress(PermissionError):  # the user's pipes are many already: then a small one
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    try:
        async with asyncio.TaskGroup() as group:
            feeder = group.create_task(_feed(writing, archive))
            yield reading
            feeder.cancel()
    except BaseExceptionGroup as errors:
        # Where both failed, the source's failure is the cause of the other.
        raise errors.exceptions[0] from None
    finally:
        os.close(reading)


async def _feed(fd: int, chunks: AsyncIterable[bytes]) -> None:
    """Write ``chunks`` to a pipe until its reader has enough, and close it."""
    try:
        async for chunk in chunks:
            await _write(fd, memoryview(chunk))
    except BrokenPipeError:
        return  # the child ended, and says why itself
    finally:
        os.close(fd)


async def _write(fd: int, data: memoryview) -> None:
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:
            await _writable(fd)


async def _writable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_writer(fd, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(fd)
