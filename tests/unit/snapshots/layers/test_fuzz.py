"""Archives changed at random: a typed error or success, nothing outside, no hang, bounded memory. And random members against tarfile."""

from __future__ import annotations

import contextlib
import io
import tarfile
import tempfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cove.exception import Error, InvalidError, RequestSizeError
from snapshots.layers.tar_reader import Member, TarReader, TarStream
from tests.unit.snapshots.layers.layer_trees import read_layer
from tests.unit.snapshots.layers.tar_making import LIMITS, directory, file, hard_link, special, symlink, tar, unpack_here

pytestmark = pytest.mark.needs_root

FUZZ_LIMITS = LIMITS._replace(members=1000, declared_bytes=2**24, tar_bytes=2**24)

_MEMBERS = [
    directory("d", mode=0o1777),
    file("d/a", b"content" * 100, pax={"SCHILY.xattr.user.x": "y", "mtime": "1.5"}),
    symlink("l", "../outside"),
    hard_link("d/h", "d/a"),
    file("long" * 60, b"x" * 513),
    special("f", tarfile.FIFOTYPE),
    file(".wh.gone"),
    file("d/.wh..wh..opq"),
    special("c", tarfile.CHRTYPE, device=(1, 3)),
    file(
        "s",
        b"2\n0\n512\n1024\n512\n".ljust(512, b"\0") + b"a" * 1024,
        pax={"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "5000"},
    ),
    file("o", b"a" * 512, pax={"GNU.sparse.map": "1024,512", "GNU.sparse.size": "9000"}),
]
SEEDS = [
    tar(*_MEMBERS),
    tar(*_MEMBERS[:-2], form=tarfile.GNU_FORMAT),
    tar(*(member for member in _MEMBERS if len(member[0].name) < 99), form=tarfile.USTAR_FORMAT),
]

HEADER_WORDS = [
    b"../../outside/x",
    b"/outside",
    b"77777777777\0",
    b"\x80" + b"\xff" * 7,
    b"-1",
    b"999999 path=",
    b"20 path=../outside\n",
    b"\0" * 12,
    b"x",
    b"g",
    b"L",
    b"S",
]
CHANGE = st.tuples(st.integers(0, 50_000), st.one_of(st.sampled_from(HEADER_WORDS), st.binary(min_size=1, max_size=8)))


def with_right_checksums(data: bytearray) -> bytes:
    """Most damaged headers would be refused for their sums alone: put these right wherever a header seems to be."""
    for start in range(0, len(data) - 511, 512):
        block = data[start : start + 512]
        if block[257:262] == b"ustar":
            block[148:156] = b" " * 8
            data[start + 148 : start + 156] = b"%06o\0 " % sum(block)
    return bytes(data)


@contextlib.contextmanager
def place() -> Iterator[Path]:
    """A directory for a layer, with another beside it that must stay as it is."""
    with tempfile.TemporaryDirectory() as name:
        outside = Path(name, "outside")
        outside.mkdir()
        (outside / "secret").write_text("host")
        before = read_layer(outside)
        yield Path(name, "layer")
        assert read_layer(outside) == before
        assert sorted(path.name for path in Path(name).iterdir()) == ["layer", "outside"]


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(SEEDS), st.lists(CHANGE, max_size=6), st.integers(0, 4), st.booleans())
def test_changed_archives(seed: bytes, changes: list[tuple[int, bytes]], cut: int, sums: bool) -> None:
    data = bytearray(seed)
    for position, new in changes:
        start = position % len(data)
        data[start : start + len(new)] = new
    if cut:
        del data[-cut * 777 :]
    with place() as layer, contextlib.suppress(InvalidError, RequestSizeError):
        unpack_here(with_right_checksums(data) if sums else bytes(data), layer, limits=FUZZ_LIMITS, devices=True)


@settings(max_examples=100)
@given(st.binary(max_size=4096))
def test_noise(data: bytes) -> None:
    with place() as layer, contextlib.suppress(InvalidError, RequestSizeError):
        unpack_here(data, layer, limits=FUZZ_LIMITS)


NAMES = st.lists(
    st.sampled_from(["a", "b", "..", ".", "", ".wh.a", ".wh..wh..opq", "outside", "secret", "x" * 120]), min_size=1, max_size=4
).map("/".join)
KINDS = st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(NAMES, KINDS, NAMES), max_size=12))
def test_any_members_in_any_order(members: list[tuple[str, bytes, str]]) -> None:
    archive = tar(*(special(name, kind, target) for name, kind, target in members))
    with place() as layer, contextlib.suppress(InvalidError):
        unpack_here(archive, layer, limits=FUZZ_LIMITS, devices=True)


def read(archive: bytes) -> list[tuple[Member, bytes]]:
    reader = TarReader(TarStream(iter([archive[start : start + 1000] for start in range(0, len(archive), 1000)])), FUZZ_LIMITS)
    return [(member, b"".join(map(bytes, reader.data()))) for member in reader]


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=300).filter(
    lambda text: not text.endswith("/")
)


@given(
    name=TEXT,
    linkname=TEXT,
    content=st.binary(max_size=1500),
    mode=st.integers(0, 0o7777),
    uid=st.integers(0, 2**32 - 1),
    mtime=st.integers(0, 2**40),
    form=st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
)
def test_what_tarfile_writes_is_read(name: str, linkname: str, content: bytes, mode: int, uid: int, mtime: int, form: int) -> None:
    info, _ = file(name, content, mode=mode, uid=uid)
    info.mtime = mtime
    link, _ = symlink("l", linkname)
    (first, data), (second, _) = read(tar((info, content), (link, b""), form=form))
    assert (first.name, first.mode, first.uid, first.mtime_ns, data) == (name.encode(), mode, uid, mtime * 10**9, content)
    assert second.linkname == linkname.encode()


def test_a_long_archive_takes_little_memory() -> None:
    member = tar(file("f", b"x"))[:1024]
    tracemalloc.start()
    try:
        reader = TarReader(TarStream(member * 1000 for _ in range(5)), LIMITS)
        assert sum(1 for _ in reader) == 5_000
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    finally:
        tracemalloc.stop()


def test_errors_are_short_whatever_the_names_are() -> None:
    archive = tar(file("x", b"y"), hard_link("a" * 200, "\n\x1b[31m" * 500))
    with place() as layer:
        try:
            unpack_here(archive, layer)
        except Error as error:
            assert len(str(error)) < 2000 and str(error).isprintable()
        else:
            raise AssertionError("it was unpacked")


def test_the_seeds_are_good_archives() -> None:
    for seed in SEEDS:
        with tarfile.open(fileobj=io.BytesIO(seed)) as archive:
            assert len(archive.getnames()) > 5
        with place() as layer:
            unpack_here(seed, layer, limits=FUZZ_LIMITS, devices=True)
