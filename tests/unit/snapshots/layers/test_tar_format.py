"""Headers, records and sparse maps: what is written is read, here and by tarfile; what is malformed is refused."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cove.exception import InvalidError
from snapshots.layers import pax, sparse
from snapshots.layers.limits import MAX_EXTENTS, OWN
from snapshots.layers.sparse import Extent
from snapshots.layers.tar_header import Type, format_header, parse_header
from snapshots.layers.tar_reader import TarReader, TarStream
from snapshots.layers.tar_writer import NewMember, format_member

NAME = st.binary(min_size=1, max_size=300).map(lambda name: name.replace(b"\0", b"0").replace(b"/", b"1"))
MEMBERS = st.builds(
    NewMember,
    name=NAME,
    type=st.sampled_from([Type.SYMLINK, Type.FIFO, Type.BLOCK_DEVICE, Type.DIRECTORY, Type.HARD_LINK]),
    mode=st.integers(0, 0o7777),
    uid=st.integers(0, 2**32 - 2),
    gid=st.integers(0, 2**32 - 2),
    mtime_ns=st.integers(-(2**62), 2**62),
    size_bytes=st.just(0),
    sparse_bytes=st.none(),
    major=st.just(0),
    minor=st.just(0),
    linkname=NAME,
    xattrs=st.dictionaries(
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20).map("user.".__add__),
        st.binary(max_size=50),
        max_size=3,
    ),
)


@given(MEMBERS)
def test_every_field_comes_back(member: NewMember) -> None:
    (found,) = TarReader(TarStream(iter([format_member(member) + bytes(1024)])), OWN)
    for field in ("name", "type", "mode", "uid", "gid", "mtime_ns", "linkname"):
        assert getattr(found, field) == getattr(member, field)
    assert found.xattrs == {os.fsencode(name): value for name, value in member.xattrs.items()}


@given(MEMBERS)
def test_tarfile_reads_them_too(member: NewMember) -> None:
    with tarfile.open(fileobj=io.BytesIO(format_member(member) + bytes(1024)), errors="surrogateescape") as archive:
        (found,) = archive
    assert os.fsencode(found.name) == member.name
    assert (found.mode, found.uid, found.gid, found.type) == (member.mode, member.uid, member.gid, bytes([member.type]))
    assert abs(found.mtime - member.mtime_ns / 1e9) <= 1e-6 * abs(found.mtime) + 1e-6


@given(st.integers(0, 4095), st.integers(0, 2**20 - 1))
def test_device_numbers_come_back(major: int, minor: int) -> None:
    header = parse_header(format_member(NewMember(name=b"a", type=Type.BLOCK_DEVICE, major=major, minor=minor)))
    assert (header.major, header.minor) == (major, minor)


def test_sizes_beyond_the_header() -> None:
    """8 GiB and more, without 8 GiB: the reader is asked for the header alone."""
    for size in (8 * 2**30 - 1, 8 * 2**30, 2**45):
        header = format_member(NewMember(name=b"big", type=Type.FILE, size_bytes=size))
        member = next(iter(TarReader(TarStream(iter([header])), OWN._replace(declared_bytes=2**60))))
        assert member.stored_bytes == size


@pytest.mark.parametrize("field", [slice(100, 108), slice(124, 136), slice(136, 148), slice(329, 337)])
@pytest.mark.parametrize("text", [b"-1", b"1_0", b"0o7", b"8", b"\xb2", b"1 1", b"+1"])
def test_numbers_that_only_python_would_take(field: slice, text: bytes) -> None:
    block = bytearray(format_member(NewMember(name=b"a", type=Type.BLOCK_DEVICE)))
    block[field] = text.ljust(field.stop - field.start, b"\0")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    with pytest.raises(InvalidError):
        parse_header(bytes(block))


def test_a_global_header_changes_nothing_wherever_it_stands() -> None:
    named, plain = format_member(NewMember(name=b"n" * 200, type=Type.FIFO)), format_member(NewMember(name=b"m", type=Type.FIFO))
    comment = tarfile.TarInfo.create_pax_global_header({"path": "elsewhere", "comment": "x"})
    archive = comment + plain + named[:1024] + comment + named[1024:] + comment + bytes(1024)
    assert [member.name for member in TarReader(TarStream(iter([archive])), OWN)] == [b"m", b"n" * 200]


def test_headers_survive_a_round() -> None:
    header = parse_header(format_member(NewMember(name=b"a", type=Type.FILE, mode=0o644, mtime_ns=10**9)))
    assert parse_header(format_header(header)) == header


@given(st.dictionaries(st.binary(min_size=1, max_size=30).filter(lambda key: b"=" not in key), st.binary(max_size=1200), max_size=5))
def test_records_survive_a_round(records: dict[bytes, bytes]) -> None:
    assert pax.parse_records(pax.format_records(records)) == records


def test_a_records_length_counts_its_own_digits() -> None:
    for length in range(1, 1100):
        encoded = pax.format_records({b"k": b"v" * length})
        assert int(encoded.partition(b" ")[0]) == len(encoded)


@pytest.mark.parametrize(
    "data",
    [
        b"x",
        b"5 a=b",
        b"99 a=b\n",
        b"6 a=b\nrest",
        b"-6 a=b\n",
        b"0 a=b\n",
        b"6 =ab\n",
        b"6 abc\n",
        b" a=b\n",
        b"1" * 30 + b" a=b\n",
        b"6 a=bc",
    ],
)
def test_malformed_records(data: bytes) -> None:
    with pytest.raises(InvalidError):
        pax.parse_records(data)


@given(st.integers(-(2**63), 2**63))
def test_times_survive_a_round(time_ns: int) -> None:
    assert pax.parse_time(pax.format_time(time_ns)) == time_ns


@pytest.mark.parametrize("text", [b"", b".", b".5", b"1e5", b"1.5.5", b"--1", b"nan", b"1 ", b"9" * 30])
def test_malformed_times(text: bytes) -> None:
    with pytest.raises(InvalidError):
        pax.parse_time(text)


@given(st.lists(st.tuples(st.integers(0, 2**50), st.integers(0, 2**50)), max_size=200))
def test_sparse_maps_survive_a_round(pairs: list[tuple[int, int]]) -> None:
    extents = [Extent(*pair) for pair in pairs]
    stream = io.BytesIO(sparse.format_map(extents) + b"data")
    assert list(sparse.read_map(stream.read)) == extents
    assert stream.read() == b"data"


@pytest.mark.parametrize("text", [b"x\n", b"1\n5\n", b"-1\n", b"2\n" + b"9" * 40 + b"\n", b"%d\n" % (MAX_EXTENTS + 1), b"1" * 600])
def test_malformed_sparse_maps(text: bytes) -> None:
    with pytest.raises(InvalidError):
        sparse.read_map(io.BytesIO(text.ljust(1024, b"x")).read)


@pytest.mark.parametrize(
    ("extents", "stored", "real"),
    [([(0, 10), (5, 5)], 15, 100), ([(90, 20)], 20, 100), ([(0, 10)], 11, 100), ([(10, 5), (0, 5)], 10, 100), ([(101, 0)], 0, 100)],
    ids=["overlap", "beyond", "lie", "backwards", "empty-beyond"],
)
def test_sparse_maps_that_do_not_fit(extents: list[tuple[int, int]], stored: int, real: int) -> None:
    with pytest.raises(InvalidError):
        sparse.check_extents([Extent(*pair) for pair in extents], stored_bytes=stored, real_bytes=real)


def test_a_file_of_too_many_holes_is_whole_from_there_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse, "MAX_EXTENTS", 3)
    with (tmp_path / "holes").open("w+b") as file:
        for number in range(10):
            file.seek(number * 65536)
            file.write(b"x")
        file.flush()
        found = sparse.find_extents(file.fileno(), 9 * 65536 + 1)
    assert [extent.offset for extent in found] == [0, 65536, 2 * 65536]
    assert found[-1].offset + found[-1].length == 9 * 65536 + 1
