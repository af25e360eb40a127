"""COPY and ADD: what goes where, as a tar that the sandbox's own guest unpacks, so that links in the image lead where they lead there."""

from __future__ import annotations

import asyncio
import re
import stat
import tarfile
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Final

from cove.dockerfile.copy_rules import Entry, FileKind, Placed, context_path, destination_of, place
from cove.dockerfile.globs import has_magic
from cove.dockerfile.model import Copy, Transfer
from cove.exception import InternalFailure, InvalidError, NotFoundError, RequestSizeError, UnimplementedError
from cove.wire import image_pb2
from router.node_sandbox import NodeSandbox
from snapshots.digest import Digest
from snapshots.store import Store

CHUNK_BYTES: Final = 2**20
MAX_STAGE_BYTES: Final = 20 * 2**30
"""Of what one COPY takes from another stage."""

MAX_ACCOUNTS_BYTES: Final = 2**20
"""Of /etc/passwd and /etc/group."""

MAX_ID: Final = 2**32 - 2
"""The highest user and group: the next one means "none" to the kernel."""

_ID: Final = re.compile(r"[0-9]{1,10}")
_OWNER: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}(:[A-Za-z0-9_.-]{1,64})?")
_ARCHIVE: Final = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd")
_TAR_MAGIC_OFFSET: Final = 257


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that can be copied."""

    entry: Entry
    mode: int
    size_bytes: int
    content: Callable[[], AsyncIterator[bytes]]


class Context:
    """The files that a client brought, by path."""

    def __init__(self, files: Sequence[image_pb2.ContextFile], store: Store) -> None:
        self._store = store
        self.items = {item.entry.path: item for item in map(self._item, files)}

    def _item(self, file: image_pb2.ContextFile) -> Item:
        path = file.path.decode("utf-8", "surrogateescape")
        target = file.link_target.decode("utf-8", "surrogateescape")
        entry = Entry(path, _kind(file.mode), target)
        digest = Digest(f"sha256:{file.sha256.hex()}")
        return Item(entry, stat.S_IMODE(file.mode), file.size_bytes, lambda: self._chunks(path, digest))

    async def _chunks(self, path: str, digest: Digest) -> AsyncIterator[bytes]:
        try:
            async with self._store.view(digest) as view:
                async for chunk in view.chunks():
                    yield chunk
        except NotFoundError as error:
            raise NotFoundError(f"The content of the context file {path[:80]!r} was not uploaded.", remedy="Build again.") from error


class StageFiles:
    """Files of another stage or image, fetched into a temporary file for one COPY."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.items: dict[str, Item] = {}

    async def fetch(self, sandbox: NodeSandbox, source: str) -> None:
        """Take ``source``, an absolute path there, with all below it. Raises: cove.exception.Error."""
        if has_magic(source):
            raise UnimplementedError("COPY --from with wildcards is not supported yet.", remedy="Copy the directory that the files are in.")
        relative = context_path(source)
        start = self._file.seek(0, 2)
        total = 0
        async for chunk in sandbox.archive(f"/{relative}" if relative != "." else "/"):
            total += len(chunk)
            if total > MAX_STAGE_BYTES:
                raise RequestSizeError(f"{source[:80]!r} has more than {MAX_STAGE_BYTES >> 30} GiB.", remedy="Copy less.")
            self._file.write(chunk)
        mode = await sandbox.mode(f"/{relative}") or 0
        if stat.S_ISDIR(mode) and relative != ".":  # an archive of a directory does not have the directory itself
            self.items[relative] = Item(Entry(relative, FileKind.DIRECTORY), stat.S_IMODE(mode), 0, lambda: self._chunks(0, 0))
        try:
            self.items |= await asyncio.to_thread(self._read, start, relative, stat.S_ISDIR(mode))
        except (tarfile.TarError, ValueError) as error:
            raise InternalFailure("The files of another stage arrived damaged.", remedy="Build again.") from error

    def _read(self, start: int, root: str, is_directory: bool) -> dict[str, Item]:
        """The members of the archive at ``start``. Blocks. Raises: tarfile.TarError, ValueError: it is none."""
        self._file.seek(start)
        found: dict[str, Item] = {}
        with tarfile.open(fileobj=self._file, mode="r:", encoding="utf-8", errors="surrogateescape") as archive:
            for member in archive:
                path = _joined(root, member.name) if is_directory else root
                # A further name of a file has no content of its own. COPY makes it a file, as Docker does.
                item = found.get(_joined(root, member.linkname)) if member.islnk() else self._item(member, path)
                if item is not None:
                    found[path] = Item(Entry(path, item.entry.kind, item.entry.link_target), item.mode, item.size_bytes, item.content)
        return found

    def _item(self, member: tarfile.TarInfo, path: str) -> Item | None:
        """None: the root, or nothing that travels."""
        if path == "." or not (member.isfile() or member.isdir() or member.issym()):
            return None
        kind = FileKind.DIRECTORY if member.isdir() else FileKind.LINK if member.issym() else FileKind.FILE
        offset, size = member.offset_data, member.size
        return Item(Entry(path, kind, member.linkname if member.issym() else ""), member.mode, size, lambda: self._chunks(offset, size))

    async def _chunks(self, offset: int, size: int) -> AsyncIterator[bytes]:
        while size:
            self._file.seek(offset)
            piece = self._file.read(min(CHUNK_BYTES, size))
            if not piece:
                raise InvalidError("A file of another stage was cut off.")
            yield piece
            offset, size = offset + len(piece), size - len(piece)


def _joined(root: str, name: str) -> str:
    """The path of the member ``name`` in an archive of ``root``."""
    return context_path(f"{root}/{context_path(name)}")


def temporary_file() -> IO[bytes]:
    """For :class:`StageFiles`; without a name, so that no crash leaves it behind."""
    return tempfile.TemporaryFile(prefix="cove-build-")


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
    owner = await _owner(transfer.chown, sandbox)
    mode = _mode(transfer.chmod)
    await sandbox.unpack("/", _archive(placed, items, owner, mode))


async def is_archive(item: Item) -> bool:
    """Whether ADD would unpack it: by content, as Docker does."""
    head = b""
    async for chunk in item.content():
        head += chunk
        if len(head) >= tarfile.BLOCKSIZE:
            break
    return head.startswith(_ARCHIVE) or head[_TAR_MAGIC_OFFSET : _TAR_MAGIC_OFFSET + 5] == b"ustar"


async def _archive(placed: Sequence[Placed], items: Mapping[str, Item], owner: tuple[int, int], mode: int | None) -> AsyncIterator[bytes]:
    now = int(time.time())
    for one in placed:
        member = tarfile.TarInfo(one.target.lstrip("/"))
        member.uid, member.gid = owner
        member.mtime = now
        item = items.get(one.source)
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


def _mode(text: str | None) -> int | None:
    if text is None:
        return None
    if not re.fullmatch(r"0?[0-7]{3,4}", text):
        raise UnimplementedError(f"--chmod={text[:40]} is not supported.", remedy="Give octal digits, such as --chmod=0755.")
    return int(text, 8)


async def _owner(text: str | None, sandbox: NodeSandbox) -> tuple[int, int]:
    """Numbers for ``user[:group]``, looked up in the image. Without a group, a name has its own, and a number stands for both.

    Raises:  InvalidError: the image has no such user or group.
    """
    if text is None:
        return 0, 0
    if not _OWNER.fullmatch(text):
        raise InvalidError(f"--chown={text[:80]!r} names no owner.", remedy="Give user:group, names or numbers.")
    user, _, group = text.partition(":")
    users, groups = await _accounts(sandbox, "/etc/passwd"), await _accounts(sandbox, "/etc/group")
    uid = _number(user, users, "user")
    if group:
        return uid, _number(group, groups, "group")
    named = next((fields for fields in users if len(fields) > 3 and fields[0] == user and _ID.fullmatch(fields[3])), None)
    return uid, int(named[3]) if named and not _ID.fullmatch(user) else uid


async def _accounts(sandbox: NodeSandbox, path: str) -> list[list[str]]:
    content = await sandbox.read_file(path, max_bytes=MAX_ACCOUNTS_BYTES)
    return [line.split(":") for line in content.decode("utf-8", "replace").splitlines()]


def _number(name: str, accounts: Sequence[Sequence[str]], what: str) -> int:
    if _ID.fullmatch(name) and int(name) <= MAX_ID:
        return int(name)
    for fields in accounts:
        if len(fields) > 2 and fields[0] == name and _ID.fullmatch(fields[2]) and int(fields[2]) <= MAX_ID:
            return int(fields[2])
    raise InvalidError(f"The image has no {what} {name!r}.", remedy="Create it in a RUN before, or give a number.")


def _kind(mode: int) -> FileKind:
    if stat.S_ISDIR(mode):
        return FileKind.DIRECTORY
    return FileKind.LINK if stat.S_ISLNK(mode) else FileKind.FILE


def wanted_sources(copy: Copy) -> list[str]:
    """Absolute paths in another stage that ``copy`` takes."""
    return [f"/{context_path(source)}" for source in copy.sources]
