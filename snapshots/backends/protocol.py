"""What the store asks of a place that keeps objects. One conformance suite runs over every implementation.

A backend knows names and bytes, nothing of digests, leases or reachability. Every operation is atomic and, once it returned, seen by all
that share the place: other processes, other machines. That is what S3 promises since 2020 and what a directory gives.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, suppress
from typing import Final, Protocol

import msgspec

from cove.exception import ConflictError, DataLossError, InvalidError, RequestSizeError
from snapshots.digest import Chunk

MAX_NAME: Final = 512
MAX_CONDITIONAL_BYTES: Final = 8 << 20
MAX_READ_ATTEMPTS: Final = 5

_SEGMENT: Final = r"[a-z0-9][a-z0-9._-]{0,127}"
_NAME: Final = re.compile(rf"{_SEGMENT}(/{_SEGMENT})*")
_PREFIX: Final = re.compile(rf"({_SEGMENT}/)*")


class ObjectInfo(msgspec.Struct, frozen=True):
    """One object as it was at one moment."""

    name: str
    size_bytes: int
    modified_at: float
    """Unix seconds by the clock of the place, not of this machine; S3 rounds it to whole seconds."""
    version: str
    """Differs after the object was replaced. Opaque."""


class Staged(Protocol):
    """An object that has no name yet: nobody sees it, and leaving its context without :meth:`publish` leaves nothing."""

    async def write(self, chunk: Chunk) -> None:
        """Append. Raises: ResourceExhaustedError: no space."""

    async def publish(self, name: str, *, if_absent: bool = False) -> None:
        """Let ``name`` be this object, durably; what had the name before is replaced in one step. Can be repeated.

        Args:
            if_absent: only if nothing has the name; for objects of at most :data:`MAX_CONDITIONAL_BYTES`, which S3 takes in one request.
        Raises:
            AlreadyExistsError: ``if_absent``, and there is one.
            RequestSizeError: ``if_absent``, and it is too large for that.
            ResourceExhaustedError: no space.
        """


class Reader(Protocol):
    """An open object: reads see one version of it, or fail."""

    @property
    def info(self) -> ObjectInfo: ...

    async def read_at(self, offset_bytes: int, size_bytes: int) -> bytes:
        """``size_bytes`` from ``offset_bytes``; less only where the object ends, and empty beyond that.

        Raises:
            ConflictError: it was replaced since it was opened, and the old version is gone.
            NotFoundError: it was deleted since, and is gone.
        """


class Backend(Protocol):
    """See the module. Every operation may raise ConnectionError (not reachable now) and PermissionDeniedError (refused).

    Names are :func:`check_name`'s; anything else is InvalidError.
    """

    @property
    def chunk_bytes(self) -> int:
        """The size of reads and writes that suits this place."""

    def stage(self) -> AbstractAsyncContextManager[Staged]:
        """Begin an object."""

    def open(self, name: str) -> AbstractAsyncContextManager[Reader]:
        """Raises: NotFoundError."""

    async def stat(self, name: str) -> ObjectInfo:
        """Raises: NotFoundError."""

    async def delete(self, name: str) -> None:
        """Absent objects are fine."""

    def list_(self, prefix: str) -> AsyncGenerator[ObjectInfo, None]:
        """Objects whose names begin with ``prefix`` (empty, or ending in ``/``), in no order; what changes meanwhile may be in or not."""

    async def sweep(self) -> int:
        """Remove what crashed processes staged here and never published. Returns how many."""


def check_name(name: str) -> str:
    """Return ``name`` if an object may have it: lower-case segments of ``[a-z0-9._-]`` that begin with a letter or digit.

    Narrower than any backend, so that no name means two things in one of them: no ``..``, no case folding, no escapes.
    """
    if len(name) > MAX_NAME or not _NAME.fullmatch(name):
        raise InvalidError(f"{name[:100]!r} cannot name an object.", remedy="Use a-z, 0-9, '.', '_', '-', and '/' between parts.")
    return name


def check_prefix(prefix: str) -> str:
    """Return ``prefix`` if it can begin names: empty, or whole segments with a ``/`` at the end."""
    if len(prefix) > MAX_NAME or not _PREFIX.fullmatch(prefix):
        raise InvalidError(f"{prefix[:100]!r} cannot begin the name of an object.", remedy="End it with '/'.")
    return prefix


async def put_bytes(backend: Backend, name: str, data: bytes, *, if_absent: bool = False) -> None:
    """Store a small object in one call. Raises: as :meth:`Staged.publish`."""
    async with backend.stage() as staged:
        await staged.write(data)
        await staged.publish(name, if_absent=if_absent)


def check_conditional(size_bytes: int) -> None:
    """Raises: RequestSizeError: so large an object cannot be published only if absent."""
    if size_bytes > MAX_CONDITIONAL_BYTES:
        raise RequestSizeError(f"An object of {size_bytes} bytes cannot be stored only if absent.")


async def get_bytes(backend: Backend, name: str, *, max_bytes: int) -> bytes:
    """One version of a small object, whole.

    Raises:
        NotFoundError: there is none.
        DataLossError: it is larger than we write such objects.
        ConflictError: it was replaced again and again meanwhile.
    """
    for _ in range(MAX_READ_ATTEMPTS - 1):
        with suppress(ConflictError):
            return await _get_bytes(backend, name, max_bytes)
    return await _get_bytes(backend, name, max_bytes)


async def _get_bytes(backend: Backend, name: str, max_bytes: int) -> bytes:
    async with backend.open(name) as reader:
        if reader.info.size_bytes > max_bytes:
            raise DataLossError(f"The object {name} has {reader.info.size_bytes} bytes, more than the {max_bytes} it can have.")
        return await reader.read_at(0, reader.info.size_bytes)
