"""Base images: hostile and odd tarballs, builds that are shared, interrupted and fail, and the default image as users get it."""

from __future__ import annotations

import asyncio
import contextlib
import io
import lzma
import os
import re
import stat
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cove.exception import InvalidError, NotFoundError, RemoteError
from cove.wire.common_pb2 import ImageRef
from sandboxd import image_build, settings
from sandboxd.base_image import BaseImage, BaseImages, tree_size
from sandboxd.image_recipe import Recipe

pytestmark = pytest.mark.needs_root

Member = tuple[tarfile.TarInfo, bytes]


def _file(name: str, content: bytes = b"x", mode: int = 0o644, uid: int = 0) -> Member:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.uid, info.gid = len(content), mode, uid, uid
    return info, content


def _special(name: str, kind: bytes, target: str = "", uid: int = 0) -> Member:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode, info.uid = kind, target, 0o777, uid
    return info, b""


def _tar(*members: Member) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def images(tmp_path: Path) -> BaseImages:
    return BaseImages(tmp_path / "images")


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A directory of the host that archives try to reach; it must stay empty."""
    directory = tmp_path / "outside"
    directory.mkdir()
    yield directory
    assert list(directory.iterdir()) == []


async def _unpacked(images: BaseImages, tmp_path: Path, content: bytes) -> BaseImage:
    tarball = tmp_path / "rootfs.tar"
    tarball.write_bytes(content)
    return await images.ensure(ImageRef(rootfs_path=str(tarball)))


def _left(images_dir: Path) -> list[str]:
    """What is in the cache beside lock files."""
    return sorted(path.name for path in images_dir.iterdir() if path.suffix != ".lock")


def _zstd(data: bytes) -> bytes:
    return subprocess.run(["zstd", "-qc"], input=data, capture_output=True, check=True).stdout


@pytest.mark.parametrize("compress", [bytes, lzma.compress, _zstd], ids=["plain", "xz", "zstd"])
async def test_a_tarball_keeps_owners_modes_and_links(images: BaseImages, tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    content = _tar(
        _special("./bin", tarfile.SYMTYPE, "usr/bin"),
        _file("./usr/bin/su", mode=0o4755),
        _file("./home/user/note", b"hello", mode=0o600, uid=1000),
        _special("./home/user/again", tarfile.LNKTYPE, "./home/user/note", uid=1000),
        _special("./absolute", tarfile.SYMTYPE, "/home/user/note"),
    )
    image = await _unpacked(images, tmp_path, compress(content))
    note = image.path / "home/user/note"
    assert (note.read_bytes(), note.stat().st_uid, note.stat().st_nlink) == (b"hello", 1000, 2)
    assert stat.S_IMODE((image.path / "usr/bin/su").stat().st_mode) == 0o4755
    assert (image.path / "bin").readlink() == Path("usr/bin")
    assert (image.path / "absolute").readlink() == Path("/home/user/note")
    assert stat.S_IMODE((image.path / "home").stat().st_mode) == 0o755, "parents that the archive leaves out are not open to all"
    assert image.env["PATH"].startswith("/usr/local/sbin")


async def test_prebuilt_images_go_first_and_bring_versions(tmp_path: Path) -> None:
    prebuilt = tmp_path / "bases"
    prebuilt.mkdir()
    for name in ("debian-3.11.tar", "debian-3.9.tar.xz", "debian-3.12.zip", "other.tar", ".debian-3.10.tar.part"):
        content = _tar(_file("./etc/made-of", name.encode()))
        (prebuilt / name).write_bytes(lzma.compress(content) if name.endswith(".xz") else content)
    images = BaseImages(tmp_path / "images", prebuilt=prebuilt)
    assert images.pythons() == ["3.11", "3.13", "3.9"]
    image = await images.ensure(ImageRef(debian="3.11"))
    assert ((image.path / "etc/made-of").read_bytes(), image.python) == (b"debian-3.11.tar", "3.11")
    assert (await images.ensure(ImageRef(debian="3.9"))).python == "3.9"
    with pytest.raises(InvalidError, match=re.escape("There are 3.11, 3.13, 3.9")):
        await images.ensure(ImageRef(debian="3.12"))
    assert BaseImages(tmp_path / "images", prebuilt=tmp_path / "none").pythons() == ["3.11", "3.13"]


async def test_no_name_or_link_leads_out(images: BaseImages, tmp_path: Path, outside: Path) -> None:
    away = str(outside)
    image = await _unpacked(
        images,
        tmp_path,
        _tar(
            _file("ok"),
            _file(f"{'../' * 40}{away}/dotdot"),
            _file(f"{away}/absolute"),
            _special("link", tarfile.SYMTYPE, away),
            _special("up", tarfile.SYMTYPE, "../" * 40 + away),
        ),
    )
    assert (image.path / "ok").exists()
    assert (image.path / away.lstrip("/") / "absolute").read_bytes() == b"x", "an absolute name is one inside"


@pytest.mark.parametrize("link", ["absolute", "relative", "chain"])
async def test_writing_through_a_link_stays_inside(images: BaseImages, tmp_path: Path, outside: Path, link: str) -> None:
    target = {"absolute": str(outside), "relative": "../" * 40 + str(outside), "chain": "second"}[link]
    members = [_special("first", tarfile.SYMTYPE, target), _special("second", tarfile.SYMTYPE, str(outside)), _file("first/escaped")]
    with contextlib.suppress(InvalidError):
        await _unpacked(images, tmp_path, _tar(*members))


async def test_a_hard_link_cannot_reach_a_host_file(images: BaseImages, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("host")
    for target in (str(secret), "../" * 40 + str(secret)):
        with pytest.raises(InvalidError):
            await _unpacked(images, tmp_path, _tar(_special("stolen", tarfile.LNKTYPE, target)))
    assert secret.stat().st_nlink == 1
    assert _left(tmp_path / "images") == []


async def test_a_file_replaces_a_link_instead_of_writing_through_it(images: BaseImages, tmp_path: Path) -> None:
    image = await _unpacked(images, tmp_path, _tar(_file("kept", b"old"), _special("link", tarfile.SYMTYPE, "kept"), _file("link", b"new")))
    assert ((image.path / "kept").read_bytes(), (image.path / "link").read_bytes()) == (b"old", b"new")


async def test_device_nodes_are_left_out_with_a_note(images: BaseImages, tmp_path: Path) -> None:
    disk = _special("dev/sda", tarfile.BLKTYPE)
    disk[0].devmajor = 8
    image = await _unpacked(images, tmp_path, _tar(_file("ok"), disk, *(_special(f"dev/c{n}", tarfile.CHRTYPE) for n in range(9))))
    assert not any(stat.S_ISBLK(path.lstat().st_mode) or stat.S_ISCHR(path.lstat().st_mode) for path in image.path.rglob("*"))
    record = (image.path.parent / "image.json").read_text()
    assert "10 device nodes left out" in record and "dev/sda" in record and "dev/c8" not in record


def _huge_header() -> bytes:
    """A pax header that claims 8 GiB, which a careless reader would allocate."""
    info = tarfile.TarInfo("././@PaxHeader")
    info.type, info.size = tarfile.XHDTYPE, 8 * 2**30
    return info.tobuf(tarfile.GNU_FORMAT) + bytes(1024)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        bytes(10_240),
        os.urandom(10_240),
        _tar(_file("big", bytes(50_000)))[:20_000],
        _tar(_file("ok"))[:700],
        _zstd(_tar(_file("big", os.urandom(50_000))))[:30_000],
        lzma.compress(_tar(_file("big", os.urandom(50_000))))[:30_000],
        _huge_header(),
        _tar(_special("loop", tarfile.LNKTYPE, "loop")),
        _tar(_file("dir/file"), _file("dir")),
        _tar(_file("file"), _file("file/below")),
        b"\x28\xb5\x2f\xfd" + b"garbage" * 100,
        _zstd(_tar(_file("ok")) + bytes(64 * 2**20)),
    ],
    ids=[
        "nothing",
        "zeros",
        "noise",
        "cut",
        "cut-header",
        "cut-zstd",
        "cut-xz",
        "huge-header",
        "own-link",
        "over-directory",
        "below-file",
        "bad-zstd",
        "endless-zstd",
    ],
)
async def test_damaged_and_malicious_archives_are_refused_and_leave_nothing(images: BaseImages, tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InvalidError, match="tarball"):
        await _unpacked(images, tmp_path, content)
    assert _left(tmp_path / "images") == []


@pytest.mark.parametrize("path", ["missing", ".", "fifo-like/none"])
async def test_what_is_no_file_is_refused(images: BaseImages, tmp_path: Path, path: str) -> None:
    with pytest.raises((NotFoundError, InvalidError)):
        await images.from_tarball(tmp_path / path)


async def test_the_same_content_is_the_same_image_and_other_content_another(images: BaseImages, tmp_path: Path) -> None:
    first = await _unpacked(images, tmp_path, _tar(_file("a", b"1")))
    assert await _unpacked(images, tmp_path, _tar(_file("a", b"1"))) == first
    second = await _unpacked(images, tmp_path, _tar(_file("a", b"2")))
    assert second.image_id != first.image_id
    assert (second.path / "a").read_bytes() == b"2"


async def test_calls_at_once_share_one_build_between_caches_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tarball = tmp_path / "rootfs.tar"
    tarball.write_bytes(_tar(_file("a")))
    builds = []
    unpack = image_build.unpack

    async def counted(file: Path, target: Path) -> tuple[str, ...]:
        builds.append(file)
        return await unpack(file, target)

    monkeypatch.setattr(image_build, "unpack", counted)
    caches = [BaseImages(tmp_path / "images"), BaseImages(tmp_path / "images")]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(caches[n % 2].from_tarball(tarball)) for n in range(6)]
    assert len({task.result().path for task in tasks}) == 1
    assert len(builds) == 1


async def test_a_dead_builders_remains_and_an_unreadable_image_are_replaced(images: BaseImages, tmp_path: Path) -> None:
    image = await _unpacked(images, tmp_path, _tar(_file("a", b"1")))
    place = image.path.parent
    (place / "image.json").write_text("{")
    (place / "rootfs/a").write_bytes(b"half")
    stale = place.parent / f".{place.name}.dead.partial"
    (stale / "rootfs").mkdir(parents=True)
    again = await _unpacked(images, tmp_path, _tar(_file("a", b"1")))
    assert (again.path / "a").read_bytes() == b"1"
    assert not stale.exists()


def _mounts() -> str:
    return Path("/proc/self/mounts").read_text()


@pytest.mark.timeout(120)
async def test_a_cancelled_build_leaves_no_process_no_mount_and_no_directory(tmp_path: Path) -> None:
    started = asyncio.Event()

    def progress(line: str) -> None:
        if "downloading" in line or "installing" in line:
            started.set()

    images = BaseImages(tmp_path / "images", progress=progress)
    async with asyncio.TaskGroup() as group:
        build = group.create_task(images.debian(Recipe(codename="bookworm", variant="essential", packages=("busybox",))))
        await started.wait()
        build.cancel()
    assert build.cancelled()
    assert _left(tmp_path / "images") == []
    assert [line for line in _mounts().splitlines() if str(tmp_path) in line] == []
    assert not [pid for pid in Path("/proc").glob("[0-9]*/cmdline") if str(tmp_path).encode() in _read(pid)]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


@pytest.mark.timeout(120)
async def test_a_failed_build_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    images = BaseImages(tmp_path / "images")
    with pytest.raises(RemoteError, match="no-such-release"):
        await images.debian(Recipe(codename="no-such-release", variant="essential"))
    assert _left(tmp_path / "images") == []


@pytest.fixture
async def debian() -> BaseImage:
    """The default image, from the machine's cache: ``make`` built it."""
    return await BaseImages(settings.load().images_dir).ensure(ImageRef(debian="3.11"))


def _inside(image: BaseImage, *argv: str) -> str:
    done = subprocess.run(["chroot", str(image.path), *argv], env=dict(image.env), capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.timeout(300)
async def test_the_default_image_has_python_pip_and_nothing_of_this_machine(debian: BaseImage) -> None:
    assert _inside(debian, "python", "-V").startswith("Python 3.11")
    assert "pip" in _inside(debian, "pip", "--version")
    assert not list(debian.path.glob("usr/lib/python3*/EXTERNALLY-MANAGED"))
    assert (debian.path / "etc/hostname").read_text() == "sandbox\n"
    assert (debian.path / "etc/resolv.conf").read_bytes() == (debian.path / "etc/machine-id").read_bytes() == b""
    apt = [path for path in (debian.path / "etc/apt").rglob("*") if path.is_file() and "trusted.gpg.d" not in path.parts]
    assert sorted(path.name for path in apt) == ["01autoremove", "70debconf", "99mmdebstrap", "debian.sources"]
    assert list((debian.path / "dev").iterdir()) == []
    assert (debian.path / "etc/ssl/certs/ca-certificates.crt").read_text().count("BEGIN") > 100
    assert tree_size(debian.path) < 200 * 2**20


@pytest.mark.timeout(300)
async def test_the_default_image_starts_python_from_compiled_modules(debian: BaseImage) -> None:
    loaded = _inside(debian, "python", "-B", "-v", "-c", "import json, asyncio, ssl, sqlite3, unittest, pip; print('ok')")
    assert loaded == "ok\n"
    stale = _inside(
        debian,
        "python",
        "-c",
        "import importlib.util as u, os, struct, sys, asyncio, json, ssl, sqlite3, unittest, pip\n"
        "for m in list(sys.modules.values()):\n"
        "    f = getattr(m, '__file__', None)\n"
        "    if f and f.endswith('.py'):\n"
        "        head = open(u.cache_from_source(f), 'rb').read(16)\n"
        "        if struct.unpack('<I', head[8:12])[0] != int(os.stat(f).st_mtime): print(f)\n",
    )
    assert stale == ""
