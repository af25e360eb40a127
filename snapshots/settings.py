"""Which backend the store uses, as settings of whoever opens it; and opening it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final
from urllib.parse import SplitResult, unquote, urlsplit

import msgspec

from cove.exception import InvalidError
from snapshots.backends.local import LocalBackend
from snapshots.backends.memory import MemoryBackend
from snapshots.backends.protocol import Backend, check_prefix
from snapshots.backends.s3 import S3Access, S3Backend
from snapshots.store import Store

Seconds = Annotated[float, msgspec.Meta(gt=0)]
NotNegative = Annotated[int, msgspec.Meta(ge=0)]

_HIDDEN: Final = frozenset({"s3_secret_access_key", "s3_session_token"})


class StoreSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where blobs are kept. The text form of this struct does not show secrets."""

    url: str
    """``file:///absolute/directory``, ``s3://bucket/prefix`` or ``memory:``."""

    reserve_bytes: NotNegative = 1 << 30
    """``file:`` only: free space that the store leaves on its file system; a full one would stop the daemons, too."""

    s3_endpoint: str = ""
    """Base URL of a server that is not AWS; ``http:`` is taken as is, for servers on the same machine."""

    s3_region: str = "us-east-1"
    """Most servers that are not AWS take any."""

    s3_access_key_id: str = ""
    """Empty: the environment's ``AWS_*`` variables or the machine's role."""

    s3_secret_access_key: str = ""
    """Belongs to ``s3_access_key_id``."""

    s3_session_token: str = ""
    """With temporary credentials."""

    s3_timeout_s: Seconds = 60.0
    """How long the server may be silent, and how long one request is tried again after faults that can pass."""

    s3_spool_dir: Path | None = None
    """Where blobs wait for their upload, which begins when their digest is known; the system's temporary directory when left out."""

    def __repr__(self) -> str:
        fields = (f"{name}={'…' if name in _HIDDEN and value else repr(value)}" for name, value in msgspec.structs.asdict(self).items())
        return f"StoreSettings({', '.join(fields)})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return [(name, "…" if name in _HIDDEN and value else value) for name, value in msgspec.structs.asdict(self).items()]


async def open_store(settings: StoreSettings) -> Store:
    """Open the store that ``settings`` name and free what crashes left staged there.

    Raises:
        InvalidError: the settings name none.
        ConnectionError, PermissionDeniedError, NotFoundError: the object store does not answer, refuses us, or has no such bucket.
    """
    backend = await _open_backend(settings)
    await backend.sweep()
    return Store(backend)


async def _open_backend(settings: StoreSettings) -> Backend:
    url = urlsplit(settings.url)
    if settings.url == "memory:":
        return MemoryBackend()
    if url.scheme == "file" and not url.netloc and url.path.startswith("/"):
        local = LocalBackend(Path(unquote(url.path)), reserve_bytes=settings.reserve_bytes)
        await local.create()
        return local
    if url.scheme == "s3" and url.netloc and not (url.query or url.fragment or url.username or url.port):
        s3 = S3Backend(_access(settings, url))
        await s3.check()
        return s3
    # The URL is not repeated: someone may have put credentials into it.
    raise InvalidError("The store's URL is none we know.", remedy="Use file:///directory, s3://bucket/prefix or memory:.")


def _access(settings: StoreSettings, url: SplitResult) -> S3Access:
    prefix = url.path.strip("/")
    return S3Access(
        bucket=url.netloc,
        prefix=check_prefix(f"{prefix}/" if prefix else ""),
        endpoint=settings.s3_endpoint,
        region=settings.s3_region,
        access_key_id=settings.s3_access_key_id,
        secret_access_key=settings.s3_secret_access_key,
        session_token=settings.s3_session_token,
        timeout_s=settings.s3_timeout_s,
        spool_dir=settings.s3_spool_dir,
    )
