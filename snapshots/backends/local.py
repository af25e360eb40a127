"""Objects as files below one directory, shared by all processes of the machine.

::

    objects/<name>        what is published; a file is complete and durable from the moment it has its name
    staged/<random>       what is being written; its writer holds a lock on it, so a file without one was left by a crash

Publishing is: fsync the file, link it under a second staged name, rename that over the object, fsync the directory. The first name stays
until the writer leaves, so that publishing can be repeated.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

from cove.exception import AlreadyExistsError, DataLossError, Error, InternalError, InvalidError, NotFoundError, ResourceExhaustedError
from snapshots.backends.protocol import ObjectInfo, check_conditional, check_name, check_prefix
from snapshots.backends.threads import in_thread, opened_in_thread
from snapshots.digest import Chunk

CHUNK_BYTES: Final = 1 << 20

WRITEBACK_BYTES: Final = 8 << 20
"""Of a file that is being written, handed to the disk at a time, so that little is left to wait for when it has to be durable."""

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EMFILE, errno.ENFILE})


class LocalBackend:
    """Objects below ``directory``; :meth:`create` makes what it needs.

    Args:
        reserve_bytes: free space that writing leaves on the file system, for whoever else lives there.
    """

    def __init__(self, directory: Path, *, reserve_bytes: int = 0) -> None:
        self.objects = directory / "objects"
        self.staged = directory / "staged"
        self._reserve_bytes = reserve_bytes

    @property
    def chunk_bytes(self) -> int:
        return CHUNK_BYTES

    async def create(self) -> None:
        """Make the directories, for their owner alone. Raises: ResourceExhaustedError, InternalError: the file system does not let us."""
        await in_thread(self._create)

    def _create(self) -> None:
        with errors_of(str(self.objects.parent)):
            for directory in (self.objects, self.staged):
                _make_directory(directory)

    @asynccontextmanager
    async def stage(self) -> AsyncIterator[LocalStaged]:
        async with opened_in_thread(lambda: LocalStaged(self), LocalStaged.close) as staged:
            yield staged

    @asynccontextmanager
    async def open(self, name: str) -> AsyncIterator[LocalReader]:
        path = self.objects / check_name(name)
        async with opened_in_thread(lambda: LocalReader(name, path), LocalReader.close) as reader:
            yield reader

    async def stat(self, name: str) -> ObjectInfo:
        return await in_thread(self._stat, check_name(name))

    def _stat(self, name: str) -> ObjectInfo:
        with errors_of(name):
            return _info(name, (self.objects / name).stat())

    async def delete(self, name: str) -> None:
        await in_thread(self._delete, check_name(name))

    def _delete(self, name: str) -> None:
        with errors_of(name):
            (self.objects / name).unlink(missing_ok=True)

    async def list_(self, prefix: str) -> AsyncGenerator[ObjectInfo, None]:
        pending = [check_prefix(prefix)]
        while pending:
            infos, below = await in_thread(self._scan, pending.pop())
            pending += below
            for info in infos:
                yield info

    def _scan(self, prefix: str) -> tuple[list[ObjectInfo], list[str]]:
        """Objects directly below ``prefix``, and the prefixes of the directories there."""
        infos, below = [], []
        with errors_of(prefix), contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(self.objects / prefix) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):  # deleted since
                    if entry.is_dir(follow_symlinks=False):
                        below.append(f"{prefix}{entry.name}/")
                    elif entry.is_file(follow_symlinks=False):
                        infos.append(_info(prefix + entry.name, entry.stat(follow_symlinks=False)))
        return infos, below

    async def sweep(self) -> int:
        return await in_thread(self._sweep)

    def _sweep(self) -> int:
        with errors_of(str(self.staged)):
            return sum(_remove_if_left(path) for path in self.staged.iterdir())

    def check_space(self, size_bytes: int) -> None:
        """Raises: ResourceExhaustedError: ``size_bytes`` more would eat into the reserve."""
        state = os.statvfs(self.staged)
        if self._reserve_bytes and state.f_bavail * state.f_frsize < self._reserve_bytes + size_bytes:
            raise _full(f"less than its reserve of {self._reserve_bytes} bytes would be left")


class LocalStaged:
    """:class:`snapshots.backends.protocol.Staged`. Made in a thread: creates the file and takes its lock."""

    def __init__(self, backend: LocalBackend) -> None:
        self._backend = backend
        with errors_of("a new object"):
            self._path, self._fd = _create_locked(backend.staged)
        self._size_bytes = self._handed_bytes = 0

    async def write(self, chunk: Chunk) -> None:
        await in_thread(self._write, memoryview(chunk).cast("B"))

    def _write(self, rest: memoryview) -> None:
        with errors_of("a new object"):
            self._backend.check_space(rest.nbytes)
            while rest:
                written = os.write(self._fd, rest)
                rest, self._size_bytes = rest[written:], self._size_bytes + written
            if self._size_bytes - self._handed_bytes >= WRITEBACK_BYTES:
                self._start_writeback()

    def _start_writeback(self) -> None:
        """Have the kernel begin to write what is new, without waiting for it. Source: Linux, mm/fadvise.c, POSIX_FADV_DONTNEED.

        The pages stay cached, because they are not clean yet. Elsewhere the advice may do nothing: only fsync counts.
        """
        os.posix_fadvise(self._fd, self._handed_bytes, self._size_bytes - self._handed_bytes, os.POSIX_FADV_DONTNEED)
        self._handed_bytes = self._size_bytes

    async def publish(self, name: str, *, if_absent: bool = False) -> None:
        await in_thread(self._publish, check_name(name), if_absent)

    def _publish(self, name: str, if_absent: bool) -> None:
        target = self._backend.objects / name
        with errors_of(name):
            os.utime(self._fd)
            os.fsync(self._fd)
            _make_directory(target.parent)
            if if_absent:
                check_conditional(os.fstat(self._fd).st_size)
                os.link(self._path, target)
            else:
                self._replace(target)
            _sync_directory(target.parent)

    def _replace(self, target: Path) -> None:
        second = self._path.with_name(f"{self._path.name}.link")
        second.unlink(missing_ok=True)
        os.link(self._path, second)
        second.rename(target)
        second.unlink(missing_ok=True)  # still there if both were links to one file: rename(2) does nothing then

    def close(self) -> None:
        """Forget the staged names. In a thread; what cannot be removed now is what a sweep finds."""
        with errors_of("a new object"), contextlib.ExitStack() as closing:
            closing.callback(os.close, self._fd)
            self._path.with_name(f"{self._path.name}.link").unlink(missing_ok=True)
            self._path.unlink(missing_ok=True)


class LocalReader:
    """:class:`snapshots.backends.protocol.Reader`. Made in a thread; an open file stays readable when its name goes to another."""

    def __init__(self, name: str, path: Path) -> None:
        with errors_of(name), contextlib.ExitStack() as opened:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            opened.callback(os.close, self._fd)
            self.info = _info(name, os.fstat(self._fd))
            opened.pop_all()

    async def read_at(self, offset_bytes: int, size_bytes: int) -> bytes:
        return await in_thread(self._read_at, offset_bytes, size_bytes)

    def _read_at(self, offset_bytes: int, size_bytes: int) -> bytes:
        with errors_of(self.info.name):
            return os.pread(self._fd, size_bytes, offset_bytes)

    def close(self) -> None:
        os.close(self._fd)


@contextmanager
def errors_of(what: str) -> Iterator[None]:
    """Turn what the file system says about ``what`` into our errors."""
    try:
        yield
    except OSError as error:
        raise _translated(what, error) from error


def _translated(what: str, error: OSError) -> Error:
    if isinstance(error, FileNotFoundError):
        return NotFoundError(f"The store has no {what}.")
    if isinstance(error, FileExistsError):
        return AlreadyExistsError(f"There is an object {what} already.")
    if isinstance(error, NotADirectoryError | IsADirectoryError):
        return InvalidError(f"The name {what} begins, or is begun by, another object's.")
    if error.errno in _FULL:
        return _full(str(error.strerror))
    if error.errno == errno.EIO:
        return DataLossError(f"The disk cannot read or write {what}.", remedy="Check the disk; the kernel's log says more.")
    return InternalError(f"The store's directory does not work: {what}: {error.strerror}.", remedy="Check its owner and its file system.")


def _full(why: str) -> ResourceExhaustedError:
    return ResourceExhaustedError(f"The store's file system has no room: {why}.", remedy="Free space there, or prune what is not used.")


def _info(name: str, status: os.stat_result) -> ObjectInfo:
    """Raises: FileNotFoundError: a directory, which is part of other objects' names and no object itself."""
    if not stat.S_ISREG(status.st_mode):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
    return ObjectInfo(name, status.st_size, status.st_mtime, f"{status.st_ino}-{status.st_mtime_ns}")


def _create_locked(directory: Path) -> tuple[Path, int]:
    """A new file with a lock on it. A sweeper may get at it before the lock is ours; then there must be another."""
    while True:
        path = directory / secrets.token_hex(16)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
        if os.fstat(fd).st_nlink:
            return path, fd
        os.close(fd)


def _remove_if_left(path: Path) -> bool:
    """Remove a staged file whose writer is gone: nobody holds its lock."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


def _make_directory(directory: Path) -> None:
    """Make ``directory`` and what is missing above it; each is durable before anything is put into it."""
    try:
        directory.mkdir(mode=0o700)
    except FileExistsError:
        return
    except FileNotFoundError:
        _make_directory(directory.parent)
        directory.mkdir(mode=0o700, exist_ok=True)
    _sync_directory(directory.parent)


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
