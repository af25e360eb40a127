"""Base images: Debian with Python, built here once, and rootfs tarballs, unpacked here once. Directories in a cache, complete or absent.

An image is ``<images_dir>/<name>/`` with ``rootfs/`` and ``image.json``. It is made beside its place and renamed into it when it is on
disk, so an interrupted build leaves nothing that counts; what it leaves at all, the next build removes. Builders on one machine, in this
process or another, hold a lock per name, and the second finds the first one's result.

``python -m sandboxd.base_image build [3.11 ...]`` builds default images ahead, as ``make run`` does.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from cove.exception import Error, InvalidError, NotFoundError
from cove.wire.common_pb2 import ImageRef
from policies.images import DEFAULT_ENV
from sandboxd import image_build, kernel, settings
from sandboxd.contained import Progress, ignore
from sandboxd.image_recipe import DEBIAN_PYTHONS, ImageRecord, Recipe, image_id

LOCK_POLL_S: Final = 0.1
"""A build takes half a minute: a waiter that looks ten times a second costs nothing and can be cancelled at any time."""

_PREBUILT: Final = re.compile(r"debian-(3\.\d{1,2})\.tar(\.(gz|xz|bz2|zst))?")

Build = Callable[[Path], Awaitable[ImageRecord]]


class BaseImage(msgspec.Struct, frozen=True, kw_only=True):
    """An image, ready to be the lowest layer of a rootfs. Nobody writes to it."""

    image_id: str
    path: Path
    """Its root directory."""
    env: Mapping[str, str]
    python: str
    """Minor version of its Python; empty: unknown."""


class BaseImages:
    """The cache of base images in ``directory``. Calls for the same image at the same time share one build.

    Args:    prebuilt: directory of tarballs ``debian-3.12.tar.zst`` (or another compression) that go before what is built here.
    """

    def __init__(self, directory: Path, *, prebuilt: Path | None = None, progress: Progress = ignore) -> None:
        self._directory = directory
        self._prebuilt = prebuilt
        self._progress = progress
        self._digests: dict[tuple[int, ...], str] = {}

    async def ensure(self, ref: ImageRef) -> BaseImage:
        """The image that ``ref`` names, made first if need be.

        Raises:
            InvalidError: no Debian release has that Python, or the tarball is malformed.
            NotFoundError: no such tarball.
            RemoteError: the build failed; the text has the end of its output.
        """
        if ref.WhichOneof("source") == "rootfs_path":
            return await self.from_tarball(Path(ref.rootfs_path))
        if tarball := self.prebuilt().get(ref.debian):
            return await self.from_tarball(tarball, python=ref.debian)
        return await self.debian(debian_recipe(ref.debian, also=self.prebuilt()))

    def prebuilt(self) -> Mapping[str, Path]:
        """Tarballs of the operator's directory by the Python they have, as it is now."""
        try:
            found = sorted(self._prebuilt.iterdir()) if self._prebuilt else []
        except FileNotFoundError:
            found = []
        return {match[1]: path for path in found if (match := _PREBUILT.fullmatch(path.name))}

    def pythons(self) -> list[str]:
        """Every Python that there is a default image for."""
        return sorted({*DEBIAN_PYTHONS, *self.prebuilt()})

    async def debian(self, recipe: Recipe) -> BaseImage:
        """The image of ``recipe``; half a minute where it has to be built."""

        async def build(root: Path) -> ImageRecord:
            await image_build.debootstrap(recipe, root, self._progress)
            return await _record(root, digest=recipe.digest(), source=f"debian {recipe.codename}", python=recipe.python, env=recipe.env)

        return await self._made(recipe.name, build)

    async def from_tarball(self, file: Path, *, python: str = "") -> BaseImage:
        """The image in a rootfs tarball (plain, gzip, bzip2, xz or zstd), known by its sha256: a changed file is another image.

        Args:    python: the minor version that it has, where that is known.
        """
        digest = await self._digest(file)

        async def build(root: Path) -> ImageRecord:
            notes = await image_build.unpack(file, root)
            return await _record(root, digest=digest, source=str(file), python=python, notes=notes)

        return await self._made(f"rootfs-{digest[:32]}", build)

    async def _digest(self, file: Path) -> str:
        """sha256 of the file, remembered while the file stays as it is."""
        try:
            with file.open("rb") as opened:
                key = image_build.identity(opened.fileno())
                if key not in self._digests:
                    self._digests[key] = (await asyncio.to_thread(hashlib.file_digest, opened, "sha256")).hexdigest()
                return self._digests[key]
        except FileNotFoundError as error:
            raise NotFoundError(f"There is no rootfs tarball {file}.", remedy="Give the path that it has on the node.") from error
        except OSError as error:
            raise InvalidError(f"The rootfs tarball {file} cannot be read: {error.strerror}.") from error

    async def _made(self, name: str, build: Build) -> BaseImage:
        place = self._directory / name
        if found := _find(place):
            return found
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        async with _locked(self._directory / f".{name}.lock"):
            return _find(place) or await self._make(place, build)

    async def _make(self, place: Path, build: Build) -> BaseImage:
        started = time.monotonic()
        self._progress(f"making {place.name}")
        async with _workspace(place) as work:
            root = work / "rootfs"
            root.mkdir(mode=0o755)
            record = await build(root)
            (work / "image.json").write_bytes(msgspec.json.format(msgspec.json.encode(record)))
            await asyncio.to_thread(_publish, work, place)
        self._progress(f"made {place.name}: {record.size_bytes / 2**20:.0f} MiB in {time.monotonic() - started:.1f} s")
        return _image(place, record)


def debian_recipe(python: str, *, also: Iterable[str] = ()) -> Recipe:
    """The default image that has this minor version of Python.

    Args:    also: versions that there are beside Debian's, for the error.
    Raises:  InvalidError: no Debian release has it.
    """
    codename = DEBIAN_PYTHONS.get(python)
    if codename is None:
        remedy = f"There are {', '.join(sorted({*DEBIAN_PYTHONS, *also}))}; for others use Image.from_registry."
        raise InvalidError(f"There is no default image with Python {python[:16]!r}.", remedy=remedy)
    return Recipe(codename=codename, python=python, hooks=image_build.hook_text())


def tree_size(root: Path) -> int:
    """Bytes that a tree takes on disk, hard links counted once."""
    sizes: dict[tuple[int, int], int] = {}
    pending = [os.fspath(root)]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                sizes[status.st_dev, status.st_ino] = status.st_blocks * 512
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
    return sum(sizes.values())


async def _record(
    root: Path, *, digest: str, source: str, python: str = "", env: Mapping[str, str] = DEFAULT_ENV, notes: tuple[str, ...] = ()
) -> ImageRecord:
    size = await asyncio.to_thread(tree_size, root)
    return ImageRecord(
        image_id=image_id(digest), source=source, python=python, env=env, created_at=time.time(), size_bytes=size, notes=notes
    )


def _find(place: Path) -> BaseImage | None:
    """The image in ``place``; None where there is none, or a record that this version cannot read."""
    try:
        record = msgspec.json.decode((place / "image.json").read_bytes(), type=ImageRecord)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None
    return _image(place, record)


def _image(place: Path, record: ImageRecord) -> BaseImage:
    return BaseImage(image_id=record.image_id, path=place / "rootfs", env=record.env, python=record.python)


@contextlib.asynccontextmanager
async def _locked(file: Path) -> AsyncIterator[None]:
    """Hold an exclusive lock between tasks and processes. The kernel drops it when its holder dies."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        # The holder may be another process, which sets no Event of ours.
        while not _try_lock(descriptor):  # noqa: ASYNC110 - see above
            await asyncio.sleep(LOCK_POLL_S)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.asynccontextmanager
async def _workspace(place: Path) -> AsyncIterator[Path]:
    """A directory beside ``place``, gone afterwards unless it was renamed; those of builders that died go first. Under the name's lock."""
    for stale in (*place.parent.glob(f".{place.name}.*.partial"), place):
        await asyncio.to_thread(shutil.rmtree, stale, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=f".{place.name}.", suffix=".partial", dir=place.parent))
    try:
        work.chmod(0o755)
        yield work
    finally:
        await asyncio.shield(asyncio.to_thread(shutil.rmtree, work, ignore_errors=True))


def _publish(work: Path, place: Path) -> None:
    """Put a finished image in its place, its contents on disk before its name is."""
    kernel.sync_filesystem(work)
    work.rename(place)
    kernel.sync_filesystem(place.parent)


def own_python() -> str:
    """The minor version that runs this, which clients on this machine most likely ask for; Debian 12's where Debian has no such one."""
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    return own if own in DEBIAN_PYTHONS else next(iter(DEBIAN_PYTHONS))


def main(arguments: list[str]) -> int:
    """``build [3.11 3.13 ...]``: progress on stderr, the root directories on stdout."""
    if arguments[:1] != ["build"]:
        print("usage: python -m sandboxd.base_image build [3.11 ...]", file=sys.stderr)
        return 2
    try:
        images = BaseImages(settings.load().images_dir, progress=lambda line: print(line, file=sys.stderr, flush=True))
        for python in arguments[1:] or [own_python()]:
            print(asyncio.run(images.debian(debian_recipe(python))).path)
    except Error as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
