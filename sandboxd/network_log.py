"""A sandbox's egress log: what it reached and what it was refused, by name where one is known.

Attempts of one kind (verdict, rule, protocol, address, port, name) are one record with a count. A record that changes gets the next cursor,
so a reader who asks for what changed after his last cursor misses nothing and is told no more than there is. Beyond a bound the record
that has not changed for longest makes room, which is counted.

The file, JSON lines, has every change since it was last made anew; of lines of one kind the last is what counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from policies.egress.model import EgressPolicy
from policies.egress.recording import allowlist

MAX_RECORDS: Final = 2_048
MAX_LINES: Final = 4 * MAX_RECORDS
MAX_TEXT: Final = 255


class Record(msgspec.Struct, kw_only=True):
    """Attempts of one kind. Times are Unix seconds."""

    cursor: int = 0
    first_at: float = 0.0
    last_at: float = 0.0
    count: int = 0
    allowed: bool
    protocol: str
    address: str
    port: int
    name: str
    rule: str
    remedy: str = ""

    @property
    def kind(self) -> tuple[object, ...]:
        """What attempts of this kind have in common."""
        return (self.allowed, self.rule, self.protocol, self.address, self.port, self.name)


class _Totals(msgspec.Struct, kw_only=True):
    allowed: int = 0
    denied: int = 0
    forgotten: int = 0


class NetworkLog:
    """One sandbox's log. Belongs to the event loop's thread; writes to the file when :meth:`flush` is called.

    Args:
        path: of the file; made at the first flush that has something to write.
        clock: Unix seconds.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        self._records: dict[tuple[object, ...], Record] = {}
        """By kind, that which changed last at the end."""
        self.cursor = 0
        """Of the last change."""
        self._flushed = 0
        self._lines = 0
        self._changed = asyncio.Event()
        self.totals = _Totals()
        self.ended = False
        self._load()

    def __iter__(self) -> Iterator[Record]:
        """Every record, by cursor."""
        return iter(list(self._records.values()))

    def add(self, attempt: Record) -> Record:
        """Count an attempt. Returns: the record of its kind, of which ``attempt`` may be the first."""
        attempt.name, attempt.remedy = attempt.name[:MAX_TEXT], attempt.remedy[: 2 * MAX_TEXT]
        kind, now = attempt.kind, self._clock()
        record = self._records.pop(kind, attempt)
        self.cursor += 1
        record.cursor, record.count = self.cursor, record.count + 1
        record.first_at, record.last_at = record.first_at or now, now
        self._records[kind] = record
        if attempt.allowed:
            self.totals.allowed += 1
        else:
            self.totals.denied += 1
        self._make_room()
        self._wake()
        return record

    def after(self, cursor: int, limit: int) -> list[Record]:
        """At most ``limit`` records that changed after ``cursor``, the earliest change first."""
        changed: list[Record] = []
        for record in reversed(self._records.values()):
            if record.cursor <= cursor:
                break
            changed.append(record)
        return changed[::-1][:limit]

    async def follow(self, cursor: int, limit: int) -> AsyncIterator[list[Record]]:
        """What changed after ``cursor``, batch by batch, until the log has ended."""
        while True:
            changed, waiting = self.after(cursor, limit), self._changed
            if changed:
                cursor = changed[-1].cursor
                yield changed
            elif self.ended:
                return
            else:
                await waiting.wait()

    def allowlist(self) -> EgressPolicy:
        """The smallest list that permits what was allowed."""
        return allowlist((record.address, record.name) for record in self if record.allowed and record.protocol != "dns")

    def end(self) -> None:
        """Nothing more will come: readers that follow are done."""
        self.ended = True
        self._wake()

    # --- the file ----------------------------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Write down what changed since the last time; milliseconds at most. Raises: OSError: the disk is full; call it again later."""
        if self._flushed == self.cursor:
            return
        changed = self.after(self._flushed, MAX_RECORDS)
        if self._lines + len(changed) > MAX_LINES:
            self._rewrite()
        else:
            lines = b"".join(msgspec.json.encode(record) + b"\n" for record in changed)
            with self._path.open("ab") as file:
                file.write(lines)
            self._lines += len(changed)
        self._flushed = self.cursor

    def _rewrite(self) -> None:
        fresh = self._path.with_suffix(".new")
        fresh.write_bytes(b"".join(msgspec.json.encode(record) + b"\n" for record in self))
        fresh.replace(self._path)
        self._lines = len(self._records)

    def _load(self) -> None:
        """What a former daemon wrote; a line that was cut short is left out."""
        try:
            lines = self._path.read_bytes().splitlines()
        except FileNotFoundError:
            return
        for line in lines:
            with contextlib.suppress(msgspec.DecodeError):
                record = msgspec.json.decode(line, type=Record)
                self._records.pop(record.kind, None)
                self._records[record.kind] = record
        self._lines = len(lines)
        self.cursor = self._flushed = max((record.cursor for record in self), default=0)
        self.totals.allowed = sum(record.count for record in self if record.allowed)
        self.totals.denied = sum(record.count for record in self if not record.allowed)

    def _make_room(self) -> None:
        if len(self._records) > MAX_RECORDS:
            del self._records[next(iter(self._records))]
            self.totals.forgotten += 1

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
