"""Methods of sandboxes that act on their files."""

from __future__ import annotations

import builtins
import os
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, overload

from cove._async import _filesystem, _transfer, _watch, file_io
from cove._async.base import Part
from cove._async.file_io import _FileIO
from cove._transport.connection import Connection
from cove._transport.data import DataPlane
from cove.types import FileStat, FileWatchEvent, FileWatchEventType

if TYPE_CHECKING:
    from _typeshed import OpenBinaryMode, OpenTextMode

Path = str | os.PathLike[str]


class Files(Part):
    """What has files that can be read, written and watched from here. The class that derives from it has a method ``list``."""

    def __init__(self, connection: Connection, plane: DataPlane) -> None:
        self._connection = connection
        self._plane = plane

    @overload
    async def open(self, path: Path, mode: OpenTextMode = "r") -> _FileIO[str]: ...

    @overload
    async def open(self, path: Path, mode: OpenBinaryMode) -> _FileIO[bytes]: ...

    async def open(self, path: Path, mode: OpenTextMode | OpenBinaryMode = "r") -> _FileIO[str] | _FileIO[bytes]:
        """Open a file in the sandbox, as the builtin ``open`` does here.

        Args:
            path: absolute, or relative to the sandbox's working directory.
            mode: as for the builtin.
        Raises:
            OSError: as the builtin ``open`` raises it (FileNotFoundError and so on).
        """
        return await file_io.open_file(self._plane, path, mode, self._connection.errand)

    async def ls(self, path: Path) -> builtins.list[str]:
        """Names in a directory, sorted.

        Raises:  OSError: as ``os.listdir``.
        """
        return await _filesystem.list_names(self._plane, path)

    async def mkdir(self, path: Path, parents: bool = False) -> None:
        """Make a directory.

        Args:    parents: make missing parents too, and accept that it exists.
        Raises:  OSError: as ``os.mkdir``.
        """
        await _filesystem.make_directory(self._plane, path, parents=parents)

    async def rm(self, path: Path, recursive: bool = False) -> None:
        """Remove a file or an empty directory.

        Args:    recursive: a directory with everything in it. Symbolic links are removed, never followed.
        Raises:  OSError: as ``os.remove``.
        """
        await _filesystem.remove(self._plane, path, recursive=recursive)

    async def stat(self, path: Path, follow: bool = True) -> FileStat:
        """What kind of file it is, how large, whose.

        Args:    follow: follow a symbolic link.
        Raises:  OSError: as ``os.stat``.
        """
        return await _filesystem.stat(self._plane, path, follow=follow)

    async def rename(self, source: Path, target: Path) -> None:
        """Rename a file or directory inside the sandbox, replacing a file of that name.

        Raises:  OSError: as ``os.replace``.
        """
        await _filesystem.rename(self._plane, source, target)

    def watch(
        self,
        path: Path,
        filter: builtins.list[FileWatchEventType] | None = None,
        recursive: bool | None = None,
        timeout: float | None = None,
    ) -> AsyncIterator[FileWatchEvent]:
        """Watch a file or a directory for changes.

        Args:
            filter: only events of these types.
            recursive: everything below the directory too.
            timeout: seconds after which the iteration ends.
        Raises:
            OSError: nothing there to watch.
        """
        return _watch.Watch(self._plane, path, filter=filter, recursive=bool(recursive), timeout_s=timeout)

    async def upload(self, local: Path, remote: Path) -> None:
        """Copy a local file or directory of any size into the sandbox.

        Args:
            local: a file, or a directory, which is copied with everything in it.
            remote: what it will be called there; parents are made. An existing directory is merged into.
        Raises:
            OSError: of either side.
        """
        await _transfer.upload(self._connection, self._plane, local, remote)

    async def download(self, remote: Path, local: Path) -> None:
        """Copy a file or directory of any size out of the sandbox. What comes is written below ``local`` and nowhere else.

        Args:
            remote: a file, or a directory, which is copied with everything in it.
            local: what it will be called here; its parent must exist. An existing directory is merged into.
        Raises:
            OSError: of either side.
            FilesystemExecutionError: the sandbox sent something that does not belong into the directory; what came before it stays.
        """
        await _transfer.download(self._connection, self._plane, remote, local)
