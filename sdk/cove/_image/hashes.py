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
        self._kept: OrderedDict[_Key, bytes] = OrderedDict()

    def of(self, path: Path) -> tuple[bytes, int]:
        """Hash (32 bytes) and size in bytes of what is in the file now.

        Raises:  OSError: it cannot be read.
        """
        with path.open("rb") as file:
            before = os.fstat(file.fileno())
            key = (str(path), before.st_size, before.st_mtime_ns, before.st_ino)
            known = self._kept.get(key)
            if known is not None:
                return known, before.st_size
            found = hashlib.file_digest(file, "sha256").digest()
            size_bytes = file.tell()
            after = os.fstat(file.fileno())
        still = (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
        if still and time.time_ns() - after.st_mtime_ns > RECENT_NS:
            self._keep(key, found)
        return found, size_bytes

    def _keep(self, key: _Key, found: bytes) -> None:
        self._kept[key] = found
        while len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)


HASHES: Final = Hashes()
"""Those of this process."""
