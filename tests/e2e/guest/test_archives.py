"""Archives in and out."""

from __future__ import annotations

import errno
import io
import os
import tarfile
from collections.abc import Callable

import pytest

from tests.support.guest_driver import Driver
from tests.support.guest_wire import CALL, GuestFailure, text

Member = tuple[tarfile.TarInfo, bytes]


def member(name: str, data: bytes = b"", **facts: object) -> Member:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in facts.items():
        setattr(info, key, value)
    return info, data


def archive(*members: Member, format_: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format_) as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def names(driver: Driver, path: str) -> list[str]:
    return driver.shell(f"cd {path} && find . | sort").split()


@pytest.mark.parametrize("format_", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_everything_a_member_can_say(driver: Driver, scratch: str, format_: int) -> None:
    data = os.urandom(700_000)
    members = [
        member("./", type=tarfile.DIRTYPE, mode=0o700),
        member("d", type=tarfile.DIRTYPE, mode=0o1775, mtime=1_500_000_000, uid=5, gid=6),
        member("d/file", data, mode=0o640, mtime=1_600_000_000, uid=1234, gid=56),
        member("d/suid", b"x", mode=0o4755, uid=7, gid=8),
        member("d/link", type=tarfile.SYMTYPE, linkname="../other"),
        member("hard", type=tarfile.LNKTYPE, linkname="d/file"),
        member("missing/parents/of/this", b"deep"),
        member("é ü", b"unicode"),
        member("x" * 99 + "/" + "y" * 99, b"long"),
    ]
    assert driver.extract(f"{scratch}/new/dir", archive(*members, format_=format_)) == len(members)
    file, directory, suid = (driver.stat(f"{scratch}/new/dir/{name}")[0] for name in ("d/file", "d", "d/suid"))
    assert (file.mode, file.uid, file.gid, file.mtime_ns, file.links) == (0o100640, 1234, 56, 1_600_000_000 * 10**9, 2)
    assert (directory.mode, directory.uid, directory.gid, directory.mtime_ns) == (0o041775, 5, 6, 1_500_000_000 * 10**9)
    assert (suid.mode, suid.uid, suid.gid) == (0o104755, 7, 8)
    assert driver.stat(f"{scratch}/new/dir/d/link")[1] == b"../other"
    assert driver.read_file(f"{scratch}/new/dir/hard") == data
    assert driver.read_file(f"{scratch}/new/dir/missing/parents/of/this") == b"deep"
    assert driver.read_file(f"{scratch}/new/dir/é ü") == b"unicode"
    assert driver.read_file(f"{scratch}/new/dir/{'x' * 99}/{'y' * 99}") == b"long"


def test_names_too_long_for_a_header(driver: Driver, scratch: str) -> None:
    name = "/".join(["n" * 200] * 5)
    for format_ in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        driver.extract(scratch, archive(member(name, b"x"), member("l", type=tarfile.SYMTYPE, linkname=name), format_=format_))
        assert driver.read_file(f"{scratch}/l") == b"x"


def test_what_is_there_is_replaced_but_not_directories(driver: Driver, scratch: str) -> None:
    driver.shell(f"cd {scratch}; echo old > file; ln -s /etc/passwd link; mkdir -m 700 dir dir/sub; echo keep > dir/keep; ln file other")
    driver.extract(scratch, archive(member("file", b"new"), member("link", b"no link"), member("dir", type=tarfile.DIRTYPE, mode=0o755)))
    assert [driver.read_file(f"{scratch}/{name}") for name in ("file", "link", "dir/keep", "other")] == [
        b"new",
        b"no link",
        b"keep\n",
        b"old\n",
    ]
    assert driver.stat(f"{scratch}/dir")[0].mode == 0o040755
    with pytest.raises(GuestFailure) as raised:
        driver.extract(scratch, archive(member("dir", b"file")))
    assert raised.value.errno == errno.EISDIR
    assert driver.read_file("/etc/passwd").startswith(b"root:")


ESCAPES: dict[str, list[Member]] = {
    "dots": [member("../escaped", b"x")],
    "dots inside": [member("a/../../escaped", b"x")],
    "absolute": [member("/root/escaped", b"x")],
    "link up": [member("l", type=tarfile.SYMTYPE, linkname=".."), member("l/escaped", b"x")],
    "link up from below": [member("a/b/l", type=tarfile.SYMTYPE, linkname="../../.."), member("a/b/l/escaped", b"x")],
    "absolute link": [member("l", type=tarfile.SYMTYPE, linkname="/root"), member("l/escaped", b"x")],
    "directory in the place of a link": [member("l", type=tarfile.SYMTYPE, linkname="../outside"), member("l/d", type=tarfile.DIRTYPE)],
    "hard link through a new link": [
        member("l", type=tarfile.SYMTYPE, linkname="../outside"),
        member("h", type=tarfile.LNKTYPE, linkname="l/target"),
    ],
    "hard link up": [member("h", type=tarfile.LNKTYPE, linkname="../file")],
    "hard link absolute": [member("h", type=tarfile.LNKTYPE, linkname="/etc/passwd")],
    "character device": [member("c", type=tarfile.CHRTYPE, devmajor=1, devminor=3)],
    "block device": [member("b", type=tarfile.BLKTYPE, devmajor=8, devminor=0)],
    "fifo": [member("f", type=tarfile.FIFOTYPE)],
    "through an old link": [member("out/escaped", b"x")],
    "through an old link, directory": [member("out", type=tarfile.DIRTYPE), member("out/escaped", b"x")],
    "hard link through an old link": [member("h", type=tarfile.LNKTYPE, linkname="out/target")],
    "through links made of pieces": [
        member("a/b", type=tarfile.DIRTYPE),
        member("a/b/up", type=tarfile.SYMTYPE, linkname=".."),
        member("a/up2", type=tarfile.SYMTYPE, linkname="b/up/../.."),
        member("a/up2/../../root/escaped", b"x"),
    ],
    "through a link that was inside where it was made": [
        member("a/b/c", type=tarfile.DIRTYPE),
        member("x", type=tarfile.SYMTYPE, linkname="a/b/c"),
        member("y", type=tarfile.SYMTYPE, linkname="x/../../.."),
        member("y/../escaped", b"x"),
    ],
}


@pytest.mark.parametrize("case", ESCAPES)
def test_nothing_leaves_the_directory(driver: Driver, scratch: str, case: str) -> None:
    driver.shell(f"cd {scratch}; mkdir inside outside; ln -s ../outside inside/out; echo t > outside/target")
    with pytest.raises(GuestFailure) as raised:
        driver.extract(f"{scratch}/inside", archive(*ESCAPES[case]))
    assert raised.value.errno == errno.EINVAL
    assert not driver.exists(f"{scratch}/escaped") and not driver.exists("/root/escaped")
    assert names(driver, f"{scratch}/outside") == [".", "./target"]
    assert driver.stat(f"{scratch}/outside/target")[0].links == 1


def test_links_that_lead_out_come_as_they_are(driver: Driver, scratch: str) -> None:
    """A virtual environment has them; that nothing is written through them is what counts."""
    targets = {"python": "/usr/bin/python3", "up": "../../somewhere", "dangling": "none"}
    driver.extract(scratch, archive(*(member(name, type=tarfile.SYMTYPE, linkname=target) for name, target in targets.items())))
    assert {name: driver.stat(f"{scratch}/{name}")[1].decode() for name in targets} == targets


def test_a_chain_of_links_that_resolves_outside_is_not_followed(driver: Driver, scratch: str) -> None:
    """Each link looks harmless by its text; the walk is what counts."""
    driver.make_directory(f"{scratch}/inside")
    members = [
        member("d/e", type=tarfile.DIRTYPE),
        member("l", type=tarfile.SYMTYPE, linkname="d/e"),
        member("m", type=tarfile.SYMTYPE, linkname="l/../../.."),
    ]
    with pytest.raises(GuestFailure) as raised:
        driver.extract(f"{scratch}/inside", archive(*members, member("m/escaped", b"x")))
    assert raised.value.errno == errno.EINVAL
    members[2] = member("m", type=tarfile.SYMTYPE, linkname="l/..")
    assert driver.extract(f"{scratch}/inside", archive(*members, member("m/f", b"x"))) == 4
    assert driver.exists(f"{scratch}/inside/d/f")


def test_links_inside_are_followed_on_the_way(driver: Driver, scratch: str) -> None:
    driver.shell(f"cd {scratch}; mkdir -p usr/lib; ln -s usr/lib lib; ln -s {scratch}/usr abs; ln -s self self")
    driver.extract(scratch, archive(member("lib/a", b"1"), member("abs/b", b"2"), member("lib", type=tarfile.DIRTYPE)))
    assert names(driver, f"{scratch}/usr") == [".", "./b", "./lib", "./lib/a"]
    with pytest.raises(GuestFailure) as raised:
        driver.extract(scratch, archive(member("self/x", b"")))
    assert raised.value.errno == errno.ELOOP


def test_a_process_swapping_directories_for_links_gains_nothing(driver: Driver, scratch: str) -> None:
    driver.shell(f"cd {scratch}; mkdir inside outside")
    swapper = driver.start(["python3", "-S", "-c", SWAPPER, scratch])
    seen = set()
    for _ in range(20):
        try:
            driver.extract(f"{scratch}/inside", archive(*[member(f"d/{number}", b"x") for number in range(50)]))
        except GuestFailure as error:
            seen.add(error.errno)
    driver.signal(swapper, 9)
    driver.wait(swapper)
    assert seen <= {errno.EINVAL, errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.ELOOP}
    assert names(driver, f"{scratch}/outside") == ["."]


SWAPPER = """
import os, sys
os.chdir(sys.argv[1])
os.makedirs('inside/d', exist_ok=True)
while True:
    for act in (lambda: os.rename('inside/d', 'aside'), lambda: os.symlink('../outside', 'inside/d'), lambda: os.unlink('inside/d'),
                lambda: os.rename('aside', 'inside/d')):
        try: act()
        except OSError: pass
"""


def cut_short(data: bytes) -> bytes:
    return data[:-1024]


@pytest.mark.parametrize(
    "spoil",
    [
        cut_short,
        lambda data: data[:700],
        lambda data: data[:512],
        lambda data: b"",
        lambda data: b"\x1f\x8b" + data[2:],
        lambda data: data[:512] + b"x" + data[513:1024] + b"y" * 512,
    ],
)
def test_spoiled_archives_are_refused(driver: Driver, scratch: str, spoil: Callable[[bytes], bytes]) -> None:
    good = cut_short(
        archive(member("a", b"x" * 300), member("b", b"y"), format_=tarfile.USTAR_FORMAT).rstrip(b"\0").ljust(4 * 512, b"\0")
    ) + bytes(1024)
    with pytest.raises(GuestFailure) as raised:
        driver.extract(scratch, spoil(good))
    assert raised.value.errno == errno.EINVAL


def test_sparse_files_are_refused_rather_than_spoiled(driver: Driver, scratch: str) -> None:
    info, data = member("sparse", b"x" * 512)
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "s", "GNU.sparse.realsize": "512"}
    with pytest.raises(GuestFailure) as raised:
        driver.extract(scratch, archive((info, data)))
    assert raised.value.errno == errno.EINVAL


@pytest.mark.timeout(120)
def test_a_hundred_thousand_members(driver: Driver) -> None:
    """In memory: what is tried is the guest, not the disk. Others get their turn meanwhile, and it all goes again."""
    place = "/dev/shm/cove-many"
    members = [member(f"d{number // 1000}/{number}", b"%d" % number) for number in range(100_000)]
    assert driver.extract(place, archive(*members, format_=tarfile.USTAR_FORMAT)) == 100_000
    assert driver.read_file(f"{place}/d99/99999") == b"99999"
    assert driver.shell(f"find {place} -type f | wc -l", timeout_s=30) == "100000\n"
    removal = driver.open(CALL, b"\x04" + text(place) + b"\x01")
    driver.ping()
    driver.reply(removal, timeout_s=60)


def unpacked(data: bytes) -> dict[str, tuple[tarfile.TarInfo, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {info.name: (info, tar.extractfile(info).read() if info.isreg() else b"") for info in tar}  # type: ignore[union-attr]


def test_a_directory_becomes_an_archive_that_others_read(driver: Driver, scratch: str) -> None:
    big = os.urandom(400_000)
    driver.write_file(f"{scratch}/t/big", big, 0o640, parents=True)
    long = "/".join(["l" * 200] * 3)
    driver.write_file(f"{scratch}/t/{long}", b"deep", parents=True)
    driver.shell(
        f"cd {scratch}/t; ln big hard; ln -s ../nowhere link; mkdir empty; chmod 1777 empty; "
        "chown 3000000:12 big; mkfifo fifo; touch -d @1500000000 big"
    )
    found = unpacked(driver.archive(f"{scratch}/t"))
    first = long.split("/")[0]
    assert list(found)[:5] == ["big", "empty", "hard", "link", first]
    info, data = found["big"]
    assert (data, info.mode, info.uid, info.gid, info.mtime) == (big, 0o640, 3_000_000, 12, 1_500_000_000)
    assert (found["hard"][0].type, found["hard"][0].linkname) == (tarfile.LNKTYPE, "big")
    assert (found["link"][0].type, found["link"][0].linkname) == (tarfile.SYMTYPE, "../nowhere")
    assert (found["empty"][0].type, found["empty"][0].mode) == (tarfile.DIRTYPE, 0o1777)
    assert found[long][1] == b"deep"
    assert set(unpacked(driver.archive(f"{scratch}/t", own_name=True))) >= {"t", "t/big", f"t/{long}"}
    assert {name: data for name, (_, data) in unpacked(driver.archive(f"{scratch}/t/big")).items()} == {"big": big}


def test_there_and_back(driver: Driver, scratch: str) -> None:
    driver.shell(
        f"mkdir -p {scratch}/from/a/b; cd {scratch}/from; seq 1 10000 > a/numbers; ln a/numbers a/b/same; ln -s numbers a/link; chmod 750 a"
    )
    driver.extract(f"{scratch}/to", driver.archive(f"{scratch}/from"))
    listing = "find . -printf '%p %y %m %s %l %n %Ts\\n' | grep -v '^[.] ' | sort"
    assert (
        driver.shell(f"cd {scratch}/to && {listing}").splitlines()[1:] == driver.shell(f"cd {scratch}/from && {listing}").splitlines()[1:]
    )


def test_archiving_what_cannot_be(driver: Driver, scratch: str) -> None:
    driver.shell(f"mkfifo {scratch}/fifo")
    for path, number in [(f"{scratch}/none", errno.ENOENT), (f"{scratch}/fifo", errno.EINVAL)]:
        with pytest.raises(GuestFailure) as raised:
            driver.archive(path)
        assert raised.value.errno == number


def test_a_file_that_shrinks_or_grows_meanwhile_does_not_break_the_archive(driver: Driver, scratch: str) -> None:
    changer = driver.start(["sh", "-c", f"while :; do head -c 300000 /dev/zero > {scratch}/a; : > {scratch}/a; done"])
    driver.write_file(f"{scratch}/z", b"last")
    for _ in range(10):
        assert unpacked(driver.archive(scratch))["z"][1] == b"last"
    driver.signal(changer, 9, tree=True)
    driver.wait(changer)


def test_an_empty_directory(driver: Driver, scratch: str) -> None:
    assert driver.archive(scratch) == bytes(1024)
    assert driver.extract(scratch, bytes(1024)) == 0
