"""One suite over every database backend: what ``router.db.snapshots`` promises."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cove.exception import NotFoundError
from cove.types import AppId, ImageId, NodeId, SandboxId, SnapshotId
from router.db.protocol import Database
from router.db.records import AppRecord
from router.db.snapshots import SnapshotRecord
from router.db.sqlite.database import open_sqlite
from tests.conformance.test_router_db import RUNNING, add, end, image, layer, sandbox


@pytest.fixture(params=["sqlite"])
async def db(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    async with open_sqlite(tmp_path / "router.db") as opened:
        await opened.apps.ensure(AppRecord(AppId("ap-1"), "ws", "env", "app", 1.0))
        yield opened


def snapshot(number: int, **changes: Any) -> SnapshotRecord:
    fields: dict[str, Any] = {
        "snapshot_id": SnapshotId(f"sn-{number}"),
        "workspace": "ws",
        "sandbox_id": SandboxId("sb-1"),
        "app_id": AppId("ap-1"),
        "image_id": ImageId(f"im-{number}"),
        "node_id": NodeId("a"),
        "taken": b"\0\xff",
        "created_at": float(number),
    }
    return SnapshotRecord(**{**fields, **changes})


async def store(db: Database, number: int, **changes: Any) -> SnapshotRecord:
    made = snapshot(number, **changes)
    assert await db.snapshots.add(made, image(number, layer(number))) == made
    return made


async def listed(db: Database, *, now: float = 0.0, sandbox_id: str = "", **query: Any) -> list[str]:
    found = await db.snapshots.list_("ws", now=now, sandbox_id=sandbox_id, **{"after": None, "limit": 100, **query})
    return [record.snapshot_id for record in found]


async def due(db: Database, limit: int = 100) -> list[str]:
    return [record.snapshot_id for record in await db.snapshots.deleted(limit)]


async def test_a_snapshot_comes_back_as_it_was_stored(db: Database) -> None:
    made = await store(db, 1, parent_snapshot_id="sn-0", digest="sha256:1", size_bytes=2**40, expires_at=9.5, pinned=True)
    assert await db.snapshots.get("sn-1") == made
    assert await db.images.get("im-1") == image(1, layer(1))
    assert await db.snapshots.get("sn-none") is None


async def test_of_fifty_at_once_one_is_stored_and_the_others_leave_nothing(db: Database) -> None:
    made = await asyncio.gather(*(db.snapshots.add(snapshot(1, created_at=float(number)), image(1, layer(number))) for number in range(50)))
    assert len({record.created_at for record in made}) == 1
    assert len(await db.images.unstored_layers(100)) == 1 and not await db.images.unused_layers(100.0, 100)


async def test_only_what_is_there_is_listed(db: Database) -> None:
    for number in range(1, 6):
        await store(db, number, sandbox_id=f"sb-{number % 2}", expires_at=float(10 * (number % 3)), pinned=number == 1)
    assert await listed(db, now=9) == ["sn-5", "sn-4", "sn-3", "sn-2", "sn-1"]
    assert await listed(db, now=10) == ["sn-5", "sn-3", "sn-2", "sn-1"]  # at that very moment sn-4 is gone, and sn-1 is pinned
    assert await listed(db, now=10, sandbox_id="sb-0") == ["sn-2"]
    await db.snapshots.delete(SnapshotId("sn-5"), 1.0)
    assert await listed(db, limit=2) == ["sn-4", "sn-3"]
    assert await listed(db, after=(3.0, "sn-3")) == ["sn-2", "sn-1"]
    assert not await db.snapshots.list_("other", now=0, sandbox_id="", after=None, limit=100)


@pytest.mark.parametrize(("now", "there"), [(9.9, True), (10.0, False), (10.1, False)])
async def test_list_and_record_agree_on_what_is_there(db: Database, now: float, there: bool) -> None:
    made = await store(db, 1, expires_at=10.0)
    assert (await listed(db, now=now) == ["sn-1"]) == made.is_there(now) == there
    assert await db.snapshots.pin(made.snapshot_id, pinned=True, expires_at=10.0, now=now) == there


async def test_pinned_ones_neither_expire_nor_are_deleted(db: Database) -> None:
    made = await store(db, 1, expires_at=10.0)
    assert await db.snapshots.pin(made.snapshot_id, pinned=True, expires_at=5.0, now=1)
    assert not await db.snapshots.expire(99.0, 10) and not await db.snapshots.delete(made.snapshot_id, 99.0)
    assert await db.snapshots.pin(made.snapshot_id, pinned=False, expires_at=200.0, now=99)
    assert not await db.snapshots.expire(199.0, 10) and await db.snapshots.expire(200.0, 10) == ["sn-1"]
    assert not await db.snapshots.pin(made.snapshot_id, pinned=True, expires_at=0, now=1)
    assert not await db.snapshots.delete(made.snapshot_id, 300.0)
    found = await db.snapshots.get("sn-1")
    assert found is not None and found.deleted_at == 200.0


async def test_expiry_takes_no_more_than_asked_for_and_none_twice(db: Database) -> None:
    for number in range(5):
        await store(db, number, expires_at=float(10 - number))
    assert sorted(await db.snapshots.expire(50.0, 3)) == ["sn-2", "sn-3", "sn-4"]
    assert sorted(await db.snapshots.expire(50.0, 3)) == ["sn-0", "sn-1"]
    assert not await db.snapshots.expire(50.0, 3)


async def test_what_is_left_of_a_deleted_one_waits_for_its_users(db: Database) -> None:
    made = await store(db, 1, digest="sha256:1")
    restored = await add(db, sandbox(1, image="im-1", snapshot_id="sn-1"))
    on_files = await add(db, sandbox(2, image="im-1"))
    assert not await db.images.delete("im-1") and await db.snapshots.of_image("im-1") == "sn-1"
    assert not await due(db) and await db.snapshots.has_memory("sn-1")
    assert await db.snapshots.delete(made.snapshot_id, 5.0) and not await db.snapshots.delete(made.snapshot_id, 6.0)
    assert await db.snapshots.of_image("im-1") is None
    assert not await due(db) and await db.snapshots.digests() == {"sha256:1"}
    await end(db, restored, RUNNING)
    assert not await due(db)
    await end(db, restored)
    assert await due(db) == ["sn-1"] and not await db.snapshots.digests()
    await db.snapshots.memory_removed(made.snapshot_id)
    assert not await due(db) and not await db.snapshots.has_memory("sn-1")
    assert not await db.snapshots.forget(made.snapshot_id)
    await end(db, on_files)
    assert await due(db) == ["sn-1"] and await db.snapshots.forget(made.snapshot_id)
    assert await db.snapshots.get("sn-1") is None and await db.images.get("im-1") is None
    assert [found.layer_id for found in await db.images.unused_layers(100.0, 10)] == ["ly-1"]
    assert not await db.snapshots.forget(made.snapshot_id)


async def test_what_is_there_is_not_forgotten(db: Database) -> None:
    made = await store(db, 1)
    await db.snapshots.memory_removed(made.snapshot_id)
    assert not await db.snapshots.forget(made.snapshot_id) and await db.snapshots.get("sn-1") == made


async def test_deleted_ones_come_longest_deleted_first_and_no_more_than_asked_for(db: Database) -> None:
    for number in range(4):
        await db.snapshots.delete((await store(db, number)).snapshot_id, float(10 - number))
    assert await due(db, 3) == ["sn-3", "sn-2", "sn-1"]


async def test_nothing_is_restored_from_what_was_deleted(db: Database) -> None:
    made = await store(db, 1)
    kept = await add(db, sandbox(1, image="im-1", snapshot_id="sn-1"))
    assert (await db.sandboxes.get(kept.sandbox_id)) == kept
    await db.snapshots.delete(made.snapshot_id, 5.0)
    for gone in ("sn-1", "sn-none"):
        with pytest.raises(NotFoundError):
            await add(db, sandbox(2, image="im-1", snapshot_id=gone))
    assert await db.sandboxes.get(sandbox(2).sandbox_id) is None
    assert await db.idempotency.get("ws", sandbox(2).sandbox_id) is None


async def test_a_restore_and_a_delete_at_once_leave_memory_to_what_was_restored(db: Database) -> None:
    for number in range(1, 30):
        made = await store(db, number)
        record = sandbox(number, image=made.image_id, snapshot_id=made.snapshot_id)
        outcome, _ = await asyncio.gather(add(db, record), db.snapshots.delete(made.snapshot_id, 5.0), return_exceptions=True)
        assert isinstance(outcome, NotFoundError) == (made.snapshot_id in await due(db))


async def test_what_is_not_stored_comes_oldest_first_if_it_is_worth_it(db: Database) -> None:
    await store(db, 3)
    await store(db, 1, expires_at=50.0)
    await store(db, 2, expires_at=50.0, pinned=True)
    await store(db, 4, digest="sha256:4")
    gone = await store(db, 5)
    await db.snapshots.delete(gone.snapshot_id, 1.0)
    assert [found.snapshot_id for found in await db.snapshots.unstored(50.0, 10)] == ["sn-2", "sn-3"]
    assert [found.snapshot_id for found in await db.snapshots.unstored(49.0, 2)] == ["sn-1", "sn-2"]
    await db.snapshots.stored(SnapshotId("sn-2"), digest="sha256:2", diff_id="sha256:d", size_bytes=7)
    found = await db.snapshots.get("sn-2")
    assert found is not None and (found.digest, found.diff_id, found.size_bytes) == ("sha256:2", "sha256:d", 7)
    assert await db.snapshots.digests() == {"sha256:2", "sha256:4"}
