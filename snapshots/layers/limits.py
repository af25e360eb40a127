"""What an archive may ask for, and what it must be: values that both sides of the child process know. Pure."""

from __future__ import annotations

import json
from typing import Final, NamedTuple

MAX_PATH_BYTES: Final = 16 * 1024
"""Of one name in an archive. More than PATH_MAX: a program can nest directories deeper than it can name."""
MAX_DEPTH: Final = 1_000
"""Directories above one file; each takes a descriptor while it is worked in."""
MAX_EXTENTS: Final = 100_000
"""Pieces of one sparse file."""


class Limits(NamedTuple):
    """Bounds on one archive. The defaults fit images of strangers; all sizes in bytes."""

    members: int = 3_000_000
    declared_bytes: int = 128 * 2**30
    """Sum of the sizes that the headers give."""
    tar_bytes: int = 130 * 2**30
    """Really decompressed."""
    ratio: int = 1_100
    """Decompressed to compressed bytes, looked at beyond ``ratio_free_bytes``. gzip cannot reach more than 1,032; 0: any."""
    ratio_free_bytes: int = 2**30
    extended_header_bytes: int = 2**20
    """Of one PAX header or GNU long name."""
    reserve_bytes: int = 2**30
    """Free space that unpacking leaves on the file system."""
    memory_bytes: int = 2**30
    """Address space of the process that unpacks."""


OWN: Final = Limits(ratio=0, extended_header_bytes=8 * 2**20)
"""For archives that cove packed: a file of zeros is packed ten thousandfold, and attributes are as many as the file system took."""


class Expected(NamedTuple):
    """What is known of an archive before it is read; None: not known."""

    digest: str | None = None
    """Of the compressed bytes."""
    diff_id: str | None = None
    """Of the tar."""
    size_bytes: int | None = None
    """Compressed."""


class Order(NamedTuple):
    """What the child process is told to do."""

    expect: Expected = Expected()
    limits: Limits = Limits()
    devices: bool = False
    """Whether device nodes are made."""


def order_to_json(order: Order) -> str:
    """``order`` as one argument of a command line."""
    return json.dumps([order.expect, order.limits, order.devices])


def order_from_json(text: str) -> Order:
    """The inverse of :func:`order_to_json`."""
    expect, limits, devices = json.loads(text)
    return Order(Expected(*expect), Limits(*limits), devices)
