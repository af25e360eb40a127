"""Images: the file system that a sandbox starts with."""

from __future__ import annotations

import os
import re
import sys

from cove._async.base import Exposed
from cove._transport.connection import Connection
from cove.exception import InvalidError
from cove.wire import common_pb2

_PYTHON = re.compile(r"3\.\d{1,2}(\.\d{1,3})?")


class _Image(Exposed):
    """The file system that a sandbox starts with."""

    def __init__(self, reference: common_pb2.ImageRef | None = None) -> None:
        """``reference`` None: Debian with the Python that suits the client best."""
        self._reference = reference

    @staticmethod
    def debian_slim(python_version: str | None = None) -> _Image:
        """A small Debian with Python.

        Args:    python_version: such as ``"3.11"``; the client's own when left out, if the server has it.
        Raises:  InvalidError: not a version.
        """
        if python_version is None:
            return _Image()
        if not isinstance(python_version, str) or not _PYTHON.fullmatch(python_version):
            raise InvalidError(f"{python_version!r} is not a Python version.", remedy='Give it as a string such as "3.11".')
        return _Image(common_pb2.ImageRef(debian=".".join(python_version.split(".")[:2])))

    @staticmethod
    def from_rootfs(path: str | os.PathLike[str]) -> _Image:
        """A root file system that lies as a tarball on the node.

        Args:    path: absolute, on the node.
        Raises:  InvalidError: the path is relative.
        """
        text = os.fspath(path)
        if not text.startswith("/") or "\0" in text:
            raise InvalidError(f"{text[:80]!r} is not an absolute path.", remedy="Name a tarball on the node by its absolute path.")
        return _Image(common_pb2.ImageRef(rootfs_path=text))


async def reference_of(image: _Image | None, connection: Connection) -> common_pb2.ImageRef:
    """What the wire knows ``image`` by; the default image needs to ask the server once which Pythons it has."""
    if image is not None and image._reference is not None:
        return image._reference
    offered = (await connection.hello()).debian_pythons
    return common_pb2.ImageRef(debian=_best_python(list(offered)))


def _best_python(offered: list[str]) -> str:
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    return own if own in offered or not offered else max(offered, key=_version_key)


def _version_key(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
