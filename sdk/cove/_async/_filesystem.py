"""Files of one sandbox by path: what :class:`_Sandbox` offers for directories and watching. Errors are the ``OSError`` family's."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Final

from cove import _spec
from cove._transport.data import DataPlane
from cove._transport.methods import FILE_LIST, FILE_MAKE_DIRECTORY, FILE_REMOVE, FILE_RENAME, FILE_STAT
from cove._transport.plane import Stream
from cove.exception import Error
from cove.types import FileStat
from cove.wire import data_pb2

MAX_ENTRIES: Final = 1_000_000
"""Entries of one directory that a listing returns at most: the sandbox must not fill the client's memory."""


@contextlib.contextmanager
def os_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn the node's report of a failed file operation into the OSError that a local one would have raised."""
    try:
        yield
    except Error as error:
        number = error.context.get("errno", "")
        if error.code != "file_error" or not number.isdigit():
            raise
        raise OSError(int(number), os.strerror(int(number)), os.fspath(path)) from error


async def stat(plane: DataPlane, path: str | os.PathLike[str], *, follow: bool = True) -> FileStat:
    """See ``Sandbox.stat``."""
    request = data_pb2.FileStatRequest(sandbox_id=plane.sandbox_id, path=_spec.path(path), no_follow=not follow)
    with os_errors(path):
        return _stat((await plane.call(FILE_STAT, request)).info)


async def list_names(plane: DataPlane, path: str | os.PathLike[str]) -> list[str]:
    """See ``Sandbox.ls``. Names that are not UTF-8 come with surrogate escapes, which lead back to the same bytes."""
    request = data_pb2.FileListRequest(sandbox_id=plane.sandbox_id, path=_spec.path(path))
    stream = Stream(plane, FILE_LIST, lambda: request)
    names: list[str] = []
    try:
        with os_errors(path):
            while (chunk := await stream.read()) is not None and len(names) < MAX_ENTRIES:
                names.extend(_name(entry) for entry in chunk.entries)
    finally:
        stream.cancel()
    return names[:MAX_ENTRIES]


async def make_directory(plane: DataPlane, path: str | os.PathLike[str], *, parents: bool) -> None:
    """See ``Sandbox.mkdir``."""
    request = data_pb2.FileMakeDirectoryRequest(sandbox_id=plane.sandbox_id, path=_spec.path(path), parents=parents)
    with os_errors(path):
        await plane.call(FILE_MAKE_DIRECTORY, request)


async def remove(plane: DataPlane, path: str | os.PathLike[str], *, recursive: bool) -> None:
    """See ``Sandbox.rm``."""
    request = data_pb2.FileRemoveRequest(sandbox_id=plane.sandbox_id, path=_spec.path(path), recursive=recursive)
    with os_errors(path):
        await plane.call(FILE_REMOVE, request)


async def rename(plane: DataPlane, source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """See ``Sandbox.rename``."""
    request = data_pb2.FileRenameRequest(
        sandbox_id=plane.sandbox_id, source=_spec.path(source, what="source"), target=_spec.path(target, what="target")
    )
    with os_errors(source):
        await plane.call(FILE_RENAME, request)


def _name(info: data_pb2.FileInfo) -> str:
    return (info.name_bytes or info.name.encode()).decode("utf-8", "surrogateescape")


def _stat(info: data_pb2.FileInfo) -> FileStat:
    return FileStat(
        name=_name(info),
        mode=info.mode,
        uid=info.uid,
        gid=info.gid,
        size_bytes=info.size_bytes,
        mtime_ns=info.mtime_ns,
        link_target=info.link_target or None,
    )
