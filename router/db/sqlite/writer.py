"""The one thread that writes to the SQLite file: whatever waits when a transaction begins shares its fsync (group commit)."""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import msgspec
import structlog

from cove.exception import InternalFailure

T = TypeVar("T")

MAX_BATCH: Final = 256
"""Jobs in one transaction: bounds how long the first of them waits for the last."""

log = structlog.get_logger(__name__)


class _Job(msgspec.Struct, frozen=True):
    work: Callable[[sqlite3.Connection], Any]
    future: asyncio.Future[Any]


class _Outcome(msgspec.Struct, frozen=True):
    value: Any = None
    error: BaseException | None = None


class Writer:
    """Runs functions on the writing connection, many in one transaction, each undone alone if it raises.

    The queue needs no bound: every job has a caller waiting for it, and the servers bound the calls in flight.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        """``connection``: in autocommit mode and free to be used from another thread; it is closed with the writer."""
        self._connection = connection
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="sqlite-writer")
        self._closed = False
        self._thread.start()

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What ``work`` returns, once its changes are durable. A cancelled caller's work may still be done.

        Raises:
            InternalFailure: the database could not write: disk full or broken.
            Exception: whatever ``work`` raises; its changes are undone.
        """
        if self._closed:
            raise InternalFailure("The database is closed.")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._jobs.put(_Job(work, future))
        return await future

    async def execute(self, sql: str, values: Sequence[object] = ()) -> int:
        """Run one statement; returns how many rows it changed."""
        return await self.run(lambda connection: connection.execute(sql, values).rowcount)

    def pending(self) -> int:
        """How many jobs wait for a transaction."""
        return self._jobs.qsize()

    async def close(self) -> None:
        """Finish what was queued, then close the connection."""
        if not self._closed:
            self._closed = True
            self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    def _serve(self) -> None:
        more = True
        while more:
            jobs, more = self._take()
            if jobs:
                _deliver(jobs, self._commit(jobs))
        self._connection.close()

    def _take(self) -> tuple[list[_Job], bool]:
        """Everything that waits, at least one; False after the last."""
        jobs: list[_Job] = []
        job = self._jobs.get()
        while job is not None:
            jobs.append(job)
            if len(jobs) == MAX_BATCH:
                return jobs, True
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return jobs, True
        return jobs, False

    def _commit(self, jobs: list[_Job]) -> list[_Outcome]:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            outcomes = [self._attempt(job) for job in jobs]
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            log.error("transaction failed", error=str(error), jobs=len(jobs))
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            failure = InternalFailure("The database could not store the change.", remedy="See the router's log; its disk may be full.")
            failure.__cause__ = error
            return [_Outcome(error=failure)] * len(jobs)
        return outcomes

    def _attempt(self, job: _Job) -> _Outcome:
        """Run one job inside a savepoint.

        Raises:
            sqlite3.Error: the whole transaction is lost.
        """
        self._connection.execute("SAVEPOINT job")
        try:
            value = job.work(self._connection)
        except Exception as error:  # delivered to the caller, whatever it is
            if isinstance(error, sqlite3.Error) and not isinstance(error, sqlite3.IntegrityError):
                raise
            self._connection.execute("ROLLBACK TO job")
            self._connection.execute("RELEASE job")
            return _Outcome(error=error)
        self._connection.execute("RELEASE job")
        return _Outcome(value)


def _deliver(jobs: list[_Job], outcomes: list[_Outcome]) -> None:
    """Wake the callers, with one wake-up per event loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[_Job, _Outcome]]] = {}
    for job, outcome in zip(jobs, outcomes, strict=True):
        by_loop.setdefault(job.future.get_loop(), []).append((job, outcome))
    for loop, pairs in by_loop.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(_resolve, pairs)


def _resolve(pairs: list[tuple[_Job, _Outcome]]) -> None:
    for job, outcome in pairs:
        if job.future.done():  # its caller was cancelled
            continue
        if outcome.error is not None:
            job.future.set_exception(outcome.error)
        else:
            job.future.set_result(outcome.value)
