"""What FileIO does between the user's calls and the node's: modes, the read buffer, characters out of bytes. Pure."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from typing import Final

READ: Final = 1
WRITE: Final = 2
CREATE: Final = 4
TRUNCATE: Final = 8
APPEND: Final = 16
EXCLUSIVE: Final = 32

_KINDS: Final = {"r": READ, "w": WRITE | CREATE | TRUNCATE, "a": WRITE | CREATE | APPEND, "x": WRITE | CREATE | EXCLUSIVE}


@dataclass(frozen=True, slots=True)
class Mode:
    """How a file is opened; ``flags`` are the wire's."""

    flags: int
    binary: bool

    @property
    def readable(self) -> bool:
        return bool(self.flags & READ)

    @property
    def writable(self) -> bool:
        return bool(self.flags & WRITE)

    @property
    def appends(self) -> bool:
        return bool(self.flags & APPEND)


def parse_mode(mode: str) -> Mode:
    """``mode`` as the builtin ``open`` takes it.

    Raises:  ValueError: not a mode.
    """
    kinds = [letter for letter in mode if letter in _KINDS]
    if len(kinds) != 1 or not set(mode) <= set("rwaxbtU+") or len(set(mode)) != len(mode) or {"b", "t"} <= set(mode):
        raise ValueError(f"invalid mode: {mode[:20]!r}")
    flags = _KINDS[kinds[0]] | (READ | WRITE if "+" in mode else 0)
    return Mode(flags, "b" in mode)


class ReadBuffer:
    """Bytes read ahead of the user."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._start = 0

    def __len__(self) -> int:
        return len(self._data) - self._start

    def feed(self, data: bytes) -> None:
        """Append ``data``."""
        if self._start:
            del self._data[: self._start]
            self._start = 0
        self._data += data

    def clear(self) -> None:
        """Forget everything."""
        self._data, self._start = bytearray(), 0

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes, or as many as there are."""
        end = min(self._start + size, len(self._data))
        data = bytes(memoryview(self._data)[self._start : end])
        self._start = end
        return data

    def line_size(self, start: int = 0) -> int | None:
        """Bytes up to and including the next newline, looking from ``start`` on; None if there is none."""
        position = self._data.find(b"\n", self._start + start)
        return None if position < 0 else position + 1 - self._start

    def characters_size(self, count: int) -> tuple[int, int]:
        """How many bytes the next ``count`` characters of UTF-8 take: (bytes, characters found), incomplete ones not counted.

        Raises:  UnicodeDecodeError: one of these characters is not UTF-8.
        """
        # A character has at most four bytes, so no more needs decoding; what is cut at the end stays in the decoder.
        window = bytes(memoryview(self._data)[self._start : self._start + 4 * count])
        try:
            text = codecs.getincrementaldecoder("utf-8")("strict").decode(window)[:count]
        except UnicodeDecodeError as error:
            text = window[: error.start].decode("utf-8")[:count]
            if len(text) < count:
                raise
        return len(text.encode("utf-8")), len(text)
