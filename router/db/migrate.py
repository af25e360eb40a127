"""Brings a SQLite database to the newest schema: numbered scripts, each applied once, in order, in a transaction of its own."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from cove.exception import VersionError

SQLITE_MIGRATIONS: Final = Path(__file__).parent / "migrations" / "sqlite"

_FILE_NAME = re.compile(r"(?P<version>[0-9]{4})_(?P<name>[a-z0-9_]+)\.sql")
_LEDGER = """
    CREATE TABLE IF NOT EXISTS schema_migrations (
        version INTEGER PRIMARY KEY,
        name TEXT NOT NULL,
        applied_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
    )
"""


class Migration(NamedTuple):
    """One numbered script."""

    version: int
    name: str
    sql: str


def read_migrations(directory: Path = SQLITE_MIGRATIONS) -> list[Migration]:
    """The scripts of ``directory`` in order.

    Raises:
        ValueError: a file name that is no ``NNNN_name.sql``, or numbers that are not 1, 2, 3, …
    """
    migrations = [_parse(path) for path in sorted(directory.glob("*.sql"))]
    if [migration.version for migration in migrations] != list(range(1, len(migrations) + 1)):
        raise ValueError(f"the migrations in {directory} are not numbered 1, 2, 3, …")
    return migrations


def migrate(connection: sqlite3.Connection, migrations: Sequence[Migration]) -> int:
    """Apply what ``connection``'s database lacks; killed in between, the next call goes on.

    Returns: how many were applied.
    Raises:  VersionError: the database was made by a newer cove.
    """
    connection.execute(_LEDGER)
    current: int = connection.execute("SELECT coalesce(max(version), 0) FROM schema_migrations").fetchone()[0]
    if current > len(migrations):
        raise VersionError(
            f"The database has schema {current}; this cove knows {len(migrations)}.",
            remedy="Run the newer version, or restore the backup from before the upgrade.",
        )
    missing = migrations[current:]
    for migration in missing:
        _apply(connection, migration)
    return len(missing)


def _apply(connection: sqlite3.Connection, migration: Migration) -> None:
    # One script with its own BEGIN and COMMIT: executescript() would otherwise commit before it runs.
    ledger = f"INSERT INTO schema_migrations (version, name) VALUES ({migration.version}, '{migration.name}');"
    try:
        connection.executescript(f"BEGIN IMMEDIATE;\n{migration.sql}\n{ledger}\nCOMMIT;")
    except sqlite3.Error:
        if connection.in_transaction:
            connection.rollback()
        raise


def _parse(path: Path) -> Migration:
    match = _FILE_NAME.fullmatch(path.name)
    if match is None:
        raise ValueError(f"{path.name} is not a migration: NNNN_name.sql")
    return Migration(int(match["version"]), match["name"], path.read_text("utf-8"))
