"""Zstandard frames cut at their block boundaries, so that decompressing has bounded steps and an unfinished frame is noticed.

The library's own stream reader takes the end of its input for the end of the data, and its decompressor object gives as much at once as
the input makes it: 64 KiB can become gigabytes. Source: RFC 8878, sections 3.1.1 and 3.1.2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import zstandard

from cove.exception import InvalidError

MAGIC: Final = b"\x28\xb5\x2f\xfd"
MAX_WINDOW_BYTES: Final = 2**27
"""What zstd(1) accepts by default."""

_SKIPPABLE: Final = b"\x2a\x4d\x18"
"""After a first byte of 0x50 to 0x5f."""
_MAX_BLOCK_BYTES: Final = 128 * 1024
_BLOCKS_AT_ONCE: Final = 8
_RLE: Final = 1
_DAMAGED: Final = "The archive is damaged: its zstd data is malformed."

Take = Callable[[int], bytes]
"""Returns as many bytes, fewer only at the end of the input."""


def decompress(take: Take) -> Iterator[bytes]:
    """What all frames of the input hold, in pieces of at most 1 MiB. Raises: InvalidError: damaged or cut off."""
    decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)
    while magic := take(4):
        if magic[1:] == _SKIPPABLE and magic[0] >> 4 == 5:
            _skip(take, int.from_bytes(_exactly(take, 4), "little"))
        elif magic == MAGIC:
            try:
                yield from _frame(decompressor.decompressobj(), take)
            except zstandard.ZstdError as error:
                raise InvalidError(_DAMAGED) from error
        else:
            raise InvalidError("The archive goes on after its end.")


def _frame(decoder: zstandard.ZstdDecompressionObj, take: Take) -> Iterator[bytes]:
    head, has_checksum = _frame_header(take)
    pieces = [MAGIC, head]
    last = False
    while not last:
        header = _exactly(take, 3)
        number = int.from_bytes(header, "little")
        last, kind, size = bool(number & 1), number >> 1 & 3, number >> 3
        if size > _MAX_BLOCK_BYTES:
            raise InvalidError(_DAMAGED)
        pieces += (header, _exactly(take, 1 if kind == _RLE else size))
        if len(pieces) >= 2 * _BLOCKS_AT_ONCE and not last:  # a decoder that has ended takes no more, not even nothing
            yield decoder.decompress(b"".join(pieces))
            pieces.clear()
    if has_checksum:
        pieces.append(_exactly(take, 4))
    yield decoder.decompress(b"".join(pieces))
    if not decoder.eof:
        raise InvalidError(_DAMAGED)


def _frame_header(take: Take) -> tuple[bytes, bool]:
    """The header after the magic number, and whether a checksum follows the last block."""
    descriptor = _exactly(take, 1)[0]
    single_segment, content_size = bool(descriptor & 0x20), descriptor >> 6
    rest = (0, 1, 2, 4)[descriptor & 3] + (not single_segment)
    rest += 2**content_size if content_size else int(single_segment)
    return bytes([descriptor]) + _exactly(take, rest), bool(descriptor & 4)


def _skip(take: Take, size: int) -> None:
    while size:
        size -= len(_exactly(take, min(size, _MAX_BLOCK_BYTES)))


def _exactly(take: Take, size: int) -> bytes:
    data = take(size)
    if len(data) < size:
        raise InvalidError("The archive is cut off: its zstd data ends in the middle.")
    return data
