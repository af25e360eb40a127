"""Terminals for web browsers in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

import msgspec

from cove.types import SandboxId
from router.db.records import TerminalRecord
from router.db.sqlite.writer import Writer

_COLUMNS = (
    *("terminal_id", "sandbox_id", "token_id", "exec_id", "request", "ticket_hash", "ticket_expires_at"),
    *("created_at", "expires_at", "session_hash", "used_at", "started_at"),
)
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM terminals"


class SqliteTerminals:
    """``router.db.protocol.TerminalStore``."""

    def __init__(self, reader: sqlite3.Connection, writer: Writer) -> None:
        self._reader, self._writer = reader, writer

    async def add(self, terminal: TerminalRecord) -> None:
        values = [getattr(terminal, column) for column in _COLUMNS]
        await self._writer.execute(f"INSERT INTO terminals ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})", values)

    async def get(self, terminal_id: str) -> TerminalRecord | None:
        row = self._reader.execute(f"{_SELECT} WHERE terminal_id = ?", (terminal_id,)).fetchone()
        return _terminal(row) if row else None

    async def count(self, sandbox_id: SandboxId) -> int:
        row = self._reader.execute("SELECT count(*) FROM terminals WHERE sandbox_id = ?", (sandbox_id,)).fetchone()
        return int(row[0])

    async def redeem(self, terminal_id: str, ticket_hash: bytes, session_hash: bytes, at: float) -> bool:
        sql = """UPDATE terminals SET ticket_hash = x'', session_hash = ?, used_at = ?
                 WHERE terminal_id = ? AND ticket_hash = ? AND ticket_hash <> x'' AND ticket_expires_at > ?"""
        return await self._writer.execute(sql, (session_hash, at, terminal_id, ticket_hash, at)) == 1

    async def started(self, terminal_id: str, at: float) -> None:
        await self._writer.execute("UPDATE terminals SET started_at = ? WHERE terminal_id = ? AND started_at = 0", (at, terminal_id))

    async def touch(self, used_at: Mapping[str, float]) -> None:
        sql = "UPDATE terminals SET used_at = max(used_at, ?) WHERE terminal_id = ?"
        values = [(at, terminal_id) for terminal_id, at in used_at.items()]
        await self._writer.run(lambda db: db.executemany(sql, values))

    async def over(self, now: float, *, used_before: float, limit: int) -> list[TerminalRecord]:
        sql = f"""{_SELECT} WHERE expires_at <= :now
                     OR CASE session_hash WHEN x'' THEN ticket_expires_at <= :now ELSE used_at <= :used_before END
                     OR NOT EXISTS (SELECT 1 FROM tokens WHERE tokens.token_id = terminals.token_id AND revoked_at = 0)
                  LIMIT :limit"""
        return [_terminal(row) for row in self._reader.execute(sql, {"now": now, "used_before": used_before, "limit": limit})]

    async def delete(self, terminal_id: str) -> None:
        await self._writer.execute("DELETE FROM terminals WHERE terminal_id = ?", (terminal_id,))


def _terminal(row: tuple[object, ...]) -> TerminalRecord:
    return msgspec.convert(dict(zip(_COLUMNS, row, strict=True)), TerminalRecord)
