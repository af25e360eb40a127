"""Layers on btrfs, where sandboxes' uppers are: flattening shares content instead of copying it, and holes make the journey there too."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandboxd import kernel
from snapshots.layers.archives import pack_layer, unpack_archive
from snapshots.layers.flatten import flatten_layers
from snapshots.layers.limits import OWN
from tests.unit.snapshots.layers.layer_trees import read_layer

pytestmark = [pytest.mark.needs_root, pytest.mark.timeout(60)]

DISK_BYTES = 256 * 2**20
CONTENT_BYTES = 80 * 2**20


@pytest.fixture
def btrfs(tmp_path: Path) -> Iterator[Path]:
    """A small btrfs of its own."""
    image, place = tmp_path / "disk", tmp_path / "btrfs"
    image.touch()
    os.truncate(image, DISK_BYTES)
    place.mkdir()
    subprocess.run(["mkfs.btrfs", "--quiet", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, place], check=True)
    yield place
    kernel.umount(place)


def settle(filesystem: Path) -> None:
    """Have allocations that are still put off made, so that holes are where they stay."""
    subprocess.run(["sync", "--file-system", filesystem], check=True)


def test_flattening_takes_no_space_for_content(btrfs: Path, tmp_path: Path) -> None:
    """Five copies of 80 MiB in 256 MiB."""
    layer = btrfs / "layer"
    layer.mkdir()
    (layer / "large").write_bytes(os.urandom(CONTENT_BYTES))
    os.truncate(layer / "large", 3 * CONTENT_BYTES)
    for number in range(4):
        flattened = btrfs / f"flat-{number}"
        flattened.mkdir()
        flatten_layers([layer], flattened, base=True)
        settle(btrfs)
    assert read_layer(btrfs / "flat-3") == read_layer(layer)


async def test_holes_come_back_as_holes(btrfs: Path, tmp_path: Path) -> None:
    layer, copy = btrfs / "layer", btrfs / "copy"
    layer.mkdir()
    copy.mkdir()
    for name, size, pieces in (("only-hole", 2**40, ()), ("inline", 50, (0,)), ("mixed", 10 * 2**30, (0, 2**20, 5 * 2**30))):
        with (layer / name).open("wb") as file:
            for offset in pieces:
                file.seek(offset)
                file.write(os.urandom(50))
            file.truncate(size)
    settle(btrfs)
    packed = await pack_layer(layer, tmp_path / "archive")
    assert packed.tar_bytes < 2**20
    with (tmp_path / "archive").open("rb") as archive:
        await unpack_archive(archive.fileno(), copy, limits=OWN._replace(reserve_bytes=0))
    settle(btrfs)
    assert read_layer(copy) == read_layer(layer)
