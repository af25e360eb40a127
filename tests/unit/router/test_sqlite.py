"""The writer thread and the migrations, where they could lose or spoil something."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cove.exception import ConflictError, InternalFailure, VersionError
from router.db.migrate import Migration, migrate, read_migrations
from router.db.sqlite.database import open_sqlite
from router.db.sqlite.writer import MAX_BATCH, Writer


@pytest.fixture
async def writer(tmp_path: Path) -> AsyncIterator[Writer]:
    connection = sqlite3.connect(tmp_path / "db", isolation_level=None, check_same_thread=False)
    connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT NOT NULL)")
    made = Writer(connection)
    yield made
    await made.close()


def rows(tmp_path: Path) -> list[int]:
    connection = sqlite3.connect(tmp_path / "db")
    try:
        return [row[0] for row in connection.execute("SELECT id FROM t ORDER BY id")]
    finally:
        connection.close()


async def test_a_failing_job_takes_nothing_of_others_with_it(writer: Writer, tmp_path: Path) -> None:
    def work(number: int) -> object:
        def run(db: sqlite3.Connection) -> int:
            db.execute("INSERT INTO t VALUES (?, 'x')", (number,))
            if number % 3 == 0:
                raise LookupError(str(number))
            if number % 3 == 1:
                db.execute("INSERT INTO t VALUES (?, 'again')", (number,))
            return number

        return writer.run(run)

    results = await asyncio.gather(*(work(number) for number in range(3 * MAX_BATCH)), return_exceptions=True)  # type: ignore[call-overload]  # coroutines behind object
    assert [type(result) for result in results[:3]] == [LookupError, sqlite3.IntegrityError, int]
    assert rows(tmp_path) == list(range(2, 3 * MAX_BATCH, 3))


async def test_waiting_jobs_share_a_transaction(writer: Writer) -> None:
    """While the first holds the thread the others gather; all of them then see one snapshot of committed data."""
    started, go = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    traced: list[str] = []

    def hold(db: sqlite3.Connection) -> None:
        loop.call_soon_threadsafe(started.set)
        asyncio.run_coroutine_threadsafe(go.wait(), loop).result()
        db.set_trace_callback(traced.append)

    first = asyncio.create_task(writer.run(hold))
    await started.wait()
    others = [asyncio.create_task(writer.execute("INSERT INTO t VALUES (?, 'x')", (number,))) for number in range(100)]
    await asyncio.sleep(0)  # each task's turn to queue its job
    assert writer.pending() == 100
    go.set()
    await first
    assert await asyncio.gather(*others) == [1] * 100
    assert traced.count("BEGIN IMMEDIATE") == 1 and traced.count("COMMIT") == 2


async def test_a_cancelled_caller_harms_nobody(writer: Writer, tmp_path: Path) -> None:
    task = asyncio.create_task(writer.execute("INSERT INTO t VALUES (1, 'x')"))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert await writer.execute("INSERT INTO t VALUES (2, 'x')") == 1
    assert rows(tmp_path) == [1, 2]


async def test_when_the_database_cannot_write_everybody_hears_it_and_the_next_may_succeed(writer: Writer, tmp_path: Path) -> None:
    size = await writer.run(lambda db: db.execute("PRAGMA page_count").fetchone()[0])
    await writer.run(lambda db: db.execute(f"PRAGMA max_page_count = {size}").fetchone())
    with pytest.raises(InternalFailure):
        await writer.execute("INSERT INTO t VALUES (1, ?)", ("x" * 1_000_000,))
    assert await writer.execute("INSERT INTO t VALUES (2, 'x')") == 1
    assert rows(tmp_path) == [2]


async def test_a_closed_writer_finishes_what_it_took_and_takes_no_more(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "db", isolation_level=None, check_same_thread=False)
    connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT NOT NULL)")
    writer = Writer(connection)
    tasks = [asyncio.create_task(writer.execute("INSERT INTO t VALUES (?, 'x')", (number,))) for number in range(1000)]
    await asyncio.sleep(0)
    await writer.close()
    assert await asyncio.gather(*tasks) == [1] * 1000
    with pytest.raises(InternalFailure):
        await writer.execute("SELECT 1")


async def test_one_process_at_a_time_and_files_for_the_owner_alone(tmp_path: Path) -> None:
    async with open_sqlite(tmp_path / "router.db"):
        with pytest.raises(ConflictError, match="Another router"):
            async with open_sqlite(tmp_path / "router.db"):
                pass
        for path in tmp_path.iterdir():
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    async with open_sqlite(tmp_path / "router.db"):
        pass


async def test_writes_are_durable_in_the_sense_of_sqlite(tmp_path: Path) -> None:
    async with open_sqlite(tmp_path / "router.db") as db:
        pragmas = await db._writer.run(lambda c: [c.execute(f"PRAGMA {name}").fetchone()[0] for name in ("synchronous", "journal_mode")])
    assert pragmas == [2, "wal"]


def test_a_database_is_upgraded_from_every_older_schema(tmp_path: Path) -> None:
    migrations = read_migrations()
    for start in range(len(migrations) + 1):
        connection = sqlite3.connect(tmp_path / f"{start}.db", isolation_level=None)
        assert migrate(connection, migrations[:start]) == start
        assert migrate(connection, migrations) == len(migrations) - start
        assert migrate(connection, migrations) == 0
        connection.close()


def test_a_newer_schema_is_refused() -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection, [Migration(1, "a", "CREATE TABLE a (x);"), Migration(2, "b", "CREATE TABLE b (x);")])
    with pytest.raises(VersionError, match="schema 2; this cove knows 1"):
        migrate(connection, [Migration(1, "a", "CREATE TABLE a (x);")])
    connection.close()


def test_a_migration_that_fails_half_way_leaves_nothing() -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    broken = Migration(1, "a", "CREATE TABLE a (x); CREATE TABLE a (x);")
    with pytest.raises(sqlite3.Error):
        migrate(connection, [broken])
    assert migrate(connection, [Migration(1, "a", "CREATE TABLE a (x);")]) == 1
    connection.close()


@pytest.mark.parametrize("names", [["0002_a.sql"], ["0001_a.sql", "0003_b.sql"], ["1_a.sql"], ["0001_A.sql"], ["0001_a'; DROP.sql"]])
def test_misnumbered_or_misnamed_migrations_are_errors(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).write_text("SELECT 1;")
    with pytest.raises(ValueError, match="migration"):
        read_migrations(tmp_path)
