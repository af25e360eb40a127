"""The name of a blob: ``sha256:`` and 64 lower-case hexadecimal digits. Pure: parsing, hashing, no I/O."""

from __future__ import annotations

import hashlib
import re
from typing import Final, NewType, TypeAlias

from cove.exception import InvalidError

Digest = NewType("Digest", str)
"""A checked digest; only :func:`parse_digest`, :func:`digest_of` and :class:`Hasher` make one."""

Chunk: TypeAlias = bytes | bytearray | memoryview
"""A piece of a blob. One that is not ``bytes`` may be reused by its owner as soon as the call that took it returns."""

ALGORITHM: Final = "sha256"

_FORM: Final = re.compile(r"sha256:[0-9a-f]{64}")


def parse_digest(text: str) -> Digest:
    """Return ``text`` as a digest.

    Raises:  InvalidError: it is none; upper case and other algorithms included, so that one blob has one name.
    Source:  OCI image specification, "Digests".
    """
    if not _FORM.fullmatch(text):
        raise InvalidError(f"{text[:100]!r} is not a digest.", remedy="A digest is sha256: and 64 lower-case hexadecimal digits.")
    return Digest(text)


def hex_of(digest: Digest) -> str:
    """The 64 digits."""
    return digest.removeprefix(f"{ALGORITHM}:")


def digest_of(data: Chunk) -> Digest:
    """The digest of a whole blob in memory."""
    return Digest(f"{ALGORITHM}:{hashlib.sha256(data).hexdigest()}")


class Hasher:
    """The digest and the size of a blob that comes in chunks."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self.size_bytes = 0

    def update(self, chunk: Chunk) -> None:
        """Take the next chunk. Frees the interpreter's lock for large ones."""
        self._sha256.update(chunk)
        self.size_bytes += memoryview(chunk).nbytes

    def digest(self) -> Digest:
        """The digest of what came so far; more may follow."""
        return Digest(f"{ALGORITHM}:{self._sha256.hexdigest()}")
