"""Small files that hold secrets: made once, readable by their owner alone, never half-written."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from cove.exception import InvalidError


def private_directory(path: Path) -> Path:
    """``path``, made with mode 0700 where it is missing."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def read_or_create(path: Path, make: Callable[[], bytes]) -> bytes:
    """What ``path`` holds; where there is no file, what ``make`` gives, stored there first.

    Raises:
        InvalidError: others than the owner may read or write the file.
    """
    try:
        return read(path)
    except FileNotFoundError:
        return _create(path, make())


def read(path: Path) -> bytes:
    """What ``path`` holds.

    Raises:
        FileNotFoundError: there is no such file.
        InvalidError: others than the owner may read or write it.
    """
    with open(path, "rb") as file:
        if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
            raise InvalidError(f"The secret file {path} is open to others.", remedy=f"Run `chmod 600 {path}`; consider the secret leaked.")
        return file.read()


def write(path: Path, data: bytes) -> None:
    """Make ``path`` hold ``data``, durably and at once."""
    temporary = _write_temporary(path, data)
    temporary.replace(path)
    _sync_directory(path.parent)


def _create(path: Path, data: bytes) -> bytes:
    """Store ``data`` unless somebody was faster, whose data wins."""
    temporary = _write_temporary(path, data)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return read(path)
    finally:
        temporary.unlink()
    _sync_directory(path.parent)
    return data


def _write_temporary(path: Path, data: bytes) -> Path:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return temporary


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
