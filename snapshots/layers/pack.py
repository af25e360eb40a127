"""``python -m snapshots.layers.pack DIRECTORY RESULT_FD > archive``: a layer directory becomes a zstd layer archive.

The same tree gives the same bytes: names in order, no times but mtimes, no names of users. One line of JSON about the archive, or why there
is none, goes to RESULT_FD. :func:`snapshots.layers.archives.pack_layer` starts it.
"""

from __future__ import annotations

import errno
import os
import resource
import stat
import sys
from collections.abc import Mapping, Sequence
from typing import Final

import zstandard

from cove.exception import ConflictError, InternalFailure, InvalidError, ResourceExhaustedError
from snapshots.digest import Hasher
from snapshots.layers import sparse
from snapshots.layers.child_result import Result, run_and_report
from snapshots.layers.content import CHUNK_BYTES, write_all
from snapshots.layers.directories import readable
from snapshots.layers.overlay import OPAQUE_NAME, WHITEOUT_PREFIX, is_opaque, is_whiteout, read_attributes
from snapshots.layers.sparse import Extent
from snapshots.layers.tar_header import BLOCK_BYTES, Type, padding
from snapshots.layers.tar_writer import NewMember, format_member
from snapshots.layers.walk import Entry, check_unchanged, open_file, read_link, walk

LEVEL: Final = 3
THREADS: Final = 2
"""Fixed, though the result is the same for any number but 0."""
DESCRIPTORS: Final = 2048

_TYPES: Final = {
    stat.S_IFDIR: Type.DIRECTORY,
    stat.S_IFREG: Type.FILE,
    stat.S_IFLNK: Type.SYMLINK,
    stat.S_IFIFO: Type.FIFO,
    stat.S_IFCHR: Type.CHARACTER_DEVICE,
    stat.S_IFBLK: Type.BLOCK_DEVICE,
}


class ArchiveOutput:
    """Compresses and hashes on the way to the descriptor ``fd``."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._pending = bytearray()
        self._compressor = zstandard.ZstdCompressor(level=LEVEL, threads=THREADS, write_checksum=True).compressobj()
        self._tar, self._blob = Hasher(), Hasher()

    def write(self, data: bytes) -> None:
        """Take something small."""
        self._pending += data
        if len(self._pending) >= CHUNK_BYTES:
            self._flush()

    def write_view(self, data: memoryview) -> None:
        """Take something large; its memory is the caller's again on return."""
        self._flush()
        self._pass(data)

    def finish(self, members: int) -> Result:
        """End the archive. Returns: what there is to say about it."""
        self.write(bytes(2 * BLOCK_BYTES))
        self._flush()
        self._out(self._compressor.flush())
        return {
            "digest": self._blob.digest(),
            "diff_id": self._tar.digest(),
            "size_bytes": self._blob.size_bytes,
            "tar_bytes": self._tar.size_bytes,
            "members": members,
        }

    def _flush(self) -> None:
        if self._pending:
            self._pass(memoryview(self._pending))
            self._pending = bytearray()

    def _pass(self, data: memoryview) -> None:
        self._tar.update(data)
        self._out(self._compressor.compress(data))

    def _out(self, compressed: bytes) -> None:
        self._blob.update(compressed)
        write_all(self._fd, memoryview(compressed))


class Packer:
    """Turns entries into members."""

    def __init__(self, output: ArchiveOutput) -> None:
        self._output = output
        self._links: dict[int, bytes] = {}
        """Inode to the name it was packed under, for files of several names: only of those that are in the tree one needs the first."""
        self._buffer = memoryview(bytearray(CHUNK_BYTES))
        self.members = 0

    def add(self, entry: Entry) -> None:
        """Pack one entry. Raises: ConflictError, InvalidError, OSError."""
        status = entry.status
        if entry.parts and entry.name.startswith(WHITEOUT_PREFIX):
            remedy = "Rename or remove it: layer archives use such names for deletions."
            raise InvalidError(f"{readable(entry.parts)} cannot be in a layer.", remedy=remedy)
        if is_whiteout(status):
            self._put(_whiteout(b"/".join((*entry.parts[:-1], WHITEOUT_PREFIX + entry.name))))
        elif stat.S_ISDIR(status.st_mode):
            self._add_directory(entry)
        elif status.st_nlink > 1 and status.st_ino in self._links:
            self._put(_described(entry, Type.HARD_LINK, linkname=self._links[status.st_ino]))
        elif stat.S_ISREG(status.st_mode):
            self._add_file(entry)
        elif stat.S_ISLNK(status.st_mode):
            self._put(_described(entry, Type.SYMLINK, linkname=read_link(entry)))
        elif not stat.S_ISSOCK(status.st_mode):
            self._put(_described(entry, _TYPES[stat.S_IFMT(status.st_mode)]))
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode) and not stat.S_ISSOCK(status.st_mode):
            self._links.setdefault(status.st_ino, b"/".join(entry.parts))

    def _add_directory(self, entry: Entry) -> None:
        self._put(_described(entry, Type.DIRECTORY, xattrs=read_attributes(entry.fd)))
        if is_opaque(entry.fd):
            self._put(_whiteout(b"/".join((*entry.parts, OPAQUE_NAME))))

    def _add_file(self, entry: Entry) -> None:
        fd = open_file(entry)
        try:
            size, xattrs = entry.status.st_size, read_attributes(fd)
            extents = sparse.find_extents(fd, size) if sparse.may_have_holes(entry.status) else [Extent(0, size)]
            if sum(extent.length for extent in extents) == size:
                self._put(_described(entry, Type.FILE, size=size, xattrs=xattrs))
                self._copy(fd, entry, [Extent(0, size)])
            else:
                self._add_sparse(fd, entry, extents, xattrs)
            check_unchanged(fd, entry)
        finally:
            os.close(fd)

    def _add_sparse(self, fd: int, entry: Entry, extents: Sequence[Extent], xattrs: Mapping[str, bytes]) -> None:
        sparse_map = sparse.format_map(extents)
        size = len(sparse_map) + sum(extent.length for extent in extents)
        self._put(_described(entry, Type.FILE, size=size, xattrs=xattrs)._replace(sparse_bytes=entry.status.st_size))
        self._output.write(sparse_map)
        self._copy(fd, entry, extents)

    def _copy(self, fd: int, entry: Entry, extents: Sequence[Extent]) -> None:
        """The extents' data, padded to a whole block."""
        total = 0
        for offset, length in extents:
            total += length
            while length:
                count = os.preadv(fd, [self._buffer[: min(length, CHUNK_BYTES)]], offset)
                if not count:
                    check_unchanged(fd, entry)
                    raise ConflictError(f"{readable(entry.parts)} became shorter while the layer was read.", retryable=True)
                self._write(self._buffer[:count])
                offset, length = offset + count, length - count
        self._output.write(bytes(padding(total)))

    def _write(self, view: memoryview) -> None:
        if len(view) < CHUNK_BYTES // 2:
            self._output.write(bytes(view))
        else:
            self._output.write_view(view)

    def _put(self, member: NewMember) -> None:
        self.members += 1
        self._output.write(format_member(member))


def _described(entry: Entry, kind: Type, *, size: int = 0, linkname: bytes = b"", xattrs: Mapping[str, bytes] | None = None) -> NewMember:
    status = entry.status
    device = status.st_rdev if kind in (Type.CHARACTER_DEVICE, Type.BLOCK_DEVICE) else 0
    return NewMember(
        name=b"/".join(entry.parts or (b".",)) + (b"/" if kind is Type.DIRECTORY else b""),
        type=kind,
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        mtime_ns=status.st_mtime_ns,
        size_bytes=size,
        linkname=linkname,
        major=os.major(device),
        minor=os.minor(device),
        xattrs=xattrs or {},
    )


def _whiteout(name: bytes) -> NewMember:
    return NewMember(name=name, type=Type.FILE)


def pack(root: int, output: int) -> Result:
    """Pack the tree below ``root`` into ``output``, both descriptors.

    Raises:  Error: typed as :func:`snapshots.layers.archives.pack_layer` says.
    """
    packer = Packer(archive := ArchiveOutput(output))
    try:
        for entry in walk(root):
            packer.add(entry)
        return archive.finish(packer.members)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ResourceExhaustedError("The disk is full.", remedy="Free space on the node, or add a larger disk.") from error
        raise InternalFailure(f"The layer could not be packed: {error.strerror}.") from error


def main(arguments: list[str]) -> int:
    """Returns the exit status."""
    directory, result = arguments
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
    root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    return run_and_report(int(result), lambda: pack(root, 1))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
