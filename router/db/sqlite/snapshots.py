"""Memory snapshots in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from cove.types import SnapshotId
from router.db.records import ImageRecord
from router.db.snapshots import SnapshotRecord
from router.db.sqlite.images import add_image
from router.db.sqlite.writer import Writer

_FIELDS: Final = SnapshotRecord.__struct_fields__
_SELECT: Final = f"SELECT {', '.join(_FIELDS)} FROM snapshots"
_RESTORED: Final = "EXISTS (SELECT 1 FROM sandboxes s WHERE s.snapshot_id = snapshots.snapshot_id AND s.snapshot_id <> '' AND s.state <> 4)"
_IN_USE: Final = "EXISTS (SELECT 1 FROM sandboxes s WHERE s.image = snapshots.image_id AND s.state <> 4)"


class SqliteSnapshots:
    """``router.db.snapshots.SnapshotStore``."""

    def __init__(self, reader: sqlite3.Connection, writer: Writer) -> None:
        self._reader, self._writer = reader, writer

    async def add(self, snapshot: SnapshotRecord, image: ImageRecord) -> SnapshotRecord:
        return await self._writer.run(lambda db: _add(db, snapshot, image))

    async def get(self, snapshot_id: str) -> SnapshotRecord | None:
        return _get(self._reader, snapshot_id)

    async def list_(
        self, workspace: str, *, now: float, sandbox_id: str, after: tuple[float, str] | None, limit: int
    ) -> list[SnapshotRecord]:
        conditions, values = ["workspace = ?", "deleted_at = 0", "(pinned OR expires_at = 0 OR expires_at > ?)"], [workspace, now]
        if sandbox_id:
            conditions.append("sandbox_id = ?")
            values.append(sandbox_id)
        if after:
            conditions.append("(created_at, snapshot_id) < (?, ?)")
            values += after
        return self._read(f"WHERE {' AND '.join(conditions)} ORDER BY created_at DESC, snapshot_id DESC LIMIT ?", (*values, limit))

    async def of_image(self, image_id: str) -> SnapshotId | None:
        row = self._reader.execute("SELECT snapshot_id FROM snapshots WHERE image_id = ? AND deleted_at = 0", (image_id,)).fetchone()
        return SnapshotId(row[0]) if row else None

    async def pin(self, snapshot_id: SnapshotId, *, pinned: bool, expires_at: float, now: float) -> bool:
        sql = """UPDATE snapshots SET pinned = ?, expires_at = ?
                 WHERE snapshot_id = ? AND deleted_at = 0 AND (pinned OR expires_at = 0 OR expires_at > ?)"""
        return await self._writer.execute(sql, (pinned, expires_at, snapshot_id, now)) == 1

    async def delete(self, snapshot_id: SnapshotId, now: float) -> bool:
        sql = "UPDATE snapshots SET deleted_at = ? WHERE snapshot_id = ? AND deleted_at = 0 AND pinned = 0"
        return await self._writer.execute(sql, (now, snapshot_id)) == 1

    async def expire(self, now: float, limit: int) -> list[SnapshotId]:
        sql = """UPDATE snapshots SET deleted_at = ? WHERE snapshot_id IN
                 (SELECT snapshot_id FROM snapshots WHERE expires_at > 0 AND expires_at <= ? AND pinned = 0 AND deleted_at = 0
                  ORDER BY expires_at LIMIT ?) RETURNING snapshot_id"""
        rows = await self._writer.run(lambda db: db.execute(sql, (now, now, limit)).fetchall())
        return [SnapshotId(row[0]) for row in rows]

    async def deleted(self, limit: int) -> list[SnapshotRecord]:
        condition = f"""WHERE deleted_at > 0 AND CASE memory_removed WHEN 0 THEN NOT {_RESTORED} ELSE NOT {_IN_USE} END
                        ORDER BY deleted_at LIMIT ?"""
        return self._read(condition, (limit,))

    async def memory_removed(self, snapshot_id: SnapshotId) -> None:
        await self._writer.execute("UPDATE snapshots SET memory_removed = 1 WHERE snapshot_id = ? AND deleted_at > 0", (snapshot_id,))

    async def forget(self, snapshot_id: SnapshotId) -> bool:
        def delete(db: sqlite3.Connection) -> bool:
            sql = f"DELETE FROM snapshots WHERE snapshot_id = ? AND deleted_at > 0 AND NOT {_IN_USE} RETURNING image_id"
            row = db.execute(sql, (snapshot_id,)).fetchone()
            if row is not None:
                db.execute("DELETE FROM images WHERE image_id = ?", row)
            return row is not None

        return await self._writer.run(delete)

    async def stored(self, snapshot_id: SnapshotId, *, digest: str, diff_id: str, size_bytes: int) -> None:
        sql = "UPDATE snapshots SET digest = ?, diff_id = ?, size_bytes = ? WHERE snapshot_id = ?"
        await self._writer.execute(sql, (digest, diff_id, size_bytes, snapshot_id))

    async def unstored(self, expires_after: float, limit: int) -> list[SnapshotRecord]:
        condition = """WHERE digest = '' AND deleted_at = 0 AND (pinned OR expires_at = 0 OR expires_at > ?) ORDER BY created_at LIMIT ?"""
        return self._read(condition, (expires_after, limit))

    async def has_memory(self, snapshot_id: str) -> bool:
        sql = "SELECT 1 FROM snapshots WHERE snapshot_id = ? AND memory_removed = 0"
        return self._reader.execute(sql, (snapshot_id,)).fetchone() is not None

    async def digests(self) -> set[str]:
        sql = f"SELECT digest FROM snapshots WHERE digest <> '' AND (deleted_at = 0 OR {_RESTORED})"
        return {row[0] for row in self._reader.execute(sql)}

    def _read(self, condition: str, values: Sequence[object]) -> list[SnapshotRecord]:
        return [_record(row) for row in self._reader.execute(f"{_SELECT} {condition}", values)]


def _add(db: sqlite3.Connection, snapshot: SnapshotRecord, image: ImageRecord) -> SnapshotRecord:
    if known := _get(db, snapshot.snapshot_id):
        return known
    add_image(db, image)
    db.execute(f"INSERT INTO snapshots ({', '.join(_FIELDS)}) VALUES ({', '.join('?' * len(_FIELDS))})", msgspec.structs.astuple(snapshot))
    return snapshot


def _get(db: sqlite3.Connection, snapshot_id: str) -> SnapshotRecord | None:
    row = db.execute(f"{_SELECT} WHERE snapshot_id = ?", (snapshot_id,)).fetchone()
    return _record(row) if row else None


def _record(row: Sequence[Any]) -> SnapshotRecord:
    fields = dict(zip(_FIELDS, row, strict=True))
    flags = {name: bool(fields[name]) for name in ("pinned", "memory_removed")}
    return SnapshotRecord(**{**fields, **flags})
