"""Archives that ADD unpacks: read here, in bounded memory, and written anew with the names and owners they get in the image.

Not unpacked by the image's own tar: an image need not have one, and not for every compression.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from typing import IO, Final

from cove.exception import InvalidError
from router.images.builder.items import CHUNK_BYTES, LIMITS, MAX_FETCHED_BYTES, Item, temporary_file
from router.images.builder.ownership import Ownership
from snapshots.layers.compressed import CompressedInput, decompressed
from snapshots.layers.content import write_extents
from snapshots.layers.directories import clean_parts
from snapshots.layers.tar_header import BLOCK_BYTES, Type, padding, parse_header
from snapshots.layers.tar_reader import Member, TarReader, TarStream
from snapshots.layers.tar_writer import NewMember, format_member

HEAD_BYTES: Final = 2**20
"""Of a file, to see whether it is an archive: the first block of any compression."""

_KEPT: Final = {Type.DIRECTORY: Type.DIRECTORY, Type.SYMLINK: Type.SYMLINK, Type.HARD_LINK: Type.HARD_LINK}


async def is_archive(item: Item) -> bool:
    """Whether ``item`` is a tar archive, compressed or not: by its content, as Docker has it."""
    with temporary_file() as file:
        async for chunk in item.content():
            file.write(chunk[: HEAD_BYTES - file.tell()])
            if file.tell() >= HEAD_BYTES:
                break
        return await asyncio.to_thread(_begins_archive, file)


def _begins_archive(file: IO[bytes]) -> bool:
    head = bytearray()
    try:
        for chunk in _plain(file):
            head += chunk[:BLOCK_BYTES]
            if len(head) >= BLOCK_BYTES:
                break
        if len(head) >= BLOCK_BYTES:
            parse_header(bytes(head[:BLOCK_BYTES]))
            return True
    except InvalidError:
        pass  # compressed, but no archive; or neither
    return False


async def unpacked(item: Item, target: str, ownership: Ownership) -> AsyncIterator[bytes]:
    """A tar of what the archive ``item`` holds, to be unpacked at the root, where it comes to lie below ``target``.

    Raises:  InvalidError: damaged. RequestSizeError: more than :data:`items.LIMITS` allow.
    """
    with temporary_file() as file:
        async for chunk in item.content():
            file.write(chunk)
        pieces = _rewritten(file, target.encode("utf-8", "surrogateescape"), ownership)
        while batch := await asyncio.to_thread(_batch, pieces):
            yield batch


def _batch(pieces: Iterator[bytes]) -> bytes:
    """About a chunk's worth; none at the end. Blocks."""
    batch = bytearray()
    for piece in pieces:
        batch += piece
        if len(batch) >= CHUNK_BYTES:
            break
    return bytes(batch)


def _plain(file: IO[bytes]) -> Iterator[bytes]:
    file.flush()
    os.lseek(file.fileno(), 0, os.SEEK_SET)
    return decompressed(CompressedInput(file.fileno()), LIMITS)


def _rewritten(file: IO[bytes], target: bytes, ownership: Ownership) -> Iterator[bytes]:
    reader = TarReader(TarStream(_plain(file)), LIMITS)
    for member in reader:
        placed = _placed(member, target, ownership)
        if placed is None:
            continue
        yield format_member(placed)
        if member.is_file:
            yield from _content(reader, member)
            yield bytes(padding(placed.size_bytes))
    yield bytes(2 * BLOCK_BYTES)


def _placed(member: Member, target: bytes, ownership: Ownership) -> NewMember | None:
    """``member`` as it arrives; None: the archive's root, or a device or pipe, which images cannot have."""
    parts = clean_parts(member.name)
    kind = Type.FILE if member.is_file else _KEPT.get(member.type)
    if kind is None or not parts:
        return None
    link = member.linkname
    if kind is Type.HARD_LINK:
        link = b"/".join((target.strip(b"/"), *clean_parts(link))).lstrip(b"/")
    if member.real_bytes > MAX_FETCHED_BYTES:
        raise InvalidError(f"The archive has a file of {member.real_bytes} bytes.", remedy=f"At most {MAX_FETCHED_BYTES} are taken.")
    uid, gid = ownership.owner or (member.uid, member.gid)
    return NewMember(
        name=b"/".join((target.strip(b"/"), *parts)).lstrip(b"/"),
        type=kind,
        mode=member.mode if ownership.mode is None or kind is Type.SYMLINK else ownership.mode,
        uid=max(uid, 0),
        gid=max(gid, 0),
        mtime_ns=member.mtime_ns,
        size_bytes=member.real_bytes if kind is Type.FILE else 0,
        linkname=link if kind is not Type.DIRECTORY else b"",
    )


def _content(reader: TarReader, member: Member) -> Iterator[bytes]:
    """The file's bytes, the holes of a sparse one as zeros."""
    if member.extents is None:
        yield from map(bytes, reader.data())
        return
    with temporary_file() as file:
        write_extents(file.fileno(), reader.data(), member.extents, member.real_bytes)
        while piece := file.read(CHUNK_BYTES):
            yield piece
