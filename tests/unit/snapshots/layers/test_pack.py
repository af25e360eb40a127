"""Packing: the same tree gives the same bytes, what others would misread is refused, and a tree that changes is an error."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cove.exception import ConflictError, Error, InvalidError, ResourceExhaustedError
from sandboxd import kernel
from snapshots.layers import pack as packing
from snapshots.layers.child_result import Result
from snapshots.layers.limits import MAX_DEPTH, OWN
from snapshots.layers.pack import pack
from snapshots.layers.sparse import Extent
from snapshots.layers.walk import Entry
from tests.unit.snapshots.layers.layer_trees import read_layer
from tests.unit.snapshots.layers.tar_making import unpack_here

pytestmark = pytest.mark.needs_root


@pytest.fixture
def layer(tmp_path: Path) -> Path:
    place = tmp_path / "layer"
    place.mkdir()
    return place


@pytest.fixture
def removed_after(tmp_path: Path) -> Iterator[None]:
    """For trees so deep that pytest's own cleaning, which recurses, would fail on them."""
    yield
    subprocess.run(["rm", "-rf", tmp_path], check=True)


def packed(layer: Path) -> tuple[bytes, Result]:
    """The archive of ``layer``, and what packing told."""
    root = os.open(layer, os.O_RDONLY | os.O_DIRECTORY)
    with open(os.memfd_create("archive"), "w+b") as output:
        try:
            result = pack(root, output.fileno())
        finally:
            os.close(root)
        output.seek(0)
        return output.read(), result


def fill(layer: Path, names: list[str]) -> None:
    for name in names:
        (layer / name).write_bytes(name.encode() * 1000)
        os.utime(layer / name, ns=(7, 1_700_000_000_123_456_789))
    os.utime(layer, ns=(1, 2))


def test_the_same_tree_gives_the_same_bytes(tmp_path: Path, layer: Path) -> None:
    """In whatever order it was made, and whenever it was read."""
    other = tmp_path / "other"
    other.mkdir()
    names = [f"file-{number}" for number in range(50)]
    fill(layer, names)
    fill(other, names[::-1])
    first, result = packed(layer)
    (layer / "file-7").read_bytes()
    assert packed(layer)[0] == packed(other)[0] == first
    assert result["members"] == 51


def test_large_content_is_the_same_bytes_each_time(layer: Path) -> None:
    """Several compressor threads must not show."""
    (layer / "large").write_bytes(b"".join(os.urandom(1000) * 100 for _ in range(300)))
    assert packed(layer)[0] == packed(layer)[0]


def test_sockets_are_left_out(tmp_path: Path, layer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(layer)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
    os.link("socket", "again", follow_symlinks=False)
    unpack_here(packed(layer)[0], tmp_path / "copy")
    assert list((tmp_path / "copy").iterdir()) == []


def test_a_hard_link_to_outside_is_a_plain_file(tmp_path: Path, layer: Path) -> None:
    (tmp_path / "outside").write_bytes(b"content")
    os.link(tmp_path / "outside", layer / "inside")
    unpack_here(packed(layer)[0], tmp_path / "copy")
    assert ((tmp_path / "copy/inside").read_bytes(), (tmp_path / "copy/inside").stat().st_nlink) == (b"content", 1)


def test_whiteouts_that_share_an_inode_are_whiteouts(tmp_path: Path, layer: Path) -> None:
    """As overlayfs makes them."""
    os.mknod(layer / "a", stat.S_IFCHR, 0)
    os.link(layer / "a", layer / "b")
    unpack_here(packed(layer)[0], tmp_path / "copy")
    assert read_layer(tmp_path / "copy").whiteouts == {b"a", b"b"}


@pytest.mark.parametrize("name", [".wh.x", ".wh.", ".wh..wh..opq"])
@pytest.mark.parametrize("make", [Path.touch, Path.mkdir, lambda path: path.symlink_to("x")], ids=["file", "directory", "link"])
def test_names_of_whiteouts_cannot_be_forged(layer: Path, name: str, make: Callable[[Path], None]) -> None:
    make(layer / name)
    with pytest.raises(InvalidError, match="Rename"):
        packed(layer)


@pytest.mark.parametrize("attribute", ["trusted.overlay.redirect", "trusted.overlay.metacopy"])
def test_half_a_layer_is_refused(layer: Path, attribute: str) -> None:
    (layer / "file").touch()
    os.setxattr(layer / "file", attribute, b"x")
    with pytest.raises(InvalidError, match="refers to files of other layers"):
        packed(layer)


def test_overlayfs_own_attributes_do_not_travel(tmp_path: Path, layer: Path) -> None:
    for attribute in ("trusted.overlay.origin", "trusted.overlay.impure", "trusted.other", "user.mine"):
        os.setxattr(layer, attribute, b"x")
    unpack_here(packed(layer)[0], tmp_path / "copy")
    assert os.listxattr(tmp_path / "copy") == ["user.mine"]


@pytest.mark.usefixtures("removed_after")
def test_a_tree_deeper_than_can_be_named_is_refused(layer: Path) -> None:
    fds = [os.open(layer, os.O_RDONLY)]
    try:
        for _ in range(MAX_DEPTH + 1):
            os.mkdir("d", dir_fd=fds[-1])
            fds.append(os.open("d", os.O_RDONLY, dir_fd=fds[-1]))
    finally:
        for fd in fds:
            os.close(fd)
    with pytest.raises(InvalidError, match="too deep"):
        packed(layer)


@pytest.mark.usefixtures("removed_after")
def test_a_tree_as_deep_as_allowed_makes_the_journey(tmp_path: Path, layer: Path) -> None:
    deep = Path(*["d"] * 900)
    (layer / deep).mkdir(parents=True)
    (layer / deep / "file").write_bytes(b"down here")
    unpack_here(packed(layer)[0], tmp_path / "copy", limits=OWN._replace(reserve_bytes=0))
    assert (tmp_path / "copy" / deep / "file").read_bytes() == b"down here"


def test_another_file_system_below_is_refused(layer: Path) -> None:
    (layer / "mount").mkdir()
    kernel.mount("test", layer / "mount", "tmpfs")
    try:
        with pytest.raises(InvalidError, match="another file system"):
            packed(layer)
    finally:
        kernel.umount(layer / "mount")


def grow(layer: Path) -> None:
    with (layer / "b").open("ab") as file:
        file.write(b"more")


def shrink(layer: Path) -> None:
    os.truncate(layer / "b", 10)


def swap(layer: Path) -> None:
    (layer / "b").unlink()
    (layer / "b").symlink_to("/etc/passwd")


def swap_directory(layer: Path) -> None:
    (layer / "c").rename(layer.parent / "moved")
    (layer / "c").symlink_to("/etc")


def vanish(layer: Path) -> None:
    (layer / "b").unlink()


def appear(layer: Path) -> None:
    (layer / "aa").touch()


@pytest.mark.parametrize("change", [swap, swap_directory, vanish, appear])
def test_a_tree_that_changes_is_an_error(layer: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]) -> None:
    """The change comes after the walk has passed the first file."""
    fill(layer, ["a", "b", "z"])
    (layer / "c").mkdir()
    (layer / "c/below").touch()
    add = packing.Packer.add

    def changing(self: packing.Packer, entry: Entry) -> None:
        add(self, entry)
        if entry.parts == (b"a",):
            change(layer)

    monkeypatch.setattr(packing.Packer, "add", changing)
    with pytest.raises(ConflictError, match="changed while"):
        packed(layer)


@pytest.mark.parametrize("change", [grow, shrink])
def test_a_file_that_changes_while_it_is_read_is_an_error(
    layer: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]
) -> None:
    (layer / "b").write_bytes(bytes(1000))
    copy = packing.Packer._copy

    def changing(self: packing.Packer, fd: int, entry: Entry, extents: list[Extent]) -> None:
        change(layer)
        copy(self, fd, entry, extents)

    monkeypatch.setattr(packing.Packer, "_copy", changing)
    with pytest.raises(ConflictError):
        packed(layer)


def test_a_full_disk_says_so(layer: Path) -> None:
    (layer / "noise").write_bytes(os.urandom(300_000))
    root, full = os.open(layer, os.O_RDONLY), os.open("/dev/full", os.O_WRONLY)
    try:
        with pytest.raises(ResourceExhaustedError):
            pack(root, full)
    finally:
        os.close(root)
        os.close(full)


def test_a_failure_names_the_path_in_ascii(layer: Path) -> None:
    os.close(os.open(os.fsencode(layer) + b"/.wh.\xff\n", os.O_CREAT | os.O_WRONLY))
    with pytest.raises(Error) as raised:
        packed(layer)
    assert str(raised.value).isprintable() and "\\xff" in str(raised.value)
