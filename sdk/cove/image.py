# Written by `make facade` from cove/_async/image.py: change that, not this.
"""Images: the file system that a sandbox starts with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cove._async.image import _Image
from cove._dual import Face, wrap

if TYPE_CHECKING:
    import os


class Image(Face):
    """The file system that a sandbox starts with."""

    __slots__ = ()
    _impl: _Image

    @staticmethod
    def debian_slim(python_version: str | None = None) -> Image:
        """A small Debian with Python.

        Args:    python_version: such as ``"3.11"``; the client's own when left out, if the server has it.
        Raises:  InvalidError: not a version.
        """
        result: Image = wrap(_Image.debian_slim(python_version))
        return result

    @staticmethod
    def from_rootfs(path: str | os.PathLike[str]) -> Image:
        """A root file system that lies as a tarball on the node.

        Args:    path: absolute, on the node.
        Raises:  InvalidError: the path is relative.
        """
        result: Image = wrap(_Image.from_rootfs(path))
        return result


__all__ = ["Image"]
