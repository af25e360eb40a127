"""From bytes of output, in whatever pieces they come, to what a reader iterates over. Pure."""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from typing import Final, Protocol, TypeVar

T = TypeVar("T", bound=str | bytes)

MAX_LINE_CHARS: Final = 4 * 2**20
"""A line longer than this is handed out in pieces: a process that never ends its line must not fill the client's memory."""


class Assembler(Protocol[T]):
    """Turns bytes into items."""

    def feed(self, data: bytes) -> list[T]:
        """Items that ``data`` completes."""

    def gap(self, size_bytes: int) -> list[T]:
        """Items that the loss of ``size_bytes`` bytes at this point completes, and what tells of it."""

    def end(self) -> list[T]:
        """What is left when nothing more comes."""

    def join(self, items: Iterable[T]) -> T:
        """All items as one."""


class Chunks:
    """Bytes as they come. A gap leaves no mark."""

    def feed(self, data: bytes) -> list[bytes]:
        return [data] if data else []

    def gap(self, size_bytes: int) -> list[bytes]:
        return []

    def end(self) -> list[bytes]:
        return []

    def join(self, items: Iterable[bytes]) -> bytes:
        return b"".join(items)


class Lines:
    """UTF-8 text as lines that keep their newline; what is not UTF-8 becomes U+FFFD. A gap becomes a line of its own."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._pending: list[str] = []
        self._pending_chars = 0

    def feed(self, data: bytes) -> list[str]:
        return self._split(self._decoder.decode(data))

    def gap(self, size_bytes: int) -> list[str]:
        before = self.end()
        if before and not before[-1].endswith("\n"):
            before[-1] += "\n"
        return [*before, f"[cove: {size_bytes} bytes of output were dropped here]\n"]

    def end(self) -> list[str]:
        return self._split(self._decoder.decode(b"", final=True)) + self._flush()

    def join(self, items: Iterable[str]) -> str:
        return "".join(items)

    def _split(self, text: str) -> list[str]:
        *complete, rest = text.split("\n")
        if complete:
            complete[0] = "".join([*self._pending, complete[0]])
            self._pending, self._pending_chars = [], 0
        self._keep(rest)
        lines = [line + "\n" for line in complete]
        return lines + self._flush() if self._pending_chars >= MAX_LINE_CHARS else lines

    def _keep(self, text: str) -> None:
        if text:
            self._pending.append(text)
            self._pending_chars += len(text)

    def _flush(self) -> list[str]:
        rest = "".join(self._pending)
        self._pending, self._pending_chars = [], 0
        return [rest] if rest else []
