"""The second schema on a database of the first, with sandboxes in it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from cove.types import ImageId, SandboxId
from router.db.migrate import migrate, read_migrations
from router.db.records import ImageRecord
from router.db.sqlite.database import open_sqlite

OLD = """
    INSERT INTO apps VALUES ('ap-1', 'ws', 'env', 'app', 1.0);
    INSERT INTO sandboxes (sandbox_id, task_id, workspace, environment, app_id, name, created_at, node_id, state, reason) VALUES
        ('sb-1', 'ta-1', 'ws', 'env', 'ap-1', 'n', 2.0, 'a', 2, ''),
        ('sb-2', 'ta-2', 'ws', 'env', 'ap-1', '', 3.0, 'a', 4, 'timeout');
    INSERT INTO sandbox_tags VALUES ('sb-1', 'k', 'v');
    INSERT INTO idempotency VALUES ('ws', 'key', x'00ff', 'sb-1', 2.0);
"""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A database as the first release left it."""
    connection = sqlite3.connect(tmp_path / "router.db", isolation_level=None)
    assert migrate(connection, read_migrations()[:1]) == 1
    connection.executescript(OLD)
    connection.close()
    return tmp_path / "router.db"


async def test_sandboxes_are_kept_and_images_can_be_added(old: Path) -> None:
    for _ in range(2):  # the second opening finds nothing to do
        async with open_sqlite(old) as db:
            kept, ended = await db.sandboxes.get(SandboxId("sb-1")), await db.sandboxes.get(SandboxId("sb-2"))
            assert kept is not None and ended is not None
            assert (kept.name, kept.tags, kept.image, ended.is_stopped, ended.image) == ("n", {"k": "v"}, "", True, "")
            claim = await db.idempotency.get("ws", "key")
            assert claim is not None and claim.sandbox_id == "sb-1"
            assert await db.images.used_by("") == 1  # started before images were recorded: they hold none
            image = ImageRecord(image_id=ImageId("im-1"), workspace="ws", source="build", description="", created_at=1.0)
            assert await db.images.add(image, b"k") == image


async def test_a_migration_that_was_cut_short_is_done_again(old: Path) -> None:
    connection = sqlite3.connect(old, isolation_level=None)
    broken = read_migrations()[1]._replace(sql=read_migrations()[1].sql + "\nINSERT INTO nothing VALUES (1);")
    with pytest.raises(sqlite3.OperationalError):
        migrate(connection, [read_migrations()[0], broken])
    assert not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'images'").fetchone()
    connection.close()
    async with open_sqlite(old) as db:
        assert await db.sandboxes.get(SandboxId("sb-1")) is not None
