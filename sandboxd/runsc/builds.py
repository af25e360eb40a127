"""The builds of runsc that this node keeps, as directories in its state, each whole or absent.

``<state>/node/runsc/<build id>/runsc`` is a copy of what was installed when a daemon started: an upgrade of the package neither changes
what the commands of a running sandbox are carried out by, nor takes away what memory snapshots can go on with. A build's id is its version
and the beginning of its sha256. ``current`` beside them names the one that the last daemon found installed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import stat
from collections.abc import Collection
from pathlib import Path
from typing import Final

import structlog

from cove.exception import InternalFailure
from sandboxd import programs
from sandboxd.kernel import sync_directory
from snapshots.backends.threads import in_thread

log = structlog.get_logger()

VERSION_S: Final = 10.0
PROGRAM: Final = "runsc"
CURRENT: Final = "current"
DIGITS: Final = 16
_VERSION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+~_-]{0,79}")
_BUILD_ID: Final = re.compile(rf"({_VERSION.pattern})-([0-9a-f]{{{DIGITS}}})")


class Builds:
    """The store. One daemon uses it at a time."""

    def __init__(self, directory: Path) -> None:
        """``directory``: ``<state>/node/runsc``; made if missing. Nothing is known before :meth:`take_in`."""
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._directory = directory
        self._ids: set[str] = set()
        self.current = ""
        """What new sandboxes are made with."""
        self.before = ""
        """What it was when the last daemon ran; empty: this is the first."""

    @property
    def ids(self) -> frozenset[str]:
        """Those that are here, every byte of them verified."""
        return frozenset(self._ids)

    def path(self, build_id: str) -> Path:
        """The program. Raises: KeyError: this build is not here."""
        if build_id not in self._ids:
            raise KeyError(build_id)
        return self._directory / build_id / PROGRAM

    def find(self, digits: str) -> str:
        """The build whose sha256 begins so; empty: it is not here."""
        return next((build_id for build_id in self._ids if build_id.endswith(f"-{digits}")), "")

    async def take_in(self, installed: Path) -> None:
        """Keep a copy of the installed runsc, which is the current build from now on; find out what else is here, and whether it is whole.

        What is damaged, or was left unfinished by a daemon that died, is removed.

        Raises:  InternalFailure: what is installed is no runsc, or cannot be run from here. OSError.
        """
        await in_thread(self._look)
        digits = await in_thread(digits_of, installed)
        self.current = self.find(digits) or await self._copy(installed)
        with contextlib.suppress(FileNotFoundError):
            self.before = (self._directory / CURRENT).read_text()
        if self.before != self.current:
            fresh = self._directory / f".{CURRENT}"
            fresh.write_text(self.current)
            fresh.replace(self._directory / CURRENT)

    async def forget(self, needed: Collection[str]) -> list[str]:
        """Remove all but the current build and those ``needed``. Returns: what was removed. Raises: OSError."""
        gone = sorted(self._ids - {*needed, self.current})
        for build_id in gone:
            self._ids.discard(build_id)
            await in_thread(self._remove, self._directory / build_id)
        return gone

    def _look(self) -> None:
        self._ids = kept_in(self._directory)
        for path in list(self._directory.iterdir()):
            if path.name not in self._ids and path.name != CURRENT:
                if _BUILD_ID.fullmatch(path.name):
                    log.error("runsc build damaged, removed", build=path.name)
                self._remove(path)

    async def _copy(self, installed: Path) -> str:
        work = self._directory / f".{os.getpid()}"
        await in_thread(_copy_program, installed, work)
        try:
            build_id = f"{await version_of(work / PROGRAM)}-{await in_thread(digits_of, work / PROGRAM)}"
            await in_thread(self._publish, work, build_id)
        finally:
            await in_thread(shutil.rmtree, work, ignore_errors=True)
        self._ids.add(build_id)
        return build_id

    def _publish(self, work: Path, build_id: str) -> None:
        with (work / PROGRAM).open("rb") as file:
            os.fsync(file.fileno())
        sync_directory(work)
        work.rename(self._directory / build_id)
        sync_directory(self._directory)

    def _remove(self, path: Path) -> None:
        """From its name first, so that what is left of it after a crash is nobody's build."""
        if path.is_dir() and not path.is_symlink():
            gone = path.rename(path.with_name(f".gone-{path.name}")) if not path.name.startswith(".") else path
            shutil.rmtree(gone)
        else:
            path.unlink()


def kept_in(directory: Path) -> set[str]:
    """Ids of the builds in a store, every byte of them verified. Blocking. Raises: OSError."""
    found = {path.name: _BUILD_ID.fullmatch(path.name) for path in directory.iterdir()} if directory.is_dir() else {}
    return {name for name, match in found.items() if match is not None and _is_whole(directory / name / PROGRAM, match[2])}


def version_in(build_id: str) -> str:
    """What ``runsc --version`` of a build says. Pure. Raises: ValueError: no id of a build."""
    match = _BUILD_ID.fullmatch(build_id)
    if match is None:
        raise ValueError(f"{build_id[:80]!r} is not the id of a build")
    return match[1]


def digits_of(program: Path) -> str:
    """The beginning of its sha256. Blocking, at some GB/s. Raises: OSError."""
    with program.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:DIGITS]


async def version_of(program: Path) -> str:
    """Raises: InternalFailure: it cannot be run, or does not tell."""
    remedy = "`cove doctor` checks it. A file system that is mounted noexec cannot hold the node's state."
    try:
        finished = await programs.capture([str(program), "--version"], timeout_s=VERSION_S)
    except (OSError, TimeoutError) as error:
        raise InternalFailure(f"{program} cannot be run: {error or 'it does not answer'}.", remedy=remedy) from error
    words = finished.stdout.decode("ascii", "replace").split()
    if len(words) < 3 or not _VERSION.fullmatch(words[2]):
        raise InternalFailure(f"{program} does not tell its version.", remedy=remedy)
    return words[2]


def _is_whole(program: Path, digits: str) -> bool:
    try:
        mode = program.lstat().st_mode
        return stat.S_ISREG(mode) and bool(mode & stat.S_IXUSR) and digits_of(program) == digits
    except OSError:
        return False


def _copy_program(installed: Path, work: Path) -> None:
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(mode=0o755)
    shutil.copyfile(installed, work / PROGRAM)
    (work / PROGRAM).chmod(0o755)
