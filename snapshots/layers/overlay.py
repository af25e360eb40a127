"""How overlayfs and OCI say that something of a lower layer is gone, and which attributes of a file belong to a layer.

Source: kernel documentation, filesystems/overlayfs.rst, "whiteouts and opaque directories"; OCI image specification, layer.md, "Whiteouts".
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from typing import Final

from cove.exception import InvalidError

OPAQUE: Final = "trusted.overlay.opaque"
CAPABILITY: Final = "security.capability"
WHITEOUT_DEVICE: Final = os.makedev(0, 0)

WHITEOUT_PREFIX: Final = b".wh."
OPAQUE_NAME: Final = b".wh..wh..opq"
AUFS_PREFIX: Final = b".wh..wh."
"""Names that aufs kept its own records under; old images still have them."""

_INCOMPLETE: Final = frozenset({"trusted.overlay.redirect", "trusted.overlay.metacopy"})
_NO_ATTRIBUTES: Final = frozenset({errno.ENOTSUP, errno.ENODATA})


def is_whiteout(status: os.stat_result) -> bool:
    """Whether an entry of a layer directory hides the lower layers' entry of its name."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == WHITEOUT_DEVICE


def is_opaque(fd: int) -> bool:
    """Whether the directory ``fd`` hides all that lower layers have in it."""
    try:
        return os.getxattr(fd, OPAQUE) == b"y"
    except OSError as error:
        if error.errno in _NO_ATTRIBUTES:
            return False
        raise


def belongs_to_layer(name: str) -> bool:
    """Whether an extended attribute travels with the file. The others say something about this machine, or about overlayfs."""
    return name.startswith("user.") or name == CAPABILITY


def read_attributes(fd: int) -> Mapping[str, bytes]:
    """The extended attributes of an open file or directory that belong to its layer, by name in sorted order.

    Raises:  InvalidError: overlayfs keeps part of the file elsewhere, so this directory is no whole layer.
    """
    try:
        names = os.listxattr(fd)
    except OSError as error:
        if error.errno in _NO_ATTRIBUTES:
            return {}
        raise
    if not _INCOMPLETE.isdisjoint(names):
        remedy = "Mount the overlay with redirect_dir=nofollow,metacopy=off."
        raise InvalidError("The layer directory refers to files of other layers.", remedy=remedy)
    return {name: os.getxattr(fd, name) for name in sorted(names) if belongs_to_layer(name)}
