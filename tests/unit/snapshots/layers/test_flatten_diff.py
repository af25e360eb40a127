"""Flattening and differences of stacks made by hand, for what random edits meet seldom; the kernel's say is in the conformance tests."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from pathlib import Path

import pytest

from snapshots.layers.diff import Change, Kind, diff_layers
from snapshots.layers.flatten import flatten_layers
from tests.unit.snapshots.layers.layer_trees import OPAQUE, merge, read_layer

pytestmark = pytest.mark.needs_root

GONE = None
Made = Mapping[str, str | None]
"""Names to contents; None is a whiteout, a name ending in ``/`` a directory, in ``/!`` an opaque one."""


def make(place: Path, entries: Made) -> Path:
    place.mkdir()
    for name, text in entries.items():
        path = place / name.rstrip("/!")
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is GONE:
            os.mknod(path, stat.S_IFCHR, 0)
        elif name.endswith(("/", "/!")):
            path.mkdir(exist_ok=True)
            if name.endswith("!"):
                os.setxattr(path, OPAQUE, b"y")
        else:
            path.write_text(text)
            os.utime(path, ns=(0, 5))
    return place


def stack(place: Path, *layers: Made) -> list[Path]:
    place.mkdir()
    return [make(place / str(number), entries) for number, entries in enumerate(layers)]


def flat(layers: list[Path], into: Path, *, base: bool = False) -> Path:
    into.mkdir()
    flatten_layers(layers, into, base=base)
    return into


BELOW: Made = {"keep/old": "0", "gone/old": "0", "replaced/old": "0", "file": "0", "opaque/old": "0"}


def test_what_hides_lower_layers_still_does(tmp_path: Path) -> None:
    below, *upper = stack(
        tmp_path / "stack",
        BELOW,
        {"keep/": "", "gone": GONE, "replaced": "a file", "file": GONE, "opaque/!": "", "opaque/x": GONE},
        {"keep/new": "1", "gone/new": "1", "replaced/new": "1", "file": "again", "opaque/new": "1", "unrelated": GONE},
    )
    flattened = flat(upper, tmp_path / "flat")
    layer = read_layer(flattened)
    assert layer.whiteouts == {b"unrelated"}
    assert layer.opaque == {b"gone", b"replaced", b"opaque"}
    assert merge([read_layer(below), layer]) == merge([read_layer(one) for one in (below, *upper)])
    assert not (flattened / "replaced/old").exists()


def test_a_base_hides_nothing(tmp_path: Path) -> None:
    layers = stack(tmp_path / "stack", {"a": "0", "d/x": "0"}, {"a": GONE, "b": GONE, "d/!": "", "d/y": "1"})
    layer = read_layer(flat(layers, tmp_path / "flat", base=True))
    assert layer.entries.keys() == {b"", b"d", b"d/y"}
    assert not layer.whiteouts and not layer.opaque


def test_a_mark_on_a_layers_root_means_nothing_as_for_the_kernel(tmp_path: Path) -> None:
    layers = stack(tmp_path / "stack", {"a": "0"}, {"b": "1"})
    os.setxattr(layers[1], OPAQUE, b"y")
    assert read_layer(flat(layers, tmp_path / "flat")).entries.keys() == {b"", b"a", b"b"}


def test_hard_links_within_a_layer_stay_and_do_not_join_layers(tmp_path: Path) -> None:
    layers = stack(tmp_path / "stack", {"a": "0", "d/": ""}, {"c": "1"})
    os.link(layers[0] / "a", layers[0] / "d/again")
    os.link(layers[0] / "a", layers[0] / "c")
    flattened = flat(layers, tmp_path / "flat")
    assert (flattened / "a").stat().st_ino == (flattened / "d/again").stat().st_ino
    assert (flattened / "c").read_text() == "1" and (flattened / "c").stat().st_nlink == 1


def test_metadata_of_directories_is_the_topmosts(tmp_path: Path) -> None:
    layers = stack(tmp_path / "stack", {"d/x": "0"}, {"d/y": "1"})
    for number, layer in enumerate(layers):
        (layer / "d").chmod(0o700 + number)
        os.setxattr(layer / "d", f"user.of-{number}", b"x")
        os.utime(layer / "d", ns=(number, number))
        os.utime(layer, ns=(number + 5, number + 5))
    entries = read_layer(flat(layers, tmp_path / "flat")).entries
    assert (entries[b"d"].mode, entries[b"d"].mtime_ns, entries[b"d"].xattrs) == (0o701, 1, (("user.of-1", b"x"),))
    assert entries[b""].mtime_ns == 6


@pytest.mark.parametrize("code", [None, errno.ENOTSUP, errno.EXDEV])
def test_content_and_holes_survive_where_nothing_can_be_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int | None) -> None:
    (layer,) = stack(tmp_path / "stack", {"empty": ""})
    with (layer / "holes").open("wb") as file:
        for offset in (0, 10 * 2**20, 50 * 2**20):
            file.seek(offset)
            file.write(os.urandom(2**20 + 7))
        file.truncate(80 * 2**20)

    def refuse(*_: object) -> None:
        raise OSError(code, "no sharing")

    if code is not None:
        monkeypatch.setattr("snapshots.layers.content.fcntl.ioctl", refuse)
    flattened = flat([layer], tmp_path / "flat")
    assert read_layer(flattened) == read_layer(layer)
    assert (flattened / "holes").stat().st_blocks * 512 < 10 * 2**20


def test_flattening_into_something_is_refused(tmp_path: Path) -> None:
    (layer,) = stack(tmp_path / "stack", {"a": "0"})
    with pytest.raises(FileExistsError):
        flatten_layers([layer], layer)


def test_every_kind_of_difference(tmp_path: Path) -> None:
    old = stack(
        tmp_path / "old",
        {"same": "0", "text": "0", "mode": "0", "gone/x": "0", "to-dir": "0", "to-file/x": "0", "touched": "0", "d/in": "0"},
    )
    change = {
        "text": "1",
        "mode": "0",
        "gone": GONE,
        "new/x": "1",
        "to-dir/x": "1",
        "to-file": "1",
        "touched": "0",
        "d/": "",
        "never": GONE,
    }
    new = [*old, make(tmp_path / "change", change)]
    (new[1] / "mode").chmod(0o600)
    os.utime(new[1] / "touched", ns=(1, 1))
    assert list(diff_layers(old, new)) == [
        Change(b"gone", Kind.REMOVED),
        Change(b"gone/x", Kind.REMOVED),
        Change(b"mode", Kind.METADATA),
        Change(b"new", Kind.ADDED),
        Change(b"new/x", Kind.ADDED),
        Change(b"text", Kind.CHANGED),
        Change(b"to-dir", Kind.CHANGED),
        Change(b"to-dir/x", Kind.ADDED),
        Change(b"to-file", Kind.CHANGED),
        Change(b"to-file/x", Kind.REMOVED),
        Change(b"touched", Kind.METADATA),
    ]


def test_stacks_without_anything_in_common_are_compared_by_content(tmp_path: Path) -> None:
    first, second = (stack(tmp_path / name, {"a": "0", "d/b": "1"}) for name in ("one", "other"))
    assert list(diff_layers(first, second)) == []
    (second[0] / "d/b").write_text("2")
    os.utime(second[0] / "d/b", ns=(0, 5))
    assert list(diff_layers(first, second)) == [Change(b"d/b", Kind.CHANGED)]


def test_shared_layers_are_not_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of a shared layer is never opened, and a directory that only shared layers have is not compared by entries."""
    old = stack(tmp_path / "old", {f"shared/{number}": "0" for number in range(20)})
    new = [*old, make(tmp_path / "change", {"new": "1"})]
    opened: list[str | bytes] = []
    real = os.open

    def counting(path: str | bytes, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        opened.append(path)
        return real(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", counting)
    assert list(diff_layers(old, new)) == [Change(b"new", Kind.ADDED)]
    assert b"shared" in opened and not {b"0", b"1", b"19"} & set(opened)


def test_a_difference_left_early_leaves_no_descriptor(tmp_path: Path) -> None:
    old = stack(tmp_path / "old", {"a/b/c": "0"})
    new = stack(tmp_path / "new", {"a/b/d/e/f": "0"})
    before = len(list(Path("/proc/self/fd").iterdir()))
    differences = diff_layers(old, new)
    next(differences)
    differences.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_large_files_that_differ_at_their_end(tmp_path: Path) -> None:
    first, second = (stack(tmp_path / name, {"big": ""}) for name in ("one", "other"))
    for layer, last in ((first[0], b"x"), (second[0], b"y")):
        (layer / "big").write_bytes(bytes(3 * 2**20) + last)
        os.utime(layer / "big", ns=(0, 5))
    assert list(diff_layers(first, second)) == [Change(b"big", Kind.CHANGED)]
