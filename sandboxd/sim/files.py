"""Files of a simulated sandbox: a flat map of absolute paths in memory. Enough for CALLs; links and permissions are not simulated."""

from __future__ import annotations

import errno
import os
import posixpath
import stat
import time
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from sandboxd.channel.fields import Reader, Writer
from sandboxd.channel.messages import Op

_CREATE: Final = 4
_TRUNCATE: Final = 8
_APPEND: Final = 16
_EXCLUSIVE: Final = 32

Answer = tuple[list[bytes], bytes]
"""Payloads of EVENTs, and the fields of the REPLY."""


class SimFile(msgspec.Struct):
    content: bytearray | None
    """None: a directory."""
    mode: int
    mtime_ns: int
    inode: int


class _Handle(msgspec.Struct):
    file: SimFile
    position: int
    append: bool


class SimFiles:
    """A tree that starts with ``/`` and ``/tmp``."""

    def __init__(self) -> None:
        self._files: dict[str, SimFile] = {}
        self._handles: dict[int, _Handle] = {}
        self._numbers = 0
        for path in ("/", "/tmp"):
            self._files[path] = self._new(None, 0o755)
        self._operations: Mapping[Op, Callable[[Reader], Answer]] = {
            Op.STAT: self._stat,
            Op.LIST: self._list,
            Op.MKDIR: self._mkdir,
            Op.REMOVE: self._remove,
            Op.RENAME: self._rename,
            Op.OPEN: self._open,
            Op.READ: self._read,
            Op.WRITE: self._write,
            Op.SEEK: self._seek,
            Op.FSYNC: self._fsync,
            Op.CLOSE: self._close,
            Op.SYNC: self._sync,
        }

    def call(self, op: Op, reader: Reader) -> Answer:
        """Carry out one CALL. Raises: OSError with the errno for the REPLY."""
        operation = self._operations.get(op)
        if operation is None:
            raise OSError(errno.ENOSYS, "not simulated")
        return operation(reader)

    def _new(self, content: bytearray | None, mode: int) -> SimFile:
        self._numbers += 1
        kind = stat.S_IFDIR if content is None else stat.S_IFREG
        return SimFile(content, kind | mode, time.time_ns(), self._numbers)

    def _find(self, path: str) -> SimFile:
        try:
            return self._files[path]
        except KeyError:
            parent = self._files.get(posixpath.dirname(path))
            raise OSError(errno.ENOTDIR if parent and parent.content is not None else errno.ENOENT, path) from None

    def _parent_of(self, path: str) -> None:
        if self._find(posixpath.dirname(path)).content is not None:
            raise OSError(errno.ENOTDIR, path)

    def _handle(self, reader: Reader) -> _Handle:
        try:
            return self._handles[reader.u32()]
        except KeyError:
            raise OSError(errno.EBADF, "no such handle") from None

    def _stat(self, reader: Reader) -> Answer:
        return [], _stat_fields(Writer(), self._find(_path(reader))).bytes_(b"").done()

    def _list(self, reader: Reader) -> Answer:
        path = _path(reader)
        if self._find(path).content is not None:
            raise OSError(errno.ENOTDIR, path)
        names = sorted(posixpath.basename(name) for name in self._files if name != "/" and posixpath.dirname(name) == path)
        writer = Writer().u32(len(names))
        for name in names:
            _stat_fields(writer.text(name), self._files[posixpath.join(path, name)])
        return [writer.done()], Writer().u64(len(names)).done()

    def _mkdir(self, reader: Reader) -> Answer:
        path, mode, parents = _path(reader), reader.u32(), reader.u8()
        if path in self._files:
            if parents and self._files[path].content is None:
                return [], b""
            raise OSError(errno.EEXIST, path)
        missing = posixpath.dirname(path)
        if parents and missing not in self._files:
            self._mkdir(Reader(Writer().text(missing).u32(mode).u8(1).done()))
        self._parent_of(path)
        self._files[path] = self._new(None, mode)
        return [], b""

    def _remove(self, reader: Reader) -> Answer:
        path, recursive = _path(reader), reader.u8()
        file = self._find(path)
        below = [name for name in self._files if name.startswith(path.rstrip("/") + "/") and name != path]
        if file.content is None and not recursive:
            raise OSError(errno.ENOTEMPTY if below else errno.EISDIR, path)
        for name in (*below, path):
            del self._files[name]
        return [], b""

    def _rename(self, reader: Reader) -> Answer:
        source, target = _path(reader), _path(reader)
        self._find(source)
        self._parent_of(target)
        for name in [name for name in self._files if name == source or name.startswith(source + "/")]:
            self._files[target + name[len(source) :]] = self._files.pop(name)
        return [], b""

    def _open(self, reader: Reader) -> Answer:
        path, flags, mode, read_ahead = _path(reader), reader.u32(), reader.u32(), reader.u32()
        file = self._files.get(path)
        if file is None and flags & _CREATE:
            self._parent_of(path)
            file = self._files[path] = self._new(bytearray(), mode)
        elif file is not None and flags & _EXCLUSIVE:
            raise OSError(errno.EEXIST, path)
        file = file or self._find(path)
        if file.content is None:
            raise OSError(errno.EISDIR, path)
        if flags & _TRUNCATE:
            file.content.clear()
        self._numbers += 1
        data = bytes(file.content[:read_ahead])
        self._handles[self._numbers] = _Handle(file, len(data), bool(flags & _APPEND))
        size = len(file.content)
        return [], Writer().u32(self._numbers).u64(size).bytes_(data).u8(len(data) == size).done()

    def _read(self, reader: Reader) -> Answer:
        handle, count = self._handle(reader), reader.u32()
        assert handle.file.content is not None
        data = bytes(handle.file.content[handle.position : handle.position + count])
        handle.position += len(data)
        return [], Writer().bytes_(data).done()

    def _write(self, reader: Reader) -> Answer:
        number = reader.u32()
        handle = self._handle(Reader(Writer().u32(number).done()))
        then, data = reader.u8(), reader.bytes_()
        assert handle.file.content is not None
        at = len(handle.file.content) if handle.append else handle.position
        handle.file.content[at : at + len(data)] = data
        handle.position = at + len(data)
        if then == 2:
            del self._handles[number]
        return [], Writer().u64(handle.position).done()

    def _seek(self, reader: Reader) -> Answer:
        handle, offset, whence = self._handle(reader), reader.i64(), reader.u8()
        assert handle.file.content is not None
        position = (0, handle.position, len(handle.file.content))[whence] + offset
        if position < 0:
            raise OSError(errno.EINVAL, "negative position")
        handle.position = position
        return [], Writer().u64(position).done()

    def _fsync(self, reader: Reader) -> Answer:
        self._handle(reader)
        return [], b""

    def _sync(self, reader: Reader) -> Answer:
        return [], b""

    def _close(self, reader: Reader) -> Answer:
        number = reader.u32()
        if self._handles.pop(number, None) is None:
            raise OSError(errno.EBADF, "no such handle")
        return [], b""


def _path(reader: Reader) -> str:
    return posixpath.normpath(os.fsdecode(reader.bytes_()))


def _stat_fields(writer: Writer, file: SimFile) -> Writer:
    size = len(file.content) if file.content is not None else 4096
    return writer.u32(file.mode).u32(0).u32(0).u64(size).i64(file.mtime_ns).u64(file.inode).u32(1)
