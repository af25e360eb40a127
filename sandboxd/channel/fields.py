"""Composite fields of frame payloads: bounded reading of hostile bytes, and writing."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Final, TypeVar

T = TypeVar("T")

MAX_ITEMS: Final = 65_536
"""Items that one list of a payload may announce; a payload of 256 KiB cannot hold more 4-byte items."""


class ProtocolViolation(Exception):
    """The guest broke the protocol. It ends the sandbox, never the daemon."""


class Reader:
    """Reads fields from one payload, in order; anything out of bounds is a :class:`ProtocolViolation`."""

    def __init__(self, payload: bytes | memoryview) -> None:
        self._view = memoryview(payload)
        self._at = 0

    def _unpack(self, form: str, size: int) -> int:
        end = self._at + size
        if end > len(self._view):
            raise ProtocolViolation(f"payload ends in a field: {len(self._view)} bytes")
        (value,) = struct.unpack_from(form, self._view, self._at)
        self._at = end
        return int(value)

    def u8(self) -> int:
        return self._unpack("<B", 1)

    def u16(self) -> int:
        return self._unpack("<H", 2)

    def u32(self) -> int:
        return self._unpack("<I", 4)

    def u64(self) -> int:
        return self._unpack("<Q", 8)

    def i32(self) -> int:
        return self._unpack("<i", 4)

    def i64(self) -> int:
        return self._unpack("<q", 8)

    def bytes_(self) -> bytes:
        """A ``str`` field as bytes."""
        size = self.u32()
        end = self._at + size
        if end > len(self._view):
            raise ProtocolViolation(f"string of {size} bytes runs past its payload")
        value = bytes(self._view[self._at : end])
        self._at = end
        return value

    def text(self) -> str:
        """A ``str`` field as text; bytes that are not UTF-8 are replaced."""
        return self.bytes_().decode("utf-8", "replace")

    def list_(self, item: Callable[[Reader], T]) -> list[T]:
        count = self.u32()
        if count > MAX_ITEMS:
            raise ProtocolViolation(f"list of {count} items")
        return [item(self) for _ in range(count)]

    def end(self) -> None:
        """Check that nothing is left over."""
        if self._at != len(self._view):
            raise ProtocolViolation(f"{len(self._view) - self._at} bytes left over in a payload")


class Writer:
    """Builds one payload; every method returns the writer, so that calls chain."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def _pack(self, form: str, value: int) -> Writer:
        self._parts.append(struct.pack(form, value))
        return self

    def u8(self, value: int) -> Writer:
        return self._pack("<B", value)

    def u16(self, value: int) -> Writer:
        return self._pack("<H", value)

    def u32(self, value: int) -> Writer:
        return self._pack("<I", value)

    def u64(self, value: int) -> Writer:
        return self._pack("<Q", value)

    def i32(self, value: int) -> Writer:
        return self._pack("<i", value)

    def i64(self, value: int) -> Writer:
        return self._pack("<q", value)

    def bytes_(self, value: bytes) -> Writer:
        self._parts.append(struct.pack("<I", len(value)))
        self._parts.append(value)
        return self

    def text(self, value: str) -> Writer:
        return self.bytes_(value.encode("utf-8", "surrogateescape"))

    def strings(self, values: Iterable[bytes]) -> Writer:
        items = list(values)
        self.u32(len(items))
        for item in items:
            self.bytes_(item)
        return self

    def map_(self, values: Mapping[str, str]) -> Writer:
        self.u32(len(values))
        for key, value in values.items():
            self.text(key).text(value)
        return self

    def done(self) -> bytes:
        return b"".join(self._parts)
