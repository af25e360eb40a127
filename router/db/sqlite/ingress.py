"""Entrances and connect tokens in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, Final

from cove.types import SandboxId
from router.db.ingress import ConnectTokenRecord, EntranceKind, EntranceRecord
from router.db.sqlite.writer import Writer

_ENTRANCE: Final = "name, sandbox_id, port, kind, created_at, plain_port, tls_port"
_TOKEN: Final = "token_id, sandbox_id, user_metadata, created_at, expires_at, revoked_at"


class SqliteEntrances:
    """``router.db.ingress.EntranceStore``."""

    def __init__(self, reader: sqlite3.Connection, writer: Writer) -> None:
        self._reader, self._writer = reader, writer

    async def add(self, entrance: EntranceRecord) -> EntranceRecord:
        def insert_or_find(db: sqlite3.Connection) -> EntranceRecord:
            insert_entrances(db, [entrance])
            sql = f"SELECT {_ENTRANCE} FROM entrances WHERE sandbox_id = ? AND port = ? AND (kind = 3) = ?"
            values = (entrance.sandbox_id, entrance.port, entrance.kind is EntranceKind.CONNECT)
            return _entrance(db.execute(sql, values).fetchone())

        return await self._writer.run(insert_or_find)

    async def of(self, sandbox_id: SandboxId) -> list[EntranceRecord]:
        rows = self._reader.execute(f"SELECT {_ENTRANCE} FROM entrances WHERE sandbox_id = ? ORDER BY port, kind", (sandbox_id,))
        return [_entrance(row) for row in rows]

    async def live(self) -> list[EntranceRecord]:
        sql = f"SELECT {_ENTRANCE} FROM entrances WHERE sandbox_id IN (SELECT sandbox_id FROM sandboxes WHERE state <> 4)"
        return [_entrance(row) for row in self._reader.execute(sql)]

    async def bound(self, name: str, *, plain_port: int, tls_port: int) -> None:
        await self._writer.execute("UPDATE entrances SET plain_port = ?, tls_port = ? WHERE name = ?", (plain_port, tls_port, name))

    async def remove(self, name: str) -> bool:
        return await self._writer.execute("DELETE FROM entrances WHERE name = ?", (name,)) == 1


class SqliteConnectTokens:
    """``router.db.ingress.ConnectTokenStore``."""

    def __init__(self, reader: sqlite3.Connection, writer: Writer) -> None:
        self._reader, self._writer = reader, writer

    async def add(self, token: ConnectTokenRecord) -> ConnectTokenRecord:
        def insert_or_find(db: sqlite3.Connection) -> ConnectTokenRecord:
            values = (token.token_id, token.sandbox_id, token.user_metadata, token.created_at, token.expires_at, token.revoked_at)
            db.execute(f"INSERT INTO connect_tokens ({_TOKEN}) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (token_id) DO NOTHING", values)
            return _token(db.execute(f"SELECT {_TOKEN} FROM connect_tokens WHERE token_id = ?", (token.token_id,)).fetchone())

        return await self._writer.run(insert_or_find)

    async def get(self, token_id: str) -> ConnectTokenRecord | None:
        row = self._reader.execute(f"SELECT {_TOKEN} FROM connect_tokens WHERE token_id = ?", (token_id,)).fetchone()
        return _token(row) if row else None

    async def list_(self, sandbox_id: SandboxId) -> Sequence[ConnectTokenRecord]:
        sql = f"SELECT {_TOKEN} FROM connect_tokens WHERE sandbox_id = ? ORDER BY created_at, token_id"
        return [_token(row) for row in self._reader.execute(sql, (sandbox_id,))]

    async def revoke(self, token_id: str, at: float) -> bool:
        sql = "UPDATE connect_tokens SET revoked_at = CASE revoked_at WHEN 0 THEN ? ELSE revoked_at END WHERE token_id = ?"
        return await self._writer.execute(sql, (at, token_id)) == 1


def insert_entrances(db: sqlite3.Connection, entrances: Iterable[EntranceRecord]) -> None:
    """Those whose port has none yet."""
    sql = f"INSERT INTO entrances ({_ENTRANCE}) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
    db.executemany(
        sql, [(*(one.name, one.sandbox_id, one.port, int(one.kind)), one.created_at, one.plain_port, one.tls_port) for one in entrances]
    )


def _entrance(row: tuple[Any, ...]) -> EntranceRecord:
    name, sandbox_id, port, kind, created_at, plain_port, tls_port = row
    return EntranceRecord(
        name=name,
        sandbox_id=sandbox_id,
        port=port,
        kind=EntranceKind(kind),
        created_at=created_at,
        plain_port=plain_port,
        tls_port=tls_port,
    )


def _token(row: tuple[Any, ...]) -> ConnectTokenRecord:
    token_id, sandbox_id, user_metadata, created_at, expires_at, revoked_at = row
    return ConnectTokenRecord(
        token_id=token_id,
        sandbox_id=sandbox_id,
        user_metadata=user_metadata,
        created_at=created_at,
        expires_at=expires_at,
        revoked_at=revoked_at,
    )
