"""Opens the SQLite file: lock, pragmas, migrations, the reading and the writing connection."""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from cove.exception import ConflictError
from router.db.migrate import migrate, read_migrations
from router.db.sqlite.images import SqliteImages
from router.db.sqlite.ingress import SqliteConnectTokens, SqliteEntrances
from router.db.sqlite.sandboxes import SqliteSandboxes
from router.db.sqlite.simple import SqliteApps, SqliteIdempotency, SqliteNodes, SqliteTokens
from router.db.sqlite.snapshots import SqliteSnapshots
from router.db.sqlite.terminals import SqliteTerminals
from router.db.sqlite.writer import Writer


class SqliteDatabase:
    """``router.db.protocol.Database`` in one file. Point reads run inline: one takes some 10 us, less than a thread's wake-up."""

    def __init__(self, reader: sqlite3.Connection, writer: Writer) -> None:
        self._writer = writer
        self.tokens = SqliteTokens(reader, writer)
        self.apps = SqliteApps(reader, writer)
        self.sandboxes = SqliteSandboxes(reader, writer)
        self.nodes = SqliteNodes(reader, writer)
        self.images = SqliteImages(reader, writer)
        self.snapshots = SqliteSnapshots(reader, writer)
        self.terminals = SqliteTerminals(reader, writer)
        self.entrances = SqliteEntrances(reader, writer)
        self.connect_tokens = SqliteConnectTokens(reader, writer)
        self.idempotency = SqliteIdempotency(reader, writer)

    def pending_writes(self) -> int:
        return self._writer.pending()


@asynccontextmanager
async def open_sqlite(path: Path) -> AsyncIterator[SqliteDatabase]:
    """The database at ``path``, made or upgraded as needed.

    Raises:
        ConflictError: another router has it open; writes are serialised in one process only.
        VersionError: it was made by a newer cove.
    """
    with _locked(path.with_suffix(".lock")):
        writing = await asyncio.to_thread(_open_and_migrate, path)
        writer = Writer(writing)
        try:
            reader = _connect(path)
            reader.execute("PRAGMA query_only = ON")
            try:
                yield SqliteDatabase(reader, writer)
            finally:
                reader.close()
        finally:
            await asyncio.shield(writer.close())


def _open_and_migrate(path: Path) -> sqlite3.Connection:
    # SQLite gives its own mode to the files beside it, and 0644 to one that it makes.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = _connect(path)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        migrate(connection, read_migrations())
    except BaseException:
        connection.close()
        raise
    return connection


def _connect(path: Path) -> sqlite3.Connection:
    # check_same_thread: the writing connection is opened here and then used by the writer thread alone.
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
    for pragma in ("synchronous = FULL", "foreign_keys = ON", "busy_timeout = 5000", "trusted_schema = OFF"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock file; the kernel frees it however this process ends."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConflictError(
                f"Another router has {path.parent} open.", remedy="Stop it first, or give this one another state directory."
            ) from None
        yield
    finally:
        os.close(descriptor)
