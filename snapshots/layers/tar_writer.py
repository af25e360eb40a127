"""Headers of the members that cove packs: ustar, and a PAX header for what that cannot hold. Pure.

Names stand as the bytes they are, in UTF-8 or not, as all common readers take them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from snapshots.layers import pax
from snapshots.layers.tar_header import Header, Type, format_header, padding

MAX_NAME_BYTES: Final = 100
MAX_ID: Final = 0o7777777
MAX_OCTAL: Final = 0o77777777777
"""Sizes in bytes and times in seconds; 8 GiB, or the year 2242."""

_PAX_NAME: Final = b"././@PaxHeader"
_NANOSECONDS: Final = 1_000_000_000


class NewMember(NamedTuple):
    """One entry for an archive. ``size_bytes``: of the data that will follow."""

    name: bytes
    type: Type
    mode: int = 0
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0
    size_bytes: int = 0
    linkname: bytes = b""
    major: int = 0
    minor: int = 0
    xattrs: Mapping[str, bytes] = MappingProxyType({})
    sparse_bytes: int | None = None
    """Of a sparse file, whose data start with a map: its size with all holes."""


def format_member(member: NewMember) -> bytes:
    """All header blocks of ``member``; its data come next, padded to a whole block."""
    records = _records(member)
    seconds, fraction = divmod(member.mtime_ns, _NANOSECONDS)
    plain = Header(
        name=member.name[:MAX_NAME_BYTES],
        type=member.type,
        mode=member.mode,
        uid=member.uid if member.uid <= MAX_ID else 0,
        gid=member.gid if member.gid <= MAX_ID else 0,
        size_bytes=member.size_bytes if member.size_bytes <= MAX_OCTAL else 0,
        mtime_s=seconds if 0 <= seconds <= MAX_OCTAL else 0,
        linkname=member.linkname[:MAX_NAME_BYTES],
        major=member.major,
        minor=member.minor,
    )
    if fraction or not 0 <= seconds <= MAX_OCTAL:
        records[b"mtime"] = pax.format_time(member.mtime_ns)
    return (_extended_header(records) if records else b"") + format_header(plain)


def _records(member: NewMember) -> dict[bytes, bytes]:
    records: dict[bytes, bytes] = {}
    if len(member.name) > MAX_NAME_BYTES:
        records[b"path"] = member.name
    if len(member.linkname) > MAX_NAME_BYTES:
        records[b"linkpath"] = member.linkname
    for key, number, limit in ((b"uid", member.uid, MAX_ID), (b"gid", member.gid, MAX_ID), (b"size", member.size_bytes, MAX_OCTAL)):
        if number > limit:
            records[key] = b"%d" % number
    if member.sparse_bytes is not None:
        records |= {b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0", b"GNU.sparse.name": member.name}
        records[b"GNU.sparse.realsize"] = b"%d" % member.sparse_bytes
    return records | pax.attribute_records(member.xattrs)


def _extended_header(records: Mapping[bytes, bytes]) -> bytes:
    data = pax.format_records(records)
    header = Header(_PAX_NAME, Type.PAX, 0o644, 0, 0, len(data), 0, b"", 0, 0)
    return format_header(header) + data + bytes(padding(len(data)))
