"""``cove sandbox cp``: which side of a copy lies in a sandbox, and the copy."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import NamedTuple

from cove._async.sandbox import _Sandbox
from cove.exception import InvalidError


class Remote(NamedTuple):
    """``REFERENCE:path``."""

    reference: str
    path: str


def parse(text: str) -> Remote | None:
    """The remote side that ``text`` names; None if it is a local path. What starts with ``/`` or ``.`` is local, colons or not.

    Raises:  InvalidError: it names a sandbox without a path.
    """
    reference, colon, path = text.partition(":")
    if not colon or text.startswith(("/", ".")):
        return None
    if not reference or not path:
        raise InvalidError(f"{text[:80]!r} is neither SANDBOX:path nor a local path.", remedy="A local path with a colon starts with ./")
    return Remote(reference, path)


async def upload(sandbox: _Sandbox, source: Path, path: str) -> None:
    """Copy ``source`` to ``path``, or into it if that is a directory or ends in a slash; so ``cp`` does."""
    await sandbox.upload(source, await _target_there(sandbox, source, path))


async def download(sandbox: _Sandbox, path: str, target: Path) -> None:
    """Copy ``path`` to ``target``, or into it if that is a directory."""
    name = PurePosixPath(path).name
    if target.is_dir() and name not in ("", ".."):
        target = target / name
    await sandbox.download(path, target)


async def _target_there(sandbox: _Sandbox, source: Path, path: str) -> str:
    name = source.name if source.name not in ("", "..") else source.resolve().name
    if path.endswith("/"):
        return path + name
    try:
        inside = (await sandbox.stat(path)).is_dir()
    except FileNotFoundError:
        inside = False
    return f"{path}/{name}" if inside else path
