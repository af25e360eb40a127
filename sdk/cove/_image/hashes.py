"""sha256 of local files, computed once for as long as a file looks unchanged. Synchronous, for threads."""

from __future__ import annotations

import hashlib
import os
import time
from collections import OrderedDict
from pathlib import Path
from typing import Final

MAX_KEPT: Final = 200_000
RECENT_NS: Final = 2_000_000_000
"""A file written this recently can change again without looking different: its hash is not kept."""

_Key = tuple[str, int, int, int]


class Hashes:
    """What files hash to, by path, size, time of change and inode."""

    def __init__(self) -> None:
        self._kept: OrderedDict[_Key, tuple[bytes, int]] = OrderedDict()

    def of(self, path: Path) -> tuple[bytes, int]:
        """Hash (32 bytes) and size in bytes of what is in the file now.

        Raises:  OSError: it cannot be read.
        """
        known = self._kept.get(_key(path, path.stat()))
        if known is not None:
            return known
        with path.open("rb") as file:
            before = os.fstat(file.fileno())
            found = hashlib.file_digest(file, "sha256").digest(), file.tell()
            after = os.fstat(file.fileno())
        if _key(path, after) == _key(path, before) and time.time_ns() - after.st_mtime_ns > RECENT_NS:
            self._keep(_key(path, after), found)
        return found

    def _keep(self, key: _Key, found: tuple[bytes, int]) -> None:
        self._kept[key] = found
        while len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)


def _key(path: Path, found: os.stat_result) -> _Key:
    return str(path), found.st_size, found.st_mtime_ns, found.st_ino


HASHES: Final = Hashes()
"""Those of this process."""
