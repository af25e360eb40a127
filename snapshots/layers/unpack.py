"""``python -m snapshots.layers.unpack DIRECTORY ORDER RESULT_FD < archive``: a layer archive of anybody becomes a layer directory.

It runs as a child process that changes its root to DIRECTORY, which is empty, before it reads the first byte. Inside, no link is followed.
ORDER is the JSON of :class:`snapshots.layers.limits.Order`; one line of JSON about what was unpacked, or why not, goes to RESULT_FD.
Loads nothing after the change of root. :func:`snapshots.layers.archives.unpack_archive` starts it.
"""

from __future__ import annotations

import errno
import os
import resource
import stat
import sys
from collections import defaultdict
from functools import partial
from typing import Final

from cove.exception import DataLossError, Error, InternalFailure, InvalidError, ResourceExhaustedError
from snapshots.layers.child_result import Result, run_and_report
from snapshots.layers.compressed import CompressedInput, decompressed
from snapshots.layers.content import write_all, write_extents
from snapshots.layers.directories import Parts, clean_parts, readable
from snapshots.layers.layer_writer import LayerWriter, Metadata
from snapshots.layers.limits import Order, order_from_json
from snapshots.layers.overlay import AUFS_PREFIX, OPAQUE_NAME, WHITEOUT_DEVICE, WHITEOUT_PREFIX, belongs_to_layer
from snapshots.layers.tar_header import Type
from snapshots.layers.tar_reader import Member, TarReader, TarStream

NAMED_IN_NOTE: Final = 5
DESCRIPTORS: Final = 4096
"""Directories held open, twice :data:`limits.MAX_DEPTH` and some."""
_CHECK_SPACE_BYTES: Final = 64 * 2**20
_CHECK_SPACE_MEMBERS: Final = 1_000
_DEVICES: Final = {Type.CHARACTER_DEVICE: stat.S_IFCHR, Type.BLOCK_DEVICE: stat.S_IFBLK}
_HOST_FAILURES: Final = frozenset({errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EROFS})
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class Unpacker:
    """Puts members into the directory ``root`` and notes what it left out."""

    def __init__(self, root: int, reader: TarReader, order: Order) -> None:
        self._root = root
        self._reader = reader
        self._limits = order.limits
        self._devices = order.devices
        self._left_out: defaultdict[str, list[str]] = defaultdict(list)
        self._counts: defaultdict[str, int] = defaultdict(int)
        self._unchecked_bytes = 0

    def run(self) -> None:
        """Unpack all members. Raises: Error, OSError."""
        writer = LayerWriter(self._root)
        finished = False
        try:
            for member in self._reader:
                self._check_space(member)
                self._place(writer, member)
            finished = True
        finally:
            writer.close(finished=finished)

    def notes(self) -> list[str]:
        """What was left out, by kind: how many and the first few names."""
        rows = []
        for kind, names in self._left_out.items():
            more = " and more" if self._counts[kind] > len(names) else ""
            rows.append(f"{self._counts[kind]} {kind} left out: {', '.join(names)}{more}")
        return rows

    def _place(self, writer: LayerWriter, member: Member) -> None:
        parts = clean_parts(member.name)
        special = [number for number, name in enumerate(parts) if name.startswith(WHITEOUT_PREFIX)]
        if special:
            if special != [len(parts) - 1] or member.type is Type.DIRECTORY:
                raise InvalidError(f"{readable(parts)} uses the name of a whiteout for a directory.")
            self._place_whiteout(writer, parts)
            return
        metadata = Metadata(member.mode, member.uid, member.gid, member.mtime_ns, self._attributes(parts, member))
        match member.type:
            case Type.DIRECTORY:
                writer.directory(parts, metadata)
            case Type.SYMLINK:
                writer.symlink(parts, metadata, member.linkname)
            case Type.HARD_LINK:
                writer.hard_link(parts, clean_parts(member.linkname))
            case Type.FIFO:
                writer.node(parts, metadata._replace(mode=member.mode | stat.S_IFIFO))
            case Type.CHARACTER_DEVICE | Type.BLOCK_DEVICE:
                self._make_device(writer, parts, member, metadata)
            case _:
                writer.file(parts, metadata, partial(self._fill, member))

    def _place_whiteout(self, writer: LayerWriter, parts: Parts) -> None:
        *above, name = parts
        hidden = name.removeprefix(WHITEOUT_PREFIX)
        if hidden in (b"", b".", b".."):
            raise InvalidError(f"{readable(parts)} is not a whiteout that could be.")
        if name == OPAQUE_NAME:
            writer.opaque(tuple(above))
        elif name.startswith(AUFS_PREFIX):
            self._leave_out("records of aufs", parts)
        else:
            writer.whiteout((*above, hidden))

    def _make_device(self, writer: LayerWriter, parts: Parts, member: Member, metadata: Metadata) -> None:
        device = os.makedev(member.major, member.minor)
        if self._devices and not (member.type is Type.CHARACTER_DEVICE and device == WHITEOUT_DEVICE):
            writer.node(parts, metadata._replace(mode=member.mode | _DEVICES[member.type]), device)
        else:
            self._leave_out("device nodes", parts)

    def _attributes(self, parts: Parts, member: Member) -> dict[str, bytes]:
        """Those that a file or directory keeps; nothing that would mean something to overlayfs or the host."""
        if not member.xattrs:
            return {}
        names = {name: os.fsdecode(name) for name in member.xattrs}
        if not member.is_file and member.type is not Type.DIRECTORY:
            names = {}
        kept = {name: text for name, text in names.items() if belongs_to_layer(text)}
        if len(kept) < len(member.xattrs):
            self._leave_out("files' foreign attributes", parts)
        return {text: member.xattrs[name] for name, text in kept.items()}

    def _fill(self, member: Member, fd: int) -> None:
        if member.extents is None:
            for view in self._reader.data():
                write_all(fd, view)
                self._count_bytes(len(view))
        else:
            write_extents(fd, self._reader.data(), member.extents, member.real_bytes)

    def _leave_out(self, kind: str, parts: Parts) -> None:
        self._counts[kind] += 1
        if len(self._left_out[kind]) < NAMED_IN_NOTE:
            self._left_out[kind].append(readable(parts))

    def _check_space(self, member: Member) -> None:
        if member.stored_bytes >= _CHECK_SPACE_BYTES or self._reader.members % _CHECK_SPACE_MEMBERS == 1:
            self._check_reserve(member.stored_bytes)

    def _count_bytes(self, count: int) -> None:
        self._unchecked_bytes += count
        if self._unchecked_bytes >= _CHECK_SPACE_BYTES:
            self._unchecked_bytes = 0
            self._check_reserve(0)

    def _check_reserve(self, needed: int) -> None:
        free = os.fstatvfs(self._root)
        if free.f_bavail * free.f_frsize < needed + self._limits.reserve_bytes:
            raise ResourceExhaustedError(
                f"The archive does not fit on this disk and leave {self._limits.reserve_bytes >> 20} MiB free.",
                remedy="Free space on the node, or add a larger disk.",
            )


def unpack(root: int, source: CompressedInput, order: Order) -> Result:
    """Unpack all of ``source`` into the directory ``root`` and verify it.

    Raises:  Error: typed as :func:`snapshots.layers.archives.unpack_archive` says.
    """
    try:
        return _unpack(root, source, order)
    except InvalidError:
        if order.expect.digest is not None:
            source.drain()
            source.check(order.expect)  # damaged on the way is another matter than made badly
        raise
    except (OSError, ValueError, OverflowError, MemoryError) as error:
        raise _typed(error) from error


def _unpack(root: int, source: CompressedInput, order: Order) -> Result:
    stream = TarStream(decompressed(source, order.limits))
    reader = TarReader(stream, order.limits)
    unpacker = Unpacker(root, reader, order)
    unpacker.run()
    if not reader.ended and order.expect.digest is None and order.expect.diff_id is None:
        raise InvalidError("The archive is cut off: it has no end.")  # with a digest, its maker left the end out
    source.check(order.expect)
    if order.expect.diff_id not in (None, stream.digest()):
        raise DataLossError(f"The archive's tar has the digest {stream.digest()} instead of {order.expect.diff_id}.")
    return {
        "digest": source.digest(),
        "diff_id": stream.digest(),
        "size_bytes": source.size_bytes,
        "tar_bytes": stream.size_bytes,
        "members": reader.members,
        "notes": unpacker.notes(),
    }


def _typed(error: Exception) -> Error:
    """What a system call's failure says: of the disk, of this machine, or of the archive."""
    code = error.errno if isinstance(error, OSError) else None
    if code in _FULL:
        return ResourceExhaustedError("The disk is full.", remedy="Free space on the node, or add a larger disk.")
    if code in _HOST_FAILURES:
        return InternalFailure(f"The archive could not be written: {os.strerror(code or 0)}.")
    what = os.strerror(code) if code else type(error).__name__
    return InvalidError(f"The archive has something that cannot be unpacked: {what}.")


def main(arguments: list[str]) -> int:
    """Returns the exit status."""
    directory, order_text, result = arguments
    order = order_from_json(order_text)
    source = CompressedInput(0, order.expect.size_bytes)
    os.umask(0)
    resource.setrlimit(resource.RLIMIT_AS, (order.limits.memory_bytes, order.limits.memory_bytes))
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
    os.chroot(directory)
    os.chdir("/")
    root = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    return run_and_report(int(result), lambda: unpack(root, source, order))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
