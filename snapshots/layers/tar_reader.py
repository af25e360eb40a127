"""Reads a tar archive of someone we do not trust, member by member, in one pass and bounded memory. No file system here.

Own code, not tarfile: that one keeps every member, lets an archive choose how much it allocates, and is slower than the file system.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from cove.exception import InvalidError, RequestSizeError
from snapshots.digest import Hasher
from snapshots.layers import pax, sparse
from snapshots.layers.limits import MAX_PATH_BYTES, Limits
from snapshots.layers.sparse import Extent
from snapshots.layers.tar_header import BLOCK_BYTES, END, EXTENSIONS, Header, Type, padding, parse_header

MAX_TRAILER_BYTES: Final = 2**20
"""Zeros after the end; GNU tar fills up to 10 KiB, tapes more."""

_HEADERS_PER_MEMBER: Final = 4
"""With extended headers, PAX and GNU's two."""
_FILES: Final = frozenset({Type.V7_FILE, Type.FILE, Type.CONTIGUOUS_FILE, Type.GNU_SPARSE})
_CUT_OFF: Final = "The archive is cut off: it ends in the middle of a member."


class Member(NamedTuple):
    """One entry of an archive, with what extended headers said about it. Names are as they stand there, not yet to be trusted."""

    name: bytes
    type: Type
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    linkname: bytes
    major: int
    minor: int
    stored_bytes: int
    """Of data that follow in the archive, a sparse map included."""
    real_bytes: int
    """Of the file."""
    xattrs: Mapping[bytes, bytes]
    extents: Sequence[Extent] | None = None
    """Of a sparse file."""

    @property
    def is_file(self) -> bool:
        return self.type in _FILES


class TarStream:
    """Decompressed bytes with a position: exact reads for headers, views without a copy for data. Hashes all that it is given."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._chunk = memoryview(b"")
        self._position = 0
        self._hasher = Hasher()

    @property
    def size_bytes(self) -> int:
        return self._hasher.size_bytes

    @property
    def position_bytes(self) -> int:
        """What was taken from it so far."""
        return self.size_bytes - len(self._chunk) + self._position

    def digest(self) -> str:
        return self._hasher.digest()

    def read(self, size: int) -> bytes:
        """``size`` bytes. Raises: InvalidError: the archive ends before."""
        data = self.take(size)
        if len(data) < size:
            raise InvalidError(_CUT_OFF)
        return data

    def take(self, size: int) -> bytes:
        """``size`` bytes, fewer at the end of the archive."""
        end = self._position + size
        if end <= len(self._chunk):
            data = bytes(self._chunk[self._position : end])
            self._position = end
            return data
        return b"".join(self.views(size))

    def views(self, size: int) -> Iterator[memoryview]:
        """``size`` bytes in pieces, fewer at the end of the archive. A piece is good until the next one is asked for."""
        while size and (self._position < len(self._chunk) or self._advance()):
            view = self._chunk[self._position : self._position + size]
            self._position += len(view)
            size -= len(view)
            yield view

    def _advance(self) -> bool:
        for chunk in self._chunks:
            if chunk:
                self._hasher.update(chunk)
                self._chunk, self._position = memoryview(chunk), 0
                return True
        return False


class TarReader:
    """Iterates over members; between two of them, :meth:`data` gives the first one's."""

    def __init__(self, stream: TarStream, limits: Limits) -> None:
        self._stream = stream
        self._limits = limits
        self._left = 0
        self._padding = 0
        self._declared = 0
        self._headers = 0
        self.members = 0
        self.ended = False
        """Whether the archive had an end of its own, not only one of its bytes."""

    def __iter__(self) -> Iterator[Member]:
        while (block := self._next_block()) is not None:
            member = self._member(block)
            if member is not None:
                yield member

    def data(self) -> Iterator[memoryview]:
        """The member's data in pieces. Raises: InvalidError: the archive ends before."""
        for view in self._stream.views(self._left):
            self._left -= len(view)
            yield view
        if self._left:
            raise InvalidError(_CUT_OFF)

    def _next_block(self) -> bytes | None:
        """The next header; None after the last."""
        for _ in self.data() if self._left else ():
            pass
        if self._padding:
            self._stream.read(self._padding)
            self._padding = 0
        block = self._stream.take(BLOCK_BYTES)
        if block == END:
            self.ended = True
            self._read_trailer()
            return None
        if 0 < len(block) < BLOCK_BYTES:
            raise InvalidError(_CUT_OFF)
        return block or None

    def _read_trailer(self) -> None:
        size = 0
        for view in self._stream.views(MAX_TRAILER_BYTES + 1):
            size += len(view)
            if any(view):
                raise InvalidError("The archive goes on after its end.")
        if size > MAX_TRAILER_BYTES:
            raise InvalidError("The archive goes on after its end.")

    def _member(self, block: bytes) -> Member | None:
        """Read a header with the extended ones before it. Returns: None where only something for all members stood there."""
        records: dict[bytes, bytes] = {}
        header = self._header(block)
        while header.type in EXTENSIONS:
            extension = self._extension(header)
            if header.type is not Type.PAX_GLOBAL:  # comments of whoever made the archive; what they say of files, nobody heeds
                records |= extension
            elif not records:
                return None
            block = self._stream.read(BLOCK_BYTES)
            header = self._header(block)
        member = _combined(header, records)
        if member.type is Type.GNU_SPARSE:
            extents, real = sparse.read_old_map(block, self._stream.read)
            member = member._replace(extents=extents, real_bytes=real)
        self._begin(member)
        return self._with_map(member, records) if member.is_file else member

    def _header(self, block: bytes) -> Header:
        self._headers += 1
        if self._headers > _HEADERS_PER_MEMBER * self._limits.members:
            raise RequestSizeError(f"The archive has more than {_HEADERS_PER_MEMBER * self._limits.members} headers.")
        return parse_header(block)

    def _extension(self, header: Header) -> dict[bytes, bytes]:
        if not 0 <= header.size_bytes <= self._limits.extended_header_bytes:
            raise RequestSizeError(f"The archive has an extended header of {header.size_bytes} bytes.")
        data = self._stream.read(header.size_bytes)
        self._stream.read(padding(header.size_bytes))
        if header.type is Type.GNU_LONG_NAME:
            return {b"path": data.partition(b"\0")[0]}
        if header.type is Type.GNU_LONG_LINK:
            return {b"linkpath": data.partition(b"\0")[0]}
        return pax.parse_records(data)

    def _begin(self, member: Member) -> None:
        self.members += 1
        if self.members > self._limits.members:
            raise RequestSizeError(f"The archive has more than {self._limits.members} members.")
        self._left, self._padding = member.stored_bytes, padding(member.stored_bytes)
        self._declared += member.stored_bytes
        if self._declared > self._limits.declared_bytes:
            raise RequestSizeError(f"The archive's files have more than {self._limits.declared_bytes} bytes.")

    def _with_map(self, member: Member, records: Mapping[bytes, bytes]) -> Member:
        """``member`` with its sparse map, which may stand at the start of its data."""
        name, real = sparse.pax_fields(records)
        extents = member.extents
        if records.get(b"GNU.sparse.major") == b"1":
            extents = sparse.read_map(self._read_data)
        elif b"GNU.sparse.map" in records:
            extents = sparse.parse_map(records[b"GNU.sparse.map"])
        elif any(key.startswith(b"GNU.sparse.") for key in records):
            raise InvalidError("The archive has a sparse file of a form that is not supported.")
        if extents is None:
            return member
        member = member._replace(name=name or member.name, real_bytes=member.real_bytes if real is None else real, extents=extents)
        sparse.check_extents(extents, stored_bytes=self._left, real_bytes=member.real_bytes)
        return member

    def _read_data(self, size: int) -> bytes:
        if size > self._left:
            raise InvalidError(_CUT_OFF)
        self._left -= size
        return self._stream.read(size)


def _combined(header: Header, records: Mapping[bytes, bytes]) -> Member:
    size = pax.parse_number(records[b"size"]) if b"size" in records else header.size_bytes
    name, linkname = records.get(b"path", header.name), records.get(b"linkpath", header.linkname)
    if size < 0 or len(name) > MAX_PATH_BYTES or len(linkname) > MAX_PATH_BYTES or b"\0" in name + linkname:
        raise InvalidError(f"The archive has a member of a negative size, or with a name of more than {MAX_PATH_BYTES} bytes or a NUL.")
    kind = Type.DIRECTORY if header.type is Type.V7_FILE and name.endswith(b"/") else header.type
    stored = size if kind in _FILES else 0
    return Member(
        name=name,
        type=kind,
        mode=header.mode & 0o7777,
        uid=pax.parse_number(records[b"uid"]) if b"uid" in records else header.uid,
        gid=pax.parse_number(records[b"gid"]) if b"gid" in records else header.gid,
        mtime_ns=pax.parse_time(records[b"mtime"]) if b"mtime" in records else header.mtime_s * 1_000_000_000,
        linkname=linkname,
        major=header.major,
        minor=header.minor,
        stored_bytes=stored,
        real_bytes=stored,
        xattrs=pax.attributes(records),
    )
