"""PAX extended headers: records ``length key=value\\n`` for what the header block cannot hold. Pure.

Source: POSIX.1-2017, pax, "pax Extended Header"; star(5) for ``SCHILY.xattr``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Final

from cove.exception import InvalidError

XATTR_PREFIX: Final = b"SCHILY.xattr."
MAX_RECORDS: Final = 10_000
_NANOSECONDS: Final = 1_000_000_000
_LENGTH_DIGITS: Final = 20
_TIME: Final = re.compile(rb"(-?)(\d{1,18})(?:\.(\d*))?")
_DAMAGED: Final = "The archive is damaged: an extended header is malformed."


def parse_records(data: bytes) -> dict[bytes, bytes]:
    """The records of one extended header; of a key given twice, the last. Raises: InvalidError."""
    records: dict[bytes, bytes] = {}
    position = count = 0
    while position < len(data):
        space = data.find(b" ", position, position + _LENGTH_DIGITS)
        digits = data[position:space] if space > 0 else b""
        end = position + int(digits) if digits.isdigit() else 0
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if not space < end <= len(data) or data[end - 1 : end] != b"\n" or not equals or not key:
            raise InvalidError(_DAMAGED)
        records[key] = value
        position, count = end, count + 1
        if count > MAX_RECORDS:
            raise InvalidError(f"The archive has an extended header of more than {MAX_RECORDS} records.")
    return records


def format_records(records: Mapping[bytes, bytes]) -> bytes:
    """Encode ``records`` in their order."""
    return b"".join(_format(key, value) for key, value in records.items())


def _format(key: bytes, value: bytes) -> bytes:
    body = b" %b=%b\n" % (key, value)
    length = len(body) + len(str(len(body)))
    length = len(body) + len(str(length))  # the length counts its own digits, which may have become one more
    return b"%d" % length + body


def parse_number(value: bytes) -> int:
    """A decimal number without sign. Raises: InvalidError."""
    if not value.isdigit() or len(value) > _LENGTH_DIGITS:
        raise InvalidError(_DAMAGED)
    return int(value)


def parse_time(value: bytes) -> int:
    """Nanoseconds since the epoch from decimal seconds; digits beyond nanoseconds are cut. Raises: InvalidError."""
    match = _TIME.fullmatch(value)
    if match is None:
        raise InvalidError(_DAMAGED)
    sign, seconds, fraction = match.groups()
    total = int(seconds) * _NANOSECONDS + int((fraction or b"")[:9].ljust(9, b"0"))
    return -total if sign else total


def format_time(time_ns: int) -> bytes:
    """The inverse of :func:`parse_time`, without zeros at the end."""
    seconds, fraction = divmod(abs(time_ns), _NANOSECONDS)
    text = b"%d.%09d" % (seconds, fraction)
    return (b"-" if time_ns < 0 else b"") + text.rstrip(b"0").rstrip(b".")


def attributes(records: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """The extended attributes among ``records``, by name."""
    found = ((key.removeprefix(XATTR_PREFIX), value) for key, value in records.items() if key.startswith(XATTR_PREFIX))
    return {name.replace(b"%3D", b"=").replace(b"%25", b"%"): value for name, value in found}


def attribute_records(xattrs: Mapping[str, bytes]) -> dict[bytes, bytes]:
    """The inverse of :func:`attributes`. A name's ``=`` is escaped, as GNU tar does: it would end the key."""
    return {XATTR_PREFIX + os.fsencode(name).replace(b"%", b"%25").replace(b"=", b"%3D"): value for name, value in xattrs.items()}
