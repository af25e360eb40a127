"""What a sandbox's root file system stands on: the directories of its image's layers, bases made and layers fetched as needed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from cove.exception import PermissionDeniedError
from cove.wire.common_pb2 import ImageRef
from cove.wire.image_pb2 import LayerRef
from policies.images import DEFAULT_ENV
from sandboxd import build_settings
from sandboxd.base_image import BaseImage, BaseImages
from sandboxd.build_settings import BuildSettings
from sandboxd.image_recipe import DEBIAN_PYTHONS
from sandboxd.journal import Image, Layer
from sandboxd.layers import LayerCache


class Stack(msgspec.Struct, frozen=True):
    """An image's directories, ready to be mounted."""

    lowers: list[Path]
    """The lowest first."""
    env: Mapping[str, str]
    image_id: str
    top: Path | None
    """The tree of the topmost layer; None: the base is all there is."""


class ImageStacks:
    """Finds and makes what images consist of.

    Args:
        tarball_dirs: where rootfs tarballs may lie that clients name.
        run_dir: where the package settings of builds go.
    """

    def __init__(self, bases: BaseImages, layers: LayerCache, *, tarball_dirs: Sequence[Path], run_dir: Path) -> None:
        self.layers = layers
        self._bases = bases
        self._tarball_dirs = tarball_dirs
        self._settings_dir = run_dir / "build-settings"
        self._settings: BuildSettings | None = None
        self._collecting = asyncio.Lock()

    async def ensure(self, image: Image) -> Stack:
        """All directories of ``image``.

        Raises:
            PermissionDeniedError: a tarball outside the directories that the operator opened to clients.
            NotFoundError, InvalidError: a base or layer that there is not. ConnectionError, DataLossError: trying again can help.
        """
        lowers: list[Path] = []
        env, image_id = dict(image.env), image.image_id
        below: Path | None = None
        for layer in image.layers:
            if layer.base:
                base = await self.base(layer.base)
                lowers.append(base.path)
                env, image_id = (dict(image.env), image.image_id) if image.image_id else (dict(base.env), base.image_id)
            else:
                below = await self.layers.ensure(layer_ref(layer), below=below)
                lowers.append(below)
        return Stack(lowers, env or DEFAULT_ENV, image_id, below.parent if below else None)

    def pythons(self) -> list[str]:
        """Every Python that there is a default image for."""
        return self._bases.pythons()

    async def base(self, name: str) -> BaseImage:
        """The base ``debian:3.11`` or ``rootfs:/path``. Raises: as :meth:`ensure`."""
        return await self._bases.ensure(base_ref(name, tarball_dirs=self._tarball_dirs))

    async def build_settings(self) -> BuildSettings:
        """The machine's package settings; read at the first build of this daemon's life."""
        async with self._collecting:
            if self._settings is None:
                self._settings = await build_settings.collect(self._settings_dir)
            return self._settings


def layer_ref(layer: Layer) -> LayerRef:
    """As it travels."""
    return LayerRef(
        layer_id=layer.layer_id,
        base=layer.base,
        digest=layer.digest,
        diff_id=layer.diff_id,
        size_bytes=layer.size_bytes,
        foreign=layer.foreign,
    )


def release_of(image: Image) -> str:
    """The Debian release that ``image`` stands on; empty: something else."""
    kind, _, python = image.base.partition(":")
    return DEBIAN_PYTHONS.get(python, "") if kind == "debian" else ""


def base_ref(base: str, *, tarball_dirs: Sequence[Path]) -> ImageRef:
    """``debian:3.11`` or ``rootfs:/path`` as the image cache takes it.

    Raises: PermissionDeniedError: a tarball outside the directories that the operator opened to clients; links are followed first.
    """
    kind, _, value = base.partition(":")
    if kind == "debian":
        return ImageRef(debian=value)
    path = Path(value)
    if not path.is_absolute() or not any(path.resolve().is_relative_to(directory.resolve()) for directory in tarball_dirs):
        raise PermissionDeniedError(
            "The rootfs tarball does not lie in a directory that this node opens to clients.",
            remedy=f"Put it into {' or '.join(map(str, tarball_dirs)) or 'one'}, or set COVE_NODE_TARBALL_DIRS.",
        )
    return ImageRef(rootfs_path=str(path.resolve()))
