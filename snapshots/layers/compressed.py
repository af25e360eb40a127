"""The bytes of a compressed archive on their way in: counted, hashed and decompressed in bounded steps.

Formats are told by their first bytes: zstd and gzip, which layers come in, and bzip2 and xz, which root file systems come in; else plain.
"""

from __future__ import annotations

import bz2
import lzma
import os
import zlib
from collections.abc import Callable, Iterator
from typing import Final

from cove.exception import DataLossError, InvalidError, RequestSizeError
from snapshots.digest import Hasher
from snapshots.layers import zstd_blocks
from snapshots.layers.limits import Expected, Limits

CHUNK_BYTES: Final = 2**20
_READ_BYTES: Final = 2**18
_GZIP_READ_BYTES: Final = 2**15
"""Small: what follows a gzip member is copied, and there may be a member every 20 bytes."""
_XZ_MEMORY_BYTES: Final = 2**28
_CUT_OFF: Final = "The archive is cut off: its compressed data ends in the middle."


class CompressedInput:
    """A descriptor as the compressed side of an archive. ``digest`` and ``size_bytes`` are of what was read so far."""

    def __init__(self, fd: int, max_bytes: int | None = None) -> None:
        self._fd = fd
        self._max_bytes = max_bytes
        self._ahead = memoryview(b"")
        self._hasher = Hasher()

    @property
    def size_bytes(self) -> int:
        return self._hasher.size_bytes

    def digest(self) -> str:
        return self._hasher.digest()

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes; none at the end. Raises: DataLossError: there are more than the archive is known to have."""
        if not self._ahead:
            self._ahead = memoryview(os.read(self._fd, max(size, _READ_BYTES)))
            self._hasher.update(self._ahead)
            if self._max_bytes is not None and self.size_bytes > self._max_bytes:
                raise DataLossError(f"The archive has more than the {self._max_bytes} bytes that it should have.")
        taken, self._ahead = self._ahead[:size], self._ahead[size:]
        return bytes(taken)

    def take(self, size: int) -> bytes:
        """``size`` bytes, fewer only at the end."""
        data = self.read(size)
        while len(data) < size and (more := self.read(size - len(data))):
            data += more
        return data

    def put_back(self, data: bytes) -> None:
        """Have ``data`` read again."""
        self._ahead = memoryview(data + bytes(self._ahead))

    def drain(self) -> None:
        """Read to the end, for the digest's sake."""
        while self.read(CHUNK_BYTES):
            pass

    def check(self, expect: Expected) -> None:
        """Compare all that was read. Raises: DataLossError: these are not the bytes that were meant."""
        if expect.size_bytes not in (None, self.size_bytes):
            raise DataLossError(f"The archive has {self.size_bytes} bytes instead of {expect.size_bytes}.", remedy="Fetch it again.")
        if expect.digest not in (None, self.digest()):
            raise DataLossError(f"The archive's digest is {self.digest()} instead of {expect.digest}.", remedy="Fetch it again.")


def decompressed(source: CompressedInput, limits: Limits) -> Iterator[bytes]:
    """The archive's plain bytes in pieces of about 1 MiB at most.

    Raises:  InvalidError: damaged, cut off, or followed by something else. RequestSizeError: more than ``limits`` allow.
    """
    total = 0
    try:
        for chunk in _decoder(source):
            total += len(chunk)
            _check_size(total, source.size_bytes, limits)
            yield chunk
    except (zlib.error, lzma.LZMAError, OSError, EOFError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the descriptor; bz2's has no number
            raise
        raise InvalidError("The archive is damaged: its compressed data is malformed.") from error


def _check_size(total: int, compressed: int, limits: Limits) -> None:
    if total > limits.tar_bytes:
        raise RequestSizeError(f"The archive has more than {limits.tar_bytes} bytes when decompressed.")
    if limits.ratio and total > limits.ratio_free_bytes and total > limits.ratio * compressed:
        raise RequestSizeError(f"The archive is compressed more than {limits.ratio}-fold, as only an attack is.")


def _decoder(source: CompressedInput) -> Iterator[bytes]:
    magic = source.take(6)
    source.put_back(magic)
    if magic[:4] == zstd_blocks.MAGIC or magic[1:4] == b"\x2a\x4d\x18":
        return zstd_blocks.decompress(source.take)
    if magic[:2] == b"\x1f\x8b":
        return _gzip(source)
    if magic == b"\xfd7zXZ\0":
        return _in_steps(lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_BYTES), source)
    if magic[:3] == b"BZh":
        return _in_steps(bz2.BZ2Decompressor, source)
    return _plain(source)


def _plain(source: CompressedInput) -> Iterator[bytes]:
    while chunk := source.read(CHUNK_BYTES):
        yield chunk


def _gzip(source: CompressedInput) -> Iterator[bytes]:
    """All members of a gzip stream: some tools make one per file."""
    data = source.read(_GZIP_READ_BYTES)
    while data:
        decoder = zlib.decompressobj(wbits=31)
        while not decoder.eof:
            if not data and not (data := source.read(_GZIP_READ_BYTES)):
                raise InvalidError(_CUT_OFF)
            yield decoder.decompress(data, CHUNK_BYTES)
            data = decoder.unconsumed_tail
        data = decoder.unused_data or source.read(_GZIP_READ_BYTES)


def _in_steps(new: Callable[[], bz2.BZ2Decompressor | lzma.LZMADecompressor], source: CompressedInput) -> Iterator[bytes]:
    data = source.read(_READ_BYTES)
    while data:
        decoder = new()
        while not decoder.eof:
            if decoder.needs_input and not data and not (data := source.read(_READ_BYTES)):
                raise InvalidError(_CUT_OFF)
            yield decoder.decompress(data, CHUNK_BYTES)
            data = b""
        data = decoder.unused_data or source.read(_READ_BYTES)
