"""Where the store keeps what in its backend. Pure: names of objects, and back.

::

    blobs/sha256/<first 2 digits>/<64 digits>   one blob each
    leases/<lease id>                           see ``snapshots.lease``
    sweeps/<sweep id>                           see ``snapshots.sweeps``
"""

from __future__ import annotations

from typing import Final

from cove.exception import InvalidError
from snapshots.digest import ALGORITHM, Digest, hex_of, parse_digest

LEASES: Final = "leases/"
SWEEPS: Final = "sweeps/"

_BLOBS: Final = f"blobs/{ALGORITHM}/"
_FAN_OUT: Final = 2
"""Digits that name a directory: 256 of them keep each small enough to list at once up to some ten million blobs."""


def blob_name(digest: Digest) -> str:
    """The object that holds the blob."""
    digits = hex_of(digest)
    return f"{_BLOBS}{digits[:_FAN_OUT]}/{digits}"


def digest_in(name: str) -> Digest | None:
    """The digest of the blob that the object ``name`` holds; None for an object that is no blob of ours."""
    try:
        digest = parse_digest(f"{ALGORITHM}:{name.rpartition('/')[2]}")
    except InvalidError:
        return None
    return digest if blob_name(digest) == name else None


def blobs_prefix(digits: str) -> str:
    """The narrowest prefix that lists every blob whose digest begins with these hexadecimal digits.

    Raises:  InvalidError: not lower-case hexadecimal, or more than 64.
    """
    if len(digits) > 64 or set(digits) - set("0123456789abcdef"):
        raise InvalidError(f"{digits[:100]!r} does not begin a digest.", remedy="Give its first lower-case hexadecimal digits.")
    return _BLOBS if len(digits) < _FAN_OUT else f"{_BLOBS}{digits[:_FAN_OUT]}/"
