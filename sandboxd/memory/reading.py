"""Reading a memory snapshot's own small files, which another machine may have written: regular files of a bounded size, or nothing."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from cove.exception import DataLossError


def open_regular(path: Path) -> int:
    """A descriptor of the file at ``path``, to read. Raises: DataLossError: it is something else. OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    raise damaged(path.name, "is no regular file")


def read_small(path: Path, most_bytes: int) -> bytes:
    """The content of a file of at most ``most_bytes``. Raises: DataLossError: it is something else. OSError."""
    with os.fdopen(open_regular(path), "rb") as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise damaged(path.name, "is too large")
    return content


def damaged(name: str, how: str) -> DataLossError:
    """``how``: what is wrong with the file ``name``."""
    return DataLossError(f"The snapshot is damaged: {name} {how}.", remedy="Delete it; take another.", context={"file": name})
