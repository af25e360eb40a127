"""Fills a directory with a root file system, from Debian packages or from a tarball: starts what does it and cleans up after it."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

from cove.exception import InvalidError, RemoteError, RequestSizeError
from sandboxd import apt_sources, image_recipe
from sandboxd.contained import Progress, run_contained
from sandboxd.image_recipe import Recipe
from snapshots.layers.archives import unpack_archive

HOOKS: Final = Path(__file__).parent / "host"
HOOK_NAMES: Final = ("image-setup.sh", "image-customize.sh")
_ENVIRONMENT: Final = ("PATH", "HOME", "APT_CONFIG", "http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")


def hook_text() -> str:
    """The hook scripts' text, for the recipe's hash."""
    return "".join((HOOKS / name).read_text("utf-8") for name in HOOK_NAMES)


async def debootstrap(recipe: Recipe, target: Path, progress: Progress) -> None:
    """Install ``recipe`` into the empty directory ``target``, from this machine's own mirror; needs root.

    Raises:  RemoteError: mmdebstrap failed; the text has the end of what it said.
    """
    with tempfile.TemporaryDirectory(prefix="cove-image-") as directory:
        options, public = Path(directory, "apt.conf"), Path(directory, "debian.sources")
        options.write_text(image_recipe.machine_options(await _apt_config()))
        public.write_text(image_recipe.public_sources(recipe.codename))
        kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        mirrors = apt_sources.for_suite(apt_sources.read_sources(), recipe.codename)
        argv = image_recipe.debootstrap_argv(recipe, target, mirrors, HOOKS)
        env = {**kept, "COVE_APT_CONF": str(options), "COVE_SOURCES": str(public)}

        def steps(line: str) -> None:
            if line.startswith(("I: ", "W: ", "E: ")):
                progress(line)

        await run_contained(argv, env=env, progress=steps, failure=RemoteError)
    await asyncio.to_thread(_empty, target / "dev")


async def unpack(file: Path, target: Path) -> tuple[str, ...]:
    """Unpack a rootfs tarball into the empty directory ``target``, in a child that is confined to it; needs root.

    Returns: notes on what was left out.
    Raises:  InvalidError: not a tarball, malformed, too large, empty, or changed while it was read.
             ResourceExhaustedError: the disk is full.
    """
    with file.open("rb") as opened:
        before = identity(opened.fileno())
        try:
            unpacked = await unpack_archive(opened.fileno(), target)
        except (InvalidError, RequestSizeError) as error:
            raise InvalidError(f"The rootfs tarball {file} cannot be used: {error.cause}", remedy=error.remedy) from error
        if identity(opened.fileno()) != before:
            raise InvalidError(
                f"The rootfs tarball {file} changed while it was read.", remedy="Write it elsewhere and rename it into place."
            )
    if not unpacked.members:
        raise InvalidError(f"The rootfs tarball {file} is empty.")
    return unpacked.notes


def identity(descriptor: int) -> tuple[int, ...]:
    """What changes when a file's content does."""
    status = os.fstat(descriptor)
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _empty(directory: Path) -> None:
    """Take the device nodes away that the packages' scripts needed: the runtime brings a /dev of its own."""
    shutil.rmtree(directory)
    directory.mkdir(mode=0o755)


async def _apt_config() -> str:
    """``apt-config dump``; empty on a machine without apt, whose mirror then needs no configuration."""
    try:
        process = await asyncio.create_subprocess_exec("apt-config", "dump", stdout=asyncio.subprocess.PIPE)
    except FileNotFoundError:
        return ""
    dumped, _ = await process.communicate()
    return dumped.decode("utf-8", "replace")
