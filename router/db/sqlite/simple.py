"""Tokens, Apps, nodes and idempotency keys in SQLite: stores whose methods are one statement each."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

from cove.types import AppId, NodeId, SandboxId
from router.db.records import AppRecord, Capacity, Claim, NodeRecord, TokenRecord
from router.db.sqlite.writer import Writer


class SqliteTokens:
    """``router.db.protocol.TokenStore``."""

    def __init__(self, reader: sqlite3.Connection, writer: Writer) -> None:
        self._reader, self._writer = reader, writer

    async def add(self, token: TokenRecord) -> None:
        values = (token.token_id, token.workspace, token.name, token.secret_hash, token.created_at, token.last_used_at, token.revoked_at)
        await self._writer.execute("INSERT INTO tokens VALUES (?, ?, ?, ?, ?, ?, ?)", values)

    async def get(self, token_id: str) -> TokenRecord | None:
        row = self._reader.execute("SELECT * FROM tokens WHERE token_id = ?", (token_id,)).fetchone()
        return TokenRecord(*row) if row else None

    async def list_(self, workspace: str) -> list[TokenRecord]:
        rows = self._reader.execute("SELECT * FROM tokens WHERE workspace = ? ORDER BY created_at, token_id", (workspace,))
        return [TokenRecord(*row) for row in rows]

    async def revoke(self, workspace: str, token_id: str, at: float) -> bool:
        sql = "UPDATE tokens SET revoked_at = CASE revoked_at WHEN 0 THEN ? ELSE revoked_at END WHERE workspace = ? AND token_id = ?"
        return await self._writer.execute(sql, (at, workspace, token_id)) == 1

    async def touch(self, used_at: Mapping[str, float]) -> None:
        sql = "UPDATE tokens SET last_used_at = max(last_used_at, ?) WHERE token_id = ?"
        values = [(at, token_id) for token_id, at in used_at.items()]
        await self._writer.run(lambda db: db.executemany(sql, values))

    async def any_active(self) -> bool:
        return self._reader.execute("SELECT 1 FROM tokens WHERE revoked_at = 0 LIMIT 1").fetchone() is not None


class SqliteApps:
    """``router.db.protocol.AppStore``."""

    def __init__(self, reader: sqlite3.Connection, writer: Writer) -> None:
        self._reader, self._writer = reader, writer

    async def ensure(self, app: AppRecord) -> AppRecord:
        def insert_or_find(db: sqlite3.Connection) -> AppRecord:
            values = (app.app_id, app.workspace, app.environment, app.name, app.created_at)
            db.execute("INSERT INTO apps VALUES (?, ?, ?, ?, ?) ON CONFLICT (workspace, environment, name) DO NOTHING", values)
            found = _find_app(db, app.workspace, app.environment, app.name)
            assert found is not None  # inserted above, in the same transaction
            return found

        return await self._writer.run(insert_or_find)

    async def get(self, app_id: AppId) -> AppRecord | None:
        row = self._reader.execute("SELECT * FROM apps WHERE app_id = ?", (app_id,)).fetchone()
        return AppRecord(*row) if row else None

    async def find(self, workspace: str, environment: str, name: str) -> AppRecord | None:
        return _find_app(self._reader, workspace, environment, name)


class SqliteIdempotency:
    """``router.db.protocol.IdempotencyStore``."""

    def __init__(self, reader: sqlite3.Connection, writer: Writer) -> None:
        self._reader, self._writer = reader, writer

    async def get(self, workspace: str, key: str) -> Claim | None:
        return find_claim(self._reader, workspace, key)

    async def purge(self, created_before: float, limit: int) -> int:
        sql = """DELETE FROM idempotency WHERE (workspace, key) IN
                 (SELECT workspace, key FROM idempotency WHERE created_at < ? ORDER BY created_at LIMIT ?)"""
        return await self._writer.execute(sql, (created_before, limit))


class SqliteNodes:
    """``router.db.protocol.NodeStore``."""

    def __init__(self, reader: sqlite3.Connection, writer: Writer) -> None:
        self._reader, self._writer = reader, writer

    async def put(self, node: NodeRecord) -> None:
        values = _node_values(node)
        sql = f"INSERT OR REPLACE INTO nodes VALUES ({', '.join('?' * len(values))})"
        await self._writer.execute(sql, values)

    async def list_(self) -> list[NodeRecord]:
        return [_node(row) for row in self._reader.execute("SELECT * FROM nodes ORDER BY node_id")]

    async def seen(self, node_id: NodeId, at: float, *, reserved: Capacity, draining: bool) -> None:
        sql = """UPDATE nodes SET last_seen_at = max(last_seen_at, ?), reserved_cpu_millis = ?, reserved_memory_bytes = ?, draining = ?
                 WHERE node_id = ?"""
        values = (at, reserved.cpu_millis, reserved.memory_bytes, draining, node_id)
        await self._writer.execute(sql, values)


def find_claim(db: sqlite3.Connection, workspace: str, key: str) -> Claim | None:
    """The claim on an idempotency key, through either connection."""
    row = db.execute("SELECT * FROM idempotency WHERE workspace = ? AND key = ?", (workspace, key)).fetchone()
    return Claim(row[0], row[1], row[2], SandboxId(row[3]), row[4]) if row else None


def _find_app(db: sqlite3.Connection, workspace: str, environment: str, name: str) -> AppRecord | None:
    sql = "SELECT * FROM apps WHERE workspace = ? AND environment = ? AND name = ?"
    row = db.execute(sql, (workspace, environment, name)).fetchone()
    return AppRecord(*row) if row else None


def _node_values(node: NodeRecord) -> tuple[object, ...]:
    """Columns in the order of the table."""
    pythons, proxies = ",".join(node.debian_pythons), ",".join(node.proxies)
    return (
        *(node.node_id, node.grpc_address, node.http_url, node.capacity.cpu_millis, node.capacity.memory_bytes),
        *(node.version, node.runsc_version, pythons, node.session_hash, node.registered_at, node.last_seen_at),
        *(node.reserved.cpu_millis, node.reserved.memory_bytes, node.draining, proxies, ",".join(node.runsc_builds)),
    )


def _node(row: tuple[Any, ...]) -> NodeRecord:
    node_id, grpc_address, http_url, cpu, memory, version, runsc_version, pythons, session_hash, registered_at, last_seen_at, *rest = row
    return NodeRecord(
        node_id=node_id,
        grpc_address=grpc_address,
        http_url=http_url,
        capacity=Capacity(cpu, memory),
        version=version,
        runsc_version=runsc_version,
        debian_pythons=tuple(filter(None, pythons.split(","))),
        proxies=tuple(filter(None, rest[3].split(","))),
        runsc_builds=tuple(filter(None, rest[4].split(","))),
        session_hash=session_hash,
        registered_at=registered_at,
        last_seen_at=last_seen_at,
        reserved=Capacity(rest[0], rest[1]),
        draining=bool(rest[2]),
    )
