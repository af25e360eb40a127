"""Sandboxes in SQLite, with their tags and the idempotency keys that made them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from cove.exception import AlreadyExistsError, NotFoundError
from cove.types import AppId, EndReason, NodeId, SandboxId
from router.db.ingress import EntranceRecord
from router.db.protocol import SandboxIdTaken
from router.db.records import Claim, Observed, SandboxQuery, SandboxRecord, SandboxState
from router.db.sqlite.ingress import insert_entrances
from router.db.sqlite.simple import find_claim
from router.db.sqlite.writer import Writer

_COLUMNS: Final = (
    "sandbox_id, task_id, workspace, environment, app_id, name, created_at, node_id, image, snapshot_id, terminate_asked_at, "
    "state, started_at, expires_at, idle_since, reason, exit_code, message, ended_at, paused_at"
)
_SELECT: Final = f"SELECT {_COLUMNS} FROM sandboxes"
_OBSERVED: Final = "(state, started_at, expires_at, idle_since, reason, exit_code, message, ended_at, paused_at)"


class SqliteSandboxes:
    """``router.db.protocol.SandboxStore``."""

    def __init__(self, reader: sqlite3.Connection, writer: Writer) -> None:
        self._reader, self._writer = reader, writer

    async def reserve(self, sandbox: SandboxRecord, claim: Claim, entrances: Sequence[EntranceRecord] = ()) -> Claim:
        def reserve(db: sqlite3.Connection) -> Claim:
            holder = _reserve(db, sandbox, claim)
            if holder is claim:
                insert_entrances(db, entrances)
            return holder

        return await self._writer.run(reserve)

    async def move(self, sandbox_id: SandboxId, *, source: NodeId, target: NodeId) -> bool:
        sql = "UPDATE sandboxes SET node_id = ? WHERE sandbox_id = ? AND node_id = ? AND state = 1"
        return await self._writer.execute(sql, (target, sandbox_id, source)) == 1

    async def discard(self, sandbox_id: SandboxId) -> bool:
        def delete(db: sqlite3.Connection) -> bool:
            if db.execute("DELETE FROM sandboxes WHERE sandbox_id = ? AND state = 1", (sandbox_id,)).rowcount == 0:
                return False
            db.execute("DELETE FROM idempotency WHERE sandbox_id = ?", (sandbox_id,))
            return True

        return await self._writer.run(delete)

    async def get(self, sandbox_id: SandboxId) -> SandboxRecord | None:
        return next(iter(self._read(f"{_SELECT} WHERE sandbox_id = ?", (sandbox_id,))), None)

    async def find_live(self, app_id: AppId, name: str) -> SandboxRecord | None:
        sql = f"{_SELECT} WHERE app_id = ? AND name = ? AND name <> '' AND state <> 4 AND state < 3"
        return next(iter(self._read(sql, (app_id, name))), None)

    async def list_(self, query: SandboxQuery) -> list[SandboxRecord]:
        return self._read(*_list_statement(query))

    async def replace_tags(self, sandbox_id: SandboxId, tags: Mapping[str, str]) -> None:
        def replace(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM sandbox_tags WHERE sandbox_id = ?", (sandbox_id,))
            _insert_tags(db, sandbox_id, tags)

        await self._writer.run(replace)

    async def observe(self, node_id: NodeId, seen: Mapping[SandboxId, Observed]) -> frozenset[SandboxId]:
        if not seen:
            return frozenset()
        return await self._writer.run(lambda db: frozenset(item for item, now in seen.items() if _observe(db, node_id, item, now)))

    async def ask_terminate(self, sandbox_id: SandboxId, at: float) -> None:
        sql = "UPDATE sandboxes SET terminate_asked_at = ? WHERE sandbox_id = ? AND terminate_asked_at = 0 AND state <> 4"
        await self._writer.execute(sql, (at, sandbox_id))

    async def terminating(self, limit: int) -> list[SandboxRecord]:
        sql = f"{_SELECT} WHERE terminate_asked_at > 0 AND state <> 4 ORDER BY terminate_asked_at LIMIT ?"
        return self._read(sql, (limit,))

    async def unstopped_on(self, node_id: NodeId) -> list[SandboxRecord]:
        return self._read(f"{_SELECT} WHERE node_id = ? AND state <> 4", (node_id,))

    async def count_unstopped(self) -> Mapping[NodeId, int]:
        return dict(self._reader.execute("SELECT node_id, count(*) FROM sandboxes WHERE state <> 4 GROUP BY node_id"))

    async def purge(self, ended_before: float, limit: int) -> int:
        def delete(db: sqlite3.Connection) -> int:
            sql = "SELECT sandbox_id FROM sandboxes WHERE state = 4 AND ended_at < ? ORDER BY ended_at LIMIT ?"
            ids = db.execute(sql, (ended_before, limit)).fetchall()
            db.executemany("DELETE FROM idempotency WHERE sandbox_id = ?", ids)
            db.executemany("DELETE FROM sandboxes WHERE sandbox_id = ?", ids)
            return len(ids)

        return await self._writer.run(delete)

    def _read(self, sql: str, values: Sequence[object]) -> list[SandboxRecord]:
        """Two statements, but no write can fall between them: reads and the wake-ups after writes share the loop's thread,
        and a tag set that is newer than its sandbox's row is no harm."""
        rows = self._reader.execute(sql, values).fetchall()
        tags = _read_tags(self._reader, [row[0] for row in rows])
        return [_record(row, tags.get(row[0], {})) for row in rows]


def _reserve(db: sqlite3.Connection, sandbox: SandboxRecord, claim: Claim) -> Claim:
    values = (claim.workspace, claim.key, claim.request_hash, claim.sandbox_id, claim.created_at)
    cursor = db.execute("INSERT INTO idempotency VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", values)
    if cursor.rowcount == 0:
        earlier = find_claim(db, claim.workspace, claim.key)
        assert earlier is not None  # it is why nothing was inserted
        return earlier
    if db.execute("SELECT 1 FROM sandboxes WHERE sandbox_id = ?", (sandbox.sandbox_id,)).fetchone() is not None:
        raise SandboxIdTaken(f"There is a sandbox {sandbox.sandbox_id}.", remedy="Choose a fresh id.")
    if _name_is_taken(db, sandbox):
        raise AlreadyExistsError(
            f"The App already has a sandbox named {sandbox.name!r}.",
            remedy="Choose another name, or wait until that sandbox has completely stopped.",
        )
    if sandbox.snapshot_id and not _snapshot_is_there(db, sandbox.snapshot_id):
        raise NotFoundError("The snapshot was deleted.", remedy="`cove snapshot list` shows what there is.")
    db.execute(f"INSERT INTO sandboxes ({_COLUMNS}) VALUES ({', '.join('?' * 20)})", _values(sandbox))
    _insert_tags(db, sandbox.sandbox_id, sandbox.tags)
    return claim


def _name_is_taken(db: sqlite3.Connection, sandbox: SandboxRecord) -> bool:
    """The unique index would say so too, but not which of its indexes was hurt."""
    sql = "SELECT 1 FROM sandboxes WHERE app_id = ? AND name = ? AND name <> '' AND state <> 4"
    return db.execute(sql, (sandbox.app_id, sandbox.name)).fetchone() is not None


def _snapshot_is_there(db: sqlite3.Connection, snapshot_id: str) -> bool:
    """In the transaction that makes the sandbox: from then on the snapshot's memory is kept until the sandbox has stopped."""
    return db.execute("SELECT 1 FROM snapshots WHERE snapshot_id = ? AND deleted_at = 0", (snapshot_id,)).fetchone() is not None


def _observe(db: sqlite3.Connection, node_id: NodeId, sandbox_id: SandboxId, seen: Observed) -> bool:
    values = _observed_values(seen)
    marks = f"({', '.join('?' * len(values))})"
    sql = f"""UPDATE sandboxes SET {_OBSERVED} = {marks}
              WHERE sandbox_id = ? AND node_id = ? AND state <> 4 AND state <= ? AND {_OBSERVED} <> {marks}"""
    return db.execute(sql, (*values, sandbox_id, node_id, int(seen.state), *values)).rowcount == 1


def _list_statement(query: SandboxQuery) -> tuple[str, list[object]]:
    conditions = ["workspace = ?", "environment = ?"]
    values: list[object] = [query.workspace, query.environment]
    if query.app_id is not None:
        conditions.append("app_id = ?")
        values.append(query.app_id)
    if not query.include_stopped:
        conditions.append("state < 3")
    if query.after is not None:
        conditions.append("(created_at, sandbox_id) < (?, ?)")
        values += query.after
    for pair in query.tags.items():
        conditions.append("EXISTS (SELECT 1 FROM sandbox_tags t WHERE t.sandbox_id = sandboxes.sandbox_id AND t.key = ? AND t.value = ?)")
        values += pair
    values.append(query.limit)
    return f"{_SELECT} WHERE {' AND '.join(conditions)} ORDER BY created_at DESC, sandbox_id DESC LIMIT ?", values


def _insert_tags(db: sqlite3.Connection, sandbox_id: SandboxId, tags: Mapping[str, str]) -> None:
    if tags:
        db.executemany("INSERT INTO sandbox_tags VALUES (?, ?, ?)", [(sandbox_id, key, value) for key, value in tags.items()])


def _read_tags(db: sqlite3.Connection, sandbox_ids: Sequence[SandboxId]) -> dict[SandboxId, dict[str, str]]:
    found: dict[SandboxId, dict[str, str]] = {}
    for part in _parts(sandbox_ids, 500):
        marks = ", ".join("?" * len(part))
        for sandbox_id, key, value in db.execute(f"SELECT * FROM sandbox_tags WHERE sandbox_id IN ({marks})", part):
            found.setdefault(sandbox_id, {})[key] = value
    return found


def _parts(items: Sequence[SandboxId], size: int) -> Iterable[Sequence[SandboxId]]:
    """SQLite takes a limited number of variables in a statement."""
    return (items[start : start + size] for start in range(0, len(items), size))


def _values(sandbox: SandboxRecord) -> tuple[object, ...]:
    """All of ``_COLUMNS``."""
    return (
        *(sandbox.sandbox_id, sandbox.task_id, sandbox.workspace, sandbox.environment, sandbox.app_id, sandbox.name),
        *(sandbox.created_at, sandbox.node_id, sandbox.image, sandbox.snapshot_id, sandbox.terminate_asked_at),
        *_observed_values(sandbox.observed),
    )


def _observed_values(seen: Observed) -> tuple[object, ...]:
    """All of ``_OBSERVED``."""
    ending = (seen.reason or "", seen.exit_code, seen.message, seen.ended_at, seen.paused_at)
    return (int(seen.state), seen.started_at, seen.expires_at, seen.idle_since, *ending)


def _record(row: tuple[Any, ...], tags: Mapping[str, str]) -> SandboxRecord:
    sandbox_id, task_id, workspace, environment, app_id, name, created_at, node_id, image, *rest = row
    snapshot_id, terminate_asked_at, *observed = rest
    state, started_at, expires_at, idle_since, reason, exit_code, message, ended_at, paused_at = observed
    return SandboxRecord(
        sandbox_id=sandbox_id,
        task_id=task_id,
        workspace=workspace,
        environment=environment,
        app_id=app_id,
        name=name,
        created_at=created_at,
        node_id=node_id,
        image=image,
        snapshot_id=snapshot_id,
        terminate_asked_at=terminate_asked_at,
        observed=Observed(
            state=SandboxState(state),
            started_at=started_at,
            expires_at=expires_at,
            idle_since=idle_since,
            reason=EndReason(reason) if reason else None,
            exit_code=exit_code,
            message=message,
            ended_at=ended_at,
            paused_at=paused_at,
        ),
        tags=tags,
    )
