"""Archives of enemies: nothing is made, changed or linked outside of the directory, and what cannot be is refused with a type."""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cove.exception import DataLossError, InvalidError, RequestSizeError, ResourceExhaustedError
from sandboxd import kernel
from snapshots.digest import digest_of
from snapshots.layers.limits import MAX_PATH_BYTES, Expected, Limits
from tests.unit.snapshots.layers.layer_trees import read_layer
from tests.unit.snapshots.layers.tar_making import LIMITS, Member, directory, file, hard_link, special, symlink, tar, unpack_here

pytestmark = pytest.mark.needs_root


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A directory beside the layer, with a file in it; both must stay as they are."""
    place = tmp_path / "outside"
    place.mkdir()
    (place / "secret").write_text("host")
    before = read_layer(place)
    yield place
    assert read_layer(place) == before
    assert (place / "secret").stat().st_nlink == 1


def test_names_that_climb_or_are_absolute_stay_inside(tmp_path: Path, outside: Path) -> None:
    climbing = "../" * 40 + str(outside) + "/dotdot"
    members = [file(climbing), file(f"{outside}/absolute"), file("a/../../b"), directory("../../.."), file("./././c//d")]
    unpack_here(tar(*members), tmp_path / "layer")
    inside = tmp_path / "layer" / str(outside).lstrip("/")
    assert sorted(path.name for path in inside.iterdir()) == ["absolute", "dotdot"]
    assert (tmp_path / "layer/b").exists() and (tmp_path / "layer/c/d").exists()


@pytest.mark.parametrize("target", ["{outside}", "../outside", "second", "."])
def test_nothing_is_written_through_a_link(tmp_path: Path, outside: Path, target: str) -> None:
    links = [symlink("second", str(outside)), symlink("link", target.format(outside=outside))]
    for attack in (
        file("link/escaped"),
        directory("link/escaped"),
        symlink("link/escaped", "x"),
        hard_link("link/escaped", "second"),
        file("link/.wh.secret"),
    ):
        with pytest.raises(InvalidError, match="no directory"):
            unpack_here(tar(*links, attack), tmp_path / f"layer-{attack[0].type!r}-{len(attack[0].name)}")


def test_entries_replace_links_instead_of_following_them(tmp_path: Path, outside: Path) -> None:
    secret = str(outside / "secret")
    again: list[Member] = [file("a", b"new"), directory("b"), hard_link("c", "a"), special("d", tarfile.FIFOTYPE), symlink("e", "x")]
    unpack_here(tar(*(symlink(name, secret) for name in "abcde"), *again), tmp_path / "layer")
    kinds = {path.decode(): facts.kind for path, facts in read_layer(tmp_path / "layer").entries.items()}
    assert kinds == {"": "d", "a": "-", "b": "d", "c": "-", "d": "p", "e": "l"}


@pytest.mark.parametrize(
    "target", ["{outside}/secret", "../outside/secret", "link/secret", "later", "self", "dir", "", ".", "gone", "dir/../../x"]
)
def test_hard_links_lead_to_earlier_members_alone(tmp_path: Path, outside: Path, target: str) -> None:
    members = [symlink("link", str(outside)), directory("dir"), file(".wh.gone")]
    with pytest.raises(InvalidError):
        unpack_here(tar(*members, hard_link("self", target.format(outside=outside)), file("later")), tmp_path / "layer")


def test_a_hard_link_to_a_symlink_is_one(tmp_path: Path, outside: Path) -> None:
    unpack_here(tar(symlink("link", str(outside / "secret")), hard_link("again", "link")), tmp_path / "layer")
    assert (tmp_path / "layer/again").is_symlink()


def test_the_last_of_a_name_stays(tmp_path: Path) -> None:
    members: list[Member] = [file("a", b"old", pax={"SCHILY.xattr.user.x": "1"}), file("a", b"new"), symlink("b", "x"), file("b")]
    members += [directory("c", mode=0o700), directory("c", mode=0o711), directory("d"), file("d", b"file"), file("e"), directory("e")]
    unpack_here(tar(*members), tmp_path / "layer")
    entries = read_layer(tmp_path / "layer").entries
    assert ((tmp_path / "layer/a").read_bytes(), entries[b"a"].xattrs) == (b"new", ())
    assert [entries[name].kind for name in (b"b", b"c", b"d", b"e")] == ["-", "d", "-", "d"]
    assert entries[b"c"].mode == 0o711


@pytest.mark.parametrize(
    "later", [file("dir"), symlink("dir", "x"), hard_link("dir", "other"), special("dir", tarfile.FIFOTYPE)], ids=lambda m: str(m[0].type)
)
def test_a_directory_with_something_in_it_is_not_replaced(tmp_path: Path, later: Member) -> None:
    with pytest.raises(InvalidError, match="not empty"):
        unpack_here(tar(file("other"), file("dir/file"), later), tmp_path / "layer")


def test_whiteouts_in_any_order(tmp_path: Path) -> None:
    members = [file(".wh.plain"), file("before"), file(".wh.before"), file(".wh.after"), file("after")]
    members += [directory("dir"), file(".wh.dir"), file(".wh.late"), directory("late"), file(".wh.way"), file("way/file")]
    unpack_here(tar(*members), tmp_path / "layer")
    layer = read_layer(tmp_path / "layer")
    assert layer.whiteouts == {b"plain"}
    assert layer.opaque == {b"dir", b"late", b"way"}
    assert {b"before", b"after", b"way/file"} <= layer.entries.keys()


def test_opaque_marks_and_aufs_records(tmp_path: Path) -> None:
    result = unpack_here(
        tar(file("a/b"), file("a/.wh..wh..opq"), file("new/.wh..wh..opq"), file(".wh..wh.plnk"), file(".wh..wh.aufs")), tmp_path / "layer"
    )
    layer = read_layer(tmp_path / "layer")
    assert layer.opaque == {b"a", b"new"}
    assert layer.entries.keys() == {b"", b"a", b"a/b", b"new"}
    assert result["notes"] == ["2 records of aufs left out: .wh..wh.plnk, .wh..wh.aufs"]


@pytest.mark.parametrize("name", [".wh.", ".wh..", ".wh...", "a/.wh...", "a/.wh."])
def test_whiteouts_of_nothing_or_of_the_directory_itself_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidError, match="whiteout"):
        unpack_here(tar(directory("a"), file(name)), tmp_path / "layer")


@pytest.mark.parametrize(
    "member", [directory(".wh.x"), file(".wh.x/below"), symlink("a/.wh.x/y/z", "t")], ids=["itself", "parent", "above"]
)
def test_directories_named_like_whiteouts_are_refused(tmp_path: Path, member: Member) -> None:
    with pytest.raises(InvalidError, match="whiteout"):
        unpack_here(tar(member), tmp_path / "layer")


def test_devices_are_kept_only_when_asked_for_and_never_as_forged_whiteouts(tmp_path: Path) -> None:
    devices = [
        special("disk", tarfile.BLKTYPE, device=(8, 1)),
        special("null", tarfile.CHRTYPE, device=(1, 3)),
        special("forged", tarfile.CHRTYPE),
    ]
    left_out = unpack_here(tar(*devices), tmp_path / "strange")
    assert list((tmp_path / "strange").iterdir()) == []
    assert left_out["notes"] == ["3 device nodes left out: disk, null, forged"]
    kept = unpack_here(tar(*devices), tmp_path / "own", devices=True)
    assert stat.S_ISBLK((tmp_path / "own/disk").lstat().st_mode) and (tmp_path / "own/null").lstat().st_rdev == os.makedev(1, 3)
    assert kept["notes"] == ["1 device nodes left out: forged"]


def test_attributes_that_mean_something_to_overlayfs_or_the_host_are_left_out(tmp_path: Path) -> None:
    names = [
        "trusted.overlay.opaque",
        "trusted.overlay.redirect",
        "trusted.overlay.metacopy",
        "security.selinux",
        "security.ima",
        "trusted.x",
        "system.x",
    ]
    pax = {f"SCHILY.xattr.{name}": "y" for name in names} | {"SCHILY.xattr.user.kept": "1"}
    info, content = directory("dir")
    info.pax_headers = dict(pax)
    result = unpack_here(tar(file("file", pax=pax), (info, content)), tmp_path / "layer")
    for name in ("file", "dir"):
        assert os.listxattr(tmp_path / "layer" / name) == ["user.kept"]
    assert result["notes"] == ["2 files' foreign attributes left out: file, dir"]


def test_directories_keep_their_mtimes_whatever_is_put_into_them_when(tmp_path: Path) -> None:
    members = [
        directory("a", mtime=1),
        directory("a/b", mtime=2),
        file("c/d"),
        file("a/b/x"),
        hard_link("a/y", "a/b/x"),
        file("a/.wh.z"),
        directory(".", mtime=5),
    ]
    unpack_here(tar(*members, directory("c", mtime=3), file("c/e"), hard_link("a/v", "c/e"), file("a/b/w")), tmp_path / "layer")
    entries = read_layer(tmp_path / "layer").entries
    assert [entries[name].mtime_ns // 10**9 for name in (b"", b"a", b"a/b", b"c")] == [5, 1, 2, 3]


@pytest.mark.parametrize(
    "name",
    ["a/" * (MAX_PATH_BYTES // 2 + 1), "x" * 256, "a/" * 1001 + "b", "/", ".", "..", "nul\0x"],
    ids=["long", "long-part", "deep", "root", "dot", "dotdot", "nul"],
)
def test_names_that_no_file_can_have(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidError):
        unpack_here(tar(file("placeholder", pax={"path": name})), tmp_path / "layer")


@pytest.mark.parametrize(
    "pax",
    [
        {"uid": "4294967295"},
        {"gid": "99999999999999"},
        {"mtime": "9" * 30},
        {"mtime": "x"},
        {"size": "-1"},
        {"size": "1_0"},
    ],
)
def test_numbers_that_no_file_can_have(tmp_path: Path, pax: dict[str, str]) -> None:
    with pytest.raises(InvalidError):
        unpack_here(tar(file("a", pax=pax)), tmp_path / "layer")


@pytest.mark.parametrize(
    ("limits", "members"),
    [
        (LIMITS._replace(members=3), [file(str(number)) for number in range(4)]),
        (LIMITS._replace(declared_bytes=1000), [file("a", bytes(600)), file("b", bytes(600))]),
        (LIMITS._replace(tar_bytes=20_000), [file("a", bytes(30_000))]),
        (LIMITS._replace(extended_header_bytes=1000), [file("a", pax={"comment": "x" * 2000})]),
    ],
    ids=["members", "declared", "decompressed", "header"],
)
def test_more_than_the_limits_allow(tmp_path: Path, limits: Limits, members: list[Member]) -> None:
    with pytest.raises(RequestSizeError):
        unpack_here(tar(*members), tmp_path / "layer", limits=limits)


def test_a_huge_declared_size_costs_nothing(tmp_path: Path) -> None:
    info, _ = file("big")
    info.size = 2**50
    with pytest.raises(RequestSizeError):
        unpack_here(info.tobuf(tarfile.GNU_FORMAT), tmp_path / "layer")
    with pytest.raises(RequestSizeError):
        unpack_here(_pax_of(2**33), tmp_path / "other")


def _pax_of(size: int) -> bytes:
    info = tarfile.TarInfo("././@PaxHeader")
    info.type, info.size = tarfile.XHDTYPE, size
    return info.tobuf(tarfile.GNU_FORMAT) + bytes(1024)


def test_the_disks_reserve_is_left(tmp_path: Path) -> None:
    free = os.statvfs(tmp_path)
    limits = LIMITS._replace(reserve_bytes=free.f_bavail * free.f_frsize + 2**40)
    with pytest.raises(ResourceExhaustedError):
        unpack_here(tar(file("a")), tmp_path / "layer", limits=limits)


def test_a_full_disk_is_told_from_a_bad_archive(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    kernel.mount("test", small, "tmpfs", data="size=1m")
    try:
        with pytest.raises(ResourceExhaustedError, match="full"):
            unpack_here(tar(*(file(str(number), os.urandom(300_000)) for number in range(10))), small)
    finally:
        kernel.umount(small)


def test_what_is_expected_is_verified(tmp_path: Path) -> None:
    archive = tar(file("a"))
    right = digest_of(archive)
    wrong = digest_of(b"other")
    unpack_here(archive, tmp_path / "right", expect=Expected(right, right, len(archive)))
    for number, expect in enumerate(
        [Expected(wrong), Expected(None, wrong), Expected(None, None, 7), Expected(right, right, len(archive) + 1)]
    ):
        with pytest.raises(DataLossError):
            unpack_here(archive, tmp_path / f"wrong-{number}", expect=expect)


def test_damage_on_the_way_is_told_from_an_archive_made_badly(tmp_path: Path) -> None:
    archive = tar(file("a", bytes(5000)))
    damaged = archive[:100] + b"\xff" + archive[101:]
    with pytest.raises(DataLossError):
        unpack_here(damaged, tmp_path / "damaged", expect=Expected(digest_of(archive)))
    with pytest.raises(InvalidError):
        unpack_here(damaged, tmp_path / "bad", expect=Expected(digest_of(damaged)))


def test_a_missing_end_is_forgiven_only_where_a_digest_proves_the_rest(tmp_path: Path) -> None:
    archive = tar(file("a", b""))[:512]
    with pytest.raises(InvalidError, match="no end"):
        unpack_here(archive, tmp_path / "unknown")
    unpack_here(archive, tmp_path / "known", expect=Expected(digest_of(archive)))


@pytest.mark.parametrize(
    "extra", [b"x", bytes(600) + b"x", tar(file("b")), bytes(2 * 2**20)], ids=["byte", "late-byte", "second", "endless"]
)
def test_what_follows_the_end_is_refused(tmp_path: Path, extra: bytes) -> None:
    with pytest.raises(InvalidError):
        unpack_here(tar(file("a")) + extra, tmp_path / "layer")
