"""Objects in an S3 bucket, through obstore.

The name of a blob is known only when its last byte is. So what is staged waits in an unnamed file on this machine's disk: nothing that was
not verified reaches the bucket, and a crash leaves nothing. Large objects go up in parts. Those of an upload that was cut short cannot be
seen, but cost space until the bucket's rule for incomplete multipart uploads removes them: set one.

Only this module knows obstore. Its errors' text can hold what the server said, request headers with session tokens included; so none of it
goes into our errors, not as their ``__cause__`` either, but the status and S3's error code.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

import msgspec
import obstore
from obstore.exceptions import AlreadyExistsError as ObjectExistsError
from obstore.exceptions import BaseError, PermissionDeniedError, PreconditionError, UnauthenticatedError
from obstore.store import S3Store

from cove import exception
from cove.exception import AlreadyExistsError, ConflictError, ConnectionError, Error, InvalidError, NotFoundError, ResourceExhaustedError
from snapshots.backends.local import errors_of
from snapshots.backends.protocol import ObjectInfo, check_conditional, check_name, check_prefix
from snapshots.backends.threads import in_thread, opened_in_thread
from snapshots.digest import Chunk

if TYPE_CHECKING:
    from obstore import GetOptions, ObjectMeta
    from obstore.store import ClientConfig, RetryConfig, S3Config

CHUNK_BYTES: Final = 8 << 20
"""Size of ranges, and of parts unless there were more than :data:`MAX_PARTS`."""

MAX_PARTS: Final = 10_000
"""Source: Amazon S3 user guide, "Amazon S3 multipart upload limits"."""

MAX_PARALLEL_PARTS: Final = 4
"""Parts of one object on their way at a time: memory is bounded by this many chunks, and a few connections fill most links."""

CONNECT_TIMEOUT_S: Final = 5.0
MAX_RETRIES: Final = 5
LIST_PAGE: Final = 1000

_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_STATUS: Final = re.compile(r"\b([45]\d\d) [A-Z][a-z]+")
_CODE: Final = re.compile(r"<Code>([A-Za-z]{1,64})</Code>")

_ABSENT: Final = frozenset({"NoSuchBucket", "404"})
_REFUSED: Final = frozenset({"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "401", "403"})
_FULL: Final = frozenset({"QuotaExceeded", "InsufficientStorage", "XMinioStorageFull", "507"})


class S3Access(msgspec.Struct, frozen=True, kw_only=True, repr_omit_defaults=True):
    """One prefix of one bucket, and how to get there. See ``snapshots.settings.StoreSettings`` for the fields."""

    bucket: str
    prefix: str = ""
    """Empty, or with ``/`` at its end."""
    endpoint: str = ""
    region: str = "us-east-1"
    access_key_id: str = ""
    secret_access_key: str = ""
    session_token: str = ""
    timeout_s: float = 60.0
    spool_dir: Path | None = None

    def __repr__(self) -> str:
        return f"S3Access(bucket={self.bucket!r}, prefix={self.prefix!r}, endpoint={self.endpoint!r})"


class S3Backend:
    """Objects below ``access.prefix``.

    Args:
        environ: where certificate bundles are looked up; os.environ when left out.
    Raises:
        InvalidError: bucket or endpoint cannot be.
    """

    def __init__(self, access: S3Access, *, environ: Mapping[str, str] | None = None) -> None:
        if not _BUCKET.fullmatch(access.bucket):
            raise InvalidError(f"{access.bucket[:80]!r} cannot be a bucket.", remedy="S3 wants 3 to 63 of a-z, 0-9, '.' and '-'.")
        self._prefix = access.prefix
        self._bucket = access.bucket
        self.spool_dir = access.spool_dir
        with _errors_of(f"bucket {access.bucket}"):
            self.client = S3Store(
                access.bucket,
                config=_config(access),
                client_options=_client_options(access, os.environ if environ is None else environ),
                retry_config=_retry_config(access),
            )

    @property
    def chunk_bytes(self) -> int:
        return CHUNK_BYTES

    async def check(self) -> None:
        """Raises: NotFoundError, PermissionDeniedError, ConnectionError: the bucket cannot be used."""
        with _errors_of(f"bucket {self._bucket}"):
            async for _ in obstore.list(self.client, self._prefix or None, chunk_size=1):
                return

    @asynccontextmanager
    async def stage(self) -> AsyncIterator[S3Staged]:
        async with opened_in_thread(lambda: _unnamed_file(self.spool_dir), lambda file: file.close()) as spool:
            yield S3Staged(self, spool)

    @asynccontextmanager
    async def open(self, name: str) -> AsyncIterator[S3Reader]:
        yield S3Reader(self, await self.stat(name))

    async def stat(self, name: str) -> ObjectInfo:
        key = self.key(name)
        with _errors_of(name):
            return self._info(await obstore.head_async(self.client, key))

    async def delete(self, name: str) -> None:
        key = self.key(name)
        try:
            with _errors_of(name):
                await obstore.delete_async(self.client, key)
        except NotFoundError:
            return  # S3 itself does not tell; some servers do

    async def list_(self, prefix: str) -> AsyncGenerator[ObjectInfo, None]:
        below = self._prefix + check_prefix(prefix)
        with _errors_of(f"bucket {self._bucket}"):
            async for page in obstore.list(self.client, below or None, chunk_size=LIST_PAGE):
                for meta in page:
                    if meta["path"].startswith(below):
                        yield self._info(meta)

    async def sweep(self) -> int:
        return 0  # staged files have no names: the kernel frees them with their process

    def key(self, name: str) -> str:
        """The object's key in the bucket."""
        return self._prefix + check_name(name)

    def _info(self, meta: ObjectMeta) -> ObjectInfo:
        modified_at = meta["last_modified"].timestamp()
        return ObjectInfo(meta["path"].removeprefix(self._prefix), meta["size"], modified_at, f"{meta['e_tag'] or ''}-{modified_at}")


class S3Staged:
    """:class:`snapshots.backends.protocol.Staged`."""

    def __init__(self, backend: S3Backend, spool: IO[bytes]) -> None:
        self._backend = backend
        self._spool = spool
        self._size_bytes = 0

    async def write(self, chunk: Chunk) -> None:
        await in_thread(self._write, memoryview(chunk).cast("B"))
        self._size_bytes += memoryview(chunk).nbytes

    def _write(self, rest: memoryview) -> None:
        with errors_of(_spool(self._backend.spool_dir)):
            while rest:
                rest = rest[os.write(self._spool.fileno(), rest) :]

    async def publish(self, name: str, *, if_absent: bool = False) -> None:
        key, store = self._backend.key(name), self._backend.client
        if if_absent:
            check_conditional(self._size_bytes)
        if self._size_bytes <= CHUNK_BYTES:
            data = await self._read_at(0)
            with _errors_of(name):
                await obstore.put_async(store, key, data, mode="create" if if_absent else "overwrite", use_multipart=False)
            return
        part_bytes = max(CHUNK_BYTES, -(-self._size_bytes // MAX_PARTS))
        with _errors_of(name):
            await obstore.put_async(
                store, key, self._chunks(), use_multipart=True, chunk_size=part_bytes, max_concurrency=MAX_PARALLEL_PARTS
            )

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        for offset in range(0, self._size_bytes, CHUNK_BYTES):
            yield await self._read_at(offset)

    async def _read_at(self, offset_bytes: int) -> bytes:
        return await in_thread(os.pread, self._spool.fileno(), CHUNK_BYTES, offset_bytes)


class S3Reader:
    """:class:`snapshots.backends.protocol.Reader`. Each read is a request of its own, so each can be retried, and memory is bounded."""

    def __init__(self, backend: S3Backend, info: ObjectInfo) -> None:
        self._backend = backend
        self._etag = info.version.rpartition("-")[0]  # empty if the server gives none
        self.info = info

    async def read_at(self, offset_bytes: int, size_bytes: int) -> bytes:
        end = min(offset_bytes + size_bytes, self.info.size_bytes)
        if offset_bytes >= end:
            return b""
        options: GetOptions = {"range": (offset_bytes, end), "if_match": self._etag or None}
        try:
            with _errors_of(self.info.name):
                result = await obstore.get_async(self._backend.client, self._backend.key(self.info.name), options=options)
                return bytes(await result.bytes_async())
        except AlreadyExistsError:
            raise ConflictError(
                f"The object {self.info.name} was replaced while it was read.", remedy="Read it again.", retryable=True
            ) from None


def _config(access: S3Access) -> S3Config:
    """What is given wins over the ``AWS_*`` variables that obstore reads; without a key they, or the machine's role, give one."""
    config: S3Config = {"region": access.region, "conditional_put": "etag", "virtual_hosted_style_request": False}
    if access.endpoint:
        config["endpoint"] = access.endpoint
    if access.access_key_id:
        config["access_key_id"] = access.access_key_id
        config["secret_access_key"] = access.secret_access_key
        if access.session_token:
            config["session_token"] = access.session_token
    return config


def _client_options(access: S3Access, environ: Mapping[str, str]) -> ClientConfig:
    options: ClientConfig = {
        "allow_http": access.endpoint.startswith("http://"),
        "connect_timeout": timedelta(seconds=CONNECT_TIMEOUT_S),
        "read_timeout": timedelta(seconds=access.timeout_s),
        "timeout": timedelta(seconds=access.timeout_s),
    }
    bundle = environ.get("AWS_CA_BUNDLE") or environ.get("SSL_CERT_FILE")
    if bundle and not options["allow_http"]:
        with errors_of(f"the certificate bundle {bundle}"):
            options["root_certificate"] = Path(bundle).read_bytes()
    return options


def _retry_config(access: S3Access) -> RetryConfig:
    return {"max_retries": MAX_RETRIES, "retry_timeout": timedelta(seconds=access.timeout_s)}


def _unnamed_file(directory: Path | None) -> IO[bytes]:
    """A file without a name, so that it goes with the process. Source: open(2), O_TMPFILE, where the file system has it."""
    with errors_of(_spool(directory)):
        return tempfile.TemporaryFile(dir=directory, buffering=0)


def _spool(directory: Path | None) -> str:
    """What errors call it."""
    return f"directory {directory or tempfile.gettempdir()} for uploads"


@contextmanager
def _errors_of(what: str) -> Iterator[None]:
    """Turn obstore's errors about ``what`` into ours; see the module for why without their text and without their chain."""
    try:
        yield
    except (BaseError, FileNotFoundError, ValueError) as error:
        raise _translated(what, error) from None


def _translated(what: str, error: Exception) -> Error:
    said = _said(str(error))
    text = f"{what} ({said})" if said else what
    if isinstance(error, FileNotFoundError) or said in _ABSENT:
        return NotFoundError(f"The object store has no {text}.")
    if isinstance(error, ObjectExistsError | PreconditionError):
        return AlreadyExistsError(f"There is an object {what} already.")
    if isinstance(error, PermissionDeniedError | UnauthenticatedError) or said in _REFUSED:
        remedy = "An operator has to check the store's key and the bucket's policy."
        return exception.PermissionDeniedError(f"The object store refused access to {text}.", remedy=remedy)
    if said in _FULL:
        return ResourceExhaustedError(f"The object store has no room for {text}.", remedy="Prune what is not used, or enlarge it.")
    return ConnectionError(f"The object store did not do its part for {text}.", remedy="Try again; then check endpoint and network.")


def _said(text: str) -> str:
    """S3's error code in obstore's text, or else the HTTP status; empty without either. Neither can hold a secret."""
    found = _CODE.search(text) or _STATUS.search(text)
    return found.group(1) if found else ""
