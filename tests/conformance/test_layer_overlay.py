"""Layers against the kernel: what a sandbox does through a mounted overlay survives packing, unpacking, flattening; the model agrees."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sandboxd import kernel
from snapshots.layers.archives import pack_layer, unpack_archive
from snapshots.layers.diff import Kind, diff_layers
from snapshots.layers.flatten import flatten_layers
from snapshots.layers.limits import OWN, Expected
from tests.unit.snapshots.layers.layer_trees import Tree, merge, read_layer, read_tree, without_links

pytestmark = [pytest.mark.needs_root, pytest.mark.timeout(120)]

OPTIONS = "redirect_dir=nofollow,metacopy=off,index=off"
NAMES = ["a", "b", "c", "d", "ü", os.fsdecode(b"\xff\xfe"), "x" * 255, "n\nl", " ", "-"]


@contextlib.contextmanager
def mounted(layers: list[Path], work: Path) -> Iterator[tuple[Path, Path]]:
    """An overlay over ``layers``, the bottom first. Yields: the tree, and the upper that takes its changes."""
    upper, workdir, tree = (work / name for name in ("upper", "work", "tree"))
    for directory in (upper, workdir, tree):
        directory.mkdir(parents=True)
    lower = ":".join(str(layer) for layer in reversed(layers))
    kernel.mount("test", tree, "overlay", kernel.MountFlag.NONE, f"lowerdir={lower},upperdir={upper},workdir={workdir},{OPTIONS}")
    try:
        yield tree, upper
    finally:
        kernel.unmount_all(tree)


def shown(layers: list[Path], work: Path) -> Tree:
    """What the kernel shows of ``layers``, nothing written above them."""
    tree, empty = work / "tree", work / "empty"
    for directory in (tree, empty):
        directory.mkdir(parents=True)
    lower = ":".join(str(layer) for layer in reversed([empty, *layers]))  # the kernel wants two
    kernel.mount("test", tree, "overlay", kernel.MountFlag.NONE, f"lowerdir={lower},{OPTIONS}")
    try:
        return read_tree(tree)
    finally:
        kernel.unmount_all(tree)
        shutil.rmtree(work)


class Editor:
    """Does random things to a tree, as a program in a sandbox may."""

    def __init__(self, tree: Path, seed: int) -> None:
        self._tree = tree
        self._random = random.Random(seed)
        self._clock = 1_700_000_000_000_000_000 + seed

    def edit(self, count: int) -> None:
        acts: list[Callable[[], None]] = [self.write, self.write, self.mkdir, self.mkdir, self.remove, self.rename, self.link]
        acts += [self.symlink, self.fifo, self.chmod, self.chown, self.xattr, self.sparse, self.append, self.touch, self.remake]
        for _ in range(count):
            # What cannot be done to this tree (no such file, a directory that is not empty, ...) is left undone.
            with contextlib.suppress(OSError, shutil.Error):
                self._random.choice(acts)()

    def _new(self) -> Path:
        return self._directory() / self._random.choice(NAMES)

    def _directory(self) -> Path:
        path = self._tree
        while self._random.random() < 0.6:
            below = sorted(entry for entry in path.iterdir() if not entry.is_symlink() and entry.is_dir())
            if not below:
                break
            path = self._random.choice(below)
        return path

    def _some(self) -> Path:
        return self._random.choice(sorted(self._directory().iterdir()) or [self._tree])

    def _bytes(self, *sizes: int) -> bytes:
        return self._random.randbytes(self._random.choice(sizes))

    def write(self) -> None:
        self._put(self._new(), os.O_TRUNC, self._bytes(0, 1, 511, 512, 513, 5000, 300_000))

    def append(self) -> None:
        self._put(self._some(), os.O_APPEND, b"more")

    def _put(self, path: Path, flags: int, data: bytes) -> None:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK | os.O_NOFOLLOW | flags, 0o644)
        with open(fd, "wb") as file:
            file.write(data)

    def sparse(self) -> None:
        path = self._new()
        self._put(path, os.O_TRUNC, b"")
        with path.open("r+b") as file:
            for _ in range(self._random.randrange(4)):
                file.seek(self._random.randrange(256) * 65536)
                file.write(self._bytes(1, 4096, 70_000))
            file.truncate(self._random.randrange(512) * 65536 + self._random.randrange(9))

    def mkdir(self) -> None:
        self._new().mkdir(self._random.choice([0o755, 0o700, 0o1777, 0o2775]))

    def remove(self) -> None:
        path = self._some()
        if path.is_symlink() or not path.is_dir():
            path.unlink()
        elif path != self._tree:
            shutil.rmtree(path)

    def remake(self) -> None:
        """A directory in the place of one: opaque, where the other was of a lower layer."""
        path = self._directory()
        if path != self._tree:
            shutil.rmtree(path)
            path.mkdir()

    def rename(self) -> None:
        self._some().rename(self._new())

    def link(self) -> None:
        os.link(self._some(), self._new(), follow_symlinks=False)

    def symlink(self) -> None:
        self._new().symlink_to(self._random.choice(["/etc/passwd", "../..", "gone", os.fsdecode(b"\xff"), "t" * 300]))

    def fifo(self) -> None:
        os.mkfifo(self._new(), 0o640)

    def chmod(self) -> None:
        path = self._some()
        if not path.is_symlink():
            path.chmod(self._random.choice([0o4755, 0o2755, 0o000, 0o1777, 0o644]))

    def chown(self) -> None:
        os.chown(self._some(), self._random.choice([0, 1000, 2_097_152, 4_000_000_000]), 65534, follow_symlinks=False)

    def xattr(self) -> None:
        os.setxattr(self._some(), self._random.choice(["user.a", "user.b=c%", "user.ü"]), self._bytes(20), follow_symlinks=False)

    def touch(self) -> None:
        chosen = self._random.choice([0, 1, -5, self._clock, 9_000_000_000_000_000_000])
        os.utime(self._some(), ns=(chosen, chosen), follow_symlinks=False)


async def moved(layer: Path, to: Path) -> None:
    """Pack ``layer``, and unpack it as ``to``, checking every digest."""
    archive = to.with_suffix(".tar.zst")
    packed = await pack_layer(layer, archive)
    to.mkdir()
    with archive.open("rb") as file:
        expect = Expected(packed.digest, packed.diff_id, packed.size_bytes)
        await unpack_archive(file.fileno(), to, expect=expect, limits=OWN, devices=True)


@pytest.mark.parametrize("seed", range(5))
async def test_chains_of_layers_are_the_same_elsewhere(tmp_path: Path, seed: int) -> None:
    """Ten layers of random edits; after each, the layer is packed and unpacked, and both chains are mounted and compared."""
    (tmp_path / "layer-0").mkdir()
    (tmp_path / "copy-0").mkdir()
    layers, copies = [tmp_path / "layer-0"], [tmp_path / "copy-0"]
    for number in range(1, 11):
        work = tmp_path / f"work-{number}"
        with mounted(layers, work) as (tree, upper):
            Editor(tree, seed * 100 + number).edit(40)
            expected = read_tree(tree)
        layers.append(upper)
        copies.append(tmp_path / f"copy-{number}")
        await moved(upper, copies[-1])
        assert read_layer(upper) == read_layer(copies[-1])
        assert shown(copies, tmp_path / "look") == expected
        assert merge([read_layer(copy) for copy in copies]) == without_links(expected), "the model agrees with the kernel"
    check_flattening(layers, tmp_path)


def check_flattening(layers: list[Path], tmp_path: Path) -> None:
    """Any part of a chain, flattened, does as well as itself."""
    expected = without_links(shown(layers, tmp_path / "look"))
    for start, end in ((0, 11), (0, 5), (3, 8), (6, 11), (4, 5)):
        flat = tmp_path / f"flat-{start}-{end}"
        flat.mkdir()
        flatten_layers(layers[start:end], flat, base=start == 0)
        assert without_links(shown([*layers[:start], flat, *layers[end:]], tmp_path / "look")) == expected
        assert not (start == 0 and (read_layer(flat).whiteouts or read_layer(flat).opaque)), "a base hides nothing"


@pytest.mark.parametrize("seed", range(4))
def test_differences_are_those_between_the_mounted_trees(tmp_path: Path, seed: int) -> None:
    layers = [tmp_path / "bottom"]
    layers[0].mkdir()
    trees = []
    for number in range(6):
        with mounted(layers, tmp_path / f"work-{number}") as (tree, upper):
            Editor(tree, 1000 + seed * 100 + number).edit(40)
            trees.append(read_tree(tree))
        layers.append(upper)
    for first, second in ((0, 5), (4, 5), (5, 2), (3, 3)):
        changes = list(diff_layers(layers[: first + 2], layers[: second + 2]))
        assert changes == sorted(changes, key=lambda change: change.path.split(b"/") if change.path else [])
        assert dict(changes) == dict(naive_difference(trees[first], trees[second]))


def naive_difference(old: Tree, new: Tree) -> Iterator[tuple[bytes, Kind]]:
    for path in {*old, *new}:
        if path not in old:
            yield path, Kind.ADDED
        elif path not in new:
            yield path, Kind.REMOVED
        elif old[path].kind != new[path].kind or logical(old[path].content) != logical(new[path].content):
            yield path, Kind.CHANGED
        else:
            before, after = (tree[path]._replace(first_name=b"", content=None) for tree in (old, new))
            if before.kind == "d":
                after = after._replace(mtime_ns=before.mtime_ns)
            if before != after:
                yield path, Kind.METADATA


def logical(content: object) -> object:
    """A file's bytes, wherever its holes are."""
    if not isinstance(content, tuple):
        return content
    size, extents = content
    data = bytearray(size)
    for offset, piece in extents:
        data[offset : offset + len(piece)] = piece
    return bytes(data)


def with_bytes(tree: Tree) -> Tree:
    return {path: facts._replace(content=logical(facts.content)) for path, facts in tree.items()}


def run(argv: list[str | Path], *, cwd: Path | None = None) -> None:
    subprocess.run(argv, cwd=cwd, check=True)


async def test_gnu_tar_reads_what_we_pack(tmp_path: Path) -> None:
    """A second opinion: names, holes, links and attributes as another program understands them."""
    bottom = tmp_path / "bottom"
    bottom.mkdir()
    with mounted([bottom], tmp_path / "work") as (tree, upper):
        Editor(tree, 7).edit(150)
    await pack_layer(upper, tmp_path / "x.tar.zst")
    (tmp_path / "out").mkdir()
    argv: list[str | Path] = [
        "tar",
        "--zstd",
        "--xattrs",
        "--xattrs-include=user.*",
        "--same-owner",
        "--numeric-owner",
        "-xpf",
        "x.tar.zst",
        "-C",
        "out",
    ]
    run(argv, cwd=tmp_path)
    theirs = {path: facts for path, facts in read_tree(tmp_path / "out").items() if b".wh." not in path}
    assert with_bytes(theirs) == with_bytes(read_tree(upper)), "it rounds where data end to its own blocks"


async def test_we_read_what_gnu_tar_packs(tmp_path: Path) -> None:
    """Sparse files in all of its forms but the one that it advises against."""
    bottom = tmp_path / "bottom"
    bottom.mkdir()
    with mounted([bottom], tmp_path / "work") as (tree, upper):
        Editor(tree, 11).edit(150)
    for number, options in enumerate((["--format=gnu"], ["--format=pax"], ["--format=pax", "--sparse-version=0.1"])):
        archive, out = tmp_path / f"{number}.tar", tmp_path / f"out-{number}"
        out.mkdir()
        run(["tar", "-cSf", archive, "--numeric-owner", *options, "-C", upper, "."])
        with archive.open("rb") as file:
            await unpack_archive(file.fileno(), out, limits=OWN)
        want, found = read_tree(upper), read_tree(out)
        assert want.keys() == found.keys()
        for path, facts in want.items():
            assert logical(found[path].content) == logical(facts.content)
            assert (found[path].mode, found[path].owner) == (facts.mode, facts.owner)
            assert facts.kind != "-" or found[path].first_name == facts.first_name, "it links only files"


async def test_what_a_sandbox_cannot_make_but_a_layer_may_have(tmp_path: Path) -> None:
    """Devices and capabilities: of the host's making, kept in own layers."""
    layer = tmp_path / "layer"
    layer.mkdir()
    os.mknod(layer / "disk", stat.S_IFBLK | 0o660, os.makedev(259, 1_000_000))
    os.mknod(layer / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    (layer / "ping").write_bytes(b"elf")
    os.setxattr(layer / "ping", "security.capability", bytes.fromhex("0100000200200000000000000000000000000000"))
    await moved(layer, tmp_path / "copy")
    assert read_layer(layer) == read_layer(tmp_path / "copy")
