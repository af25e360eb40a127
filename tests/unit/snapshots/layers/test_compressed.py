"""Compressed archives: every format, whole, cut at any place, damaged, followed by something, and blown up."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import tracemalloc
from collections.abc import Callable, Iterator

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from cove.exception import Error, InvalidError, RequestSizeError
from snapshots.layers.compressed import CompressedInput, decompressed
from snapshots.layers.limits import Limits

LIMITS = Limits()
Compress = Callable[[bytes], bytes]


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


def zstd_stream(data: bytes) -> bytes:
    """Without the content's size, by several threads, as ``pack`` does."""
    compressor = zstandard.ZstdCompressor(threads=2).compressobj()
    return compressor.compress(data) + compressor.flush()


def zstd_chunked(data: bytes) -> bytes:
    """Frames with skippable ones before, between and after: zstd:chunked layers have their table of contents there."""
    skippable = b"\x5e\x2a\x4d\x18" + (9).to_bytes(4, "little") + b"not-data!"
    middle = len(data) // 2
    return skippable + zstd(data[:middle]) + skippable + zstd_stream(data[middle:]) + skippable


def gzip_members(data: bytes) -> bytes:
    """One member for every piece, as eStargz layers have."""
    return b"".join(gzip.compress(data[start : start + 5000]) for start in range(0, len(data), 5000)) or gzip.compress(b"")


def plain(data: bytes) -> bytes:
    return data


FORMATS: list[Compress] = [plain, gzip.compress, gzip_members, zstd, zstd_stream, zstd_chunked, lzma.compress, bz2.compress]
WITH_AN_END = FORMATS[1:]
TEXT = b"".join(b"line %d of something that packs well\n" % (number * 7919 % 1009) for number in range(20_000))


def chunks(compressed: bytes, limits: Limits = LIMITS) -> Iterator[bytes]:
    """What decompressing gives, piece by piece."""
    with open(os.memfd_create("compressed"), "w+b") as file:
        file.write(compressed)
        file.seek(0)
        yield from decompressed(CompressedInput(file.fileno()), limits)


def read(compressed: bytes, limits: Limits = LIMITS) -> bytes:
    """All of it."""
    return b"".join(chunks(compressed, limits))


@pytest.mark.parametrize("compress", FORMATS)
@pytest.mark.parametrize("data", [b"", b"x", TEXT, bytes(5_000_000), os.urandom(700_000)], ids=["empty", "byte", "text", "zeros", "noise"])
def test_every_format_gives_back_what_went_in(compress: Compress, data: bytes) -> None:
    assert read(compress(data)) == data


@pytest.mark.parametrize("compress", WITH_AN_END)
def test_a_cut_anywhere_is_noticed(compress: Compress) -> None:
    """Anywhere after the bytes that tell the format: what has not even these is a plain file."""
    data = os.urandom(3000) + TEXT[:3000]
    whole = compress(data)
    for length in [*range(6, 40), *range(40, len(whole) - 40, 211), *range(len(whole) - 40, len(whole))]:
        try:
            short = read(whole[:length])
        except InvalidError:
            continue
        assert data.startswith(short) and compress in (zstd_chunked, gzip_members), "only between frames is a cut a shorter stream"


@pytest.mark.parametrize("compress", WITH_AN_END)
@pytest.mark.parametrize("extra", [b"x", b"garbage, and a lot of it", bytes(100), b"\x28\xb5\x2f\xfd"])
def test_what_follows_is_refused(compress: Compress, extra: bytes) -> None:
    with pytest.raises(InvalidError):
        read(compress(TEXT) + extra)


@given(st.sampled_from(WITH_AN_END), st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4))
def test_damage_is_an_error_or_some_bytes(compress: Compress, damage: list[tuple[int, int]]) -> None:
    data = bytearray(compress(TEXT[:20_000]))
    for position, value in damage:
        data[position % len(data)] = value
    try:
        assert len(read(bytes(data), Limits(tar_bytes=10**8))) <= 10**8
    except Error as error:
        assert isinstance(error, InvalidError | RequestSizeError)


@pytest.mark.parametrize("compress", [gzip.compress, zstd, lzma.compress, bz2.compress])
def test_bombs_are_stopped_at_their_size_and_in_little_memory(compress: Compress) -> None:
    bomb = compress(bytes(200 * 2**20))
    tracemalloc.start()
    try:
        with pytest.raises(RequestSizeError):
            for chunk in chunks(bomb, Limits(tar_bytes=100 * 2**20)):
                assert len(chunk) <= 2**21
        assert tracemalloc.get_traced_memory()[1] < 32 * 2**20
    finally:
        tracemalloc.stop()


def test_a_ratio_that_no_honest_layer_has() -> None:
    bomb = zstd(bytes(50 * 2**20))
    with pytest.raises(RequestSizeError, match="fold"):
        read(bomb, Limits(ratio=1000, ratio_free_bytes=10 * 2**20))
    assert len(read(bomb, Limits(ratio=0, ratio_free_bytes=0))) == 50 * 2**20
    assert len(read(gzip.compress(bytes(50 * 2**20)), Limits(ratio=1100, ratio_free_bytes=0))) == 50 * 2**20


def test_a_window_of_gigabytes_is_refused() -> None:
    params = zstandard.ZstdCompressionParameters(window_log=30, write_content_size=False)
    compressor = zstandard.ZstdCompressor(compression_params=params).compressobj()
    with pytest.raises(InvalidError):
        read(compressor.compress(b"x") + compressor.flush())


def test_many_tiny_members_do_not_take_forever() -> None:
    """Every member's rest is copied: with large reads, a file of empty members would take minutes."""
    assert read(gzip.compress(b"") * 50_000) == b""
    assert read(zstd(b"") * 50_000) == b""
