"""COPY and ADD: what goes where, as a tar that the sandbox's own guest unpacks, so that links in the image lead where they lead there."""

from __future__ import annotations

import asyncio
import tarfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence

from cove.dockerfile.copy_rules import FileKind, Placed, destination_of, place
from cove.dockerfile.model import Transfer
from cove.exception import InvalidError
from router.images.builder.items import Item
from router.images.builder.ownership import Ownership, ownership_of
from router.node_sandbox import NodeSandbox


async def transfer(transfer: Transfer, items: Mapping[str, Item], sandbox: NodeSandbox, *, workdir: str) -> None:
    """Carry out a COPY or ADD, its variables replaced.

    Raises:  InvalidError: as Docker has it: nothing matched, several sources for one file. Other errors: the node.
    """
    destination = destination_of(transfer.destination, workdir)
    is_directory = await sandbox.is_directory(destination.path)
    placed = await asyncio.to_thread(  # many patterns over many files take their time
        place,
        transfer,
        [item.entry for item in items.values()],
        workdir=workdir,
        is_directory=lambda path: is_directory and path == destination.path,
    )
    await deliver(placed, items, sandbox, await ownership_of(transfer, sandbox))


async def deliver(placed: Sequence[Placed], items: Mapping[str, Item], sandbox: NodeSandbox, ownership: Ownership) -> None:
    """Put things where they go. Raises: InvalidError: one has another size than was told. Other errors: the node."""
    await sandbox.unpack("/", _archive(placed, items, ownership.owner or (0, 0), ownership.mode))


async def _archive(placed: Sequence[Placed], items: Mapping[str, Item], owner: tuple[int, int], mode: int | None) -> AsyncIterator[bytes]:
    now = int(time.time())
    for one in placed:
        member = tarfile.TarInfo(one.target.lstrip("/"))
        member.uid, member.gid = owner
        item = items.get(one.source)
        member.mtime = now if item is None or item.mtime_s is None else item.mtime_s
        if not member.name:
            continue
        if one.heredoc is not None:
            data = one.heredoc.content.encode()
            member.size, member.mode = len(data), 0o644 if mode is None else mode
            yield _head(member)
            yield data + bytes(-len(data) % tarfile.BLOCKSIZE)
        elif one.kind is FileKind.DIRECTORY:
            member.type, member.mode = tarfile.DIRTYPE, (item.mode if item else 0o755) if mode is None else mode
            yield _head(member)
        elif one.kind is FileKind.LINK and item is not None:
            member.type, member.linkname, member.mode = tarfile.SYMTYPE, item.entry.link_target, 0o777
            yield _head(member)
        elif item is not None:
            member.size, member.mode = item.size_bytes, item.mode if mode is None else mode
            yield _head(member)
            async for piece in _exactly(item):
                yield piece
    yield bytes(2 * tarfile.BLOCKSIZE)


async def _exactly(item: Item) -> AsyncIterator[bytes]:
    """The content, padded; what has another size than was told would make a broken archive. Raises: InvalidError."""
    count = 0
    async for chunk in item.content():
        count += len(chunk)
        if count > item.size_bytes:
            break
        yield chunk
    if count != item.size_bytes:
        raise InvalidError(f"The context file {item.entry.path[:80]!r} has another size than was told.", remedy="Build again.")
    yield bytes(-count % tarfile.BLOCKSIZE)


def _head(member: tarfile.TarInfo) -> bytes:
    return member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
