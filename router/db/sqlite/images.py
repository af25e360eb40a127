"""Images and layers in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, Final

from cove.types import ImageId, NodeId
from router.db.records import ImageRecord, LayerRecord
from router.db.sqlite.writer import Writer

_IMAGE: Final = "image_id, workspace, source, description, parent_image_id, sandbox_id, base, config, created_at"
_LAYER: Final = "layer_id, source, node_id, digest, diff_id, size_bytes, created_at"


class SqliteImages:
    """``router.db.protocol.ImageStore``."""

    def __init__(self, reader: sqlite3.Connection, writer: Writer) -> None:
        self._reader, self._writer = reader, writer

    async def add(self, image: ImageRecord, key: bytes = b"", *, replace: bool = False) -> ImageRecord:
        return await self._writer.run(lambda db: _add(db, image, key, replace=replace))

    async def get(self, image_id: str) -> ImageRecord | None:
        return next(_read(self._reader, "WHERE image_id = ?", (image_id,)), None)

    async def find(self, workspace: str, key: bytes) -> ImageRecord | None:
        return _find(self._reader, workspace, key)

    async def list_(self, workspace: str, *, after: tuple[float, str] | None, limit: int) -> list[ImageRecord]:
        earlier = " AND (created_at, image_id) < (?, ?)" if after else ""
        condition = f"WHERE workspace = ?{earlier} ORDER BY created_at DESC, image_id DESC LIMIT ?"
        return list(_read(self._reader, condition, (workspace, *(after or ()), limit)))

    async def keyless(self, workspace: str, created_before: float) -> list[ImageRecord]:
        condition = """WHERE workspace = ? AND created_at < ?
                       AND NOT EXISTS (SELECT 1 FROM image_keys k WHERE k.image_id = images.image_id) ORDER BY created_at LIMIT 5000"""
        return list(_read(self._reader, condition, (workspace, created_before)))

    async def delete(self, image_id: str) -> bool:
        sql = """DELETE FROM images WHERE image_id = ?
                 AND NOT EXISTS (SELECT 1 FROM sandboxes WHERE image = images.image_id AND state <> 4)
                 AND NOT EXISTS (SELECT 1 FROM snapshots s WHERE s.image_id = images.image_id)"""
        return await self._writer.execute(sql, (image_id,)) == 1

    async def drop_keys(self, workspace: str, keys: Sequence[bytes]) -> None:
        values = [(workspace, key) for key in keys]
        await self._writer.run(lambda db: db.executemany("DELETE FROM image_keys WHERE workspace = ? AND key = ?", values))

    async def layer_stored(self, layer_id: str, *, digest: str, diff_id: str, size_bytes: int) -> None:
        sql = "UPDATE layers SET digest = ?, diff_id = ?, size_bytes = ? WHERE layer_id = ?"
        await self._writer.execute(sql, (digest, diff_id, size_bytes, layer_id))

    async def unstored_layers(self, limit: int) -> list[LayerRecord]:
        sql = f"""SELECT {_LAYER} FROM layers WHERE digest = ''
                  AND EXISTS (SELECT 1 FROM image_layers i WHERE i.layer_id = layers.layer_id) ORDER BY created_at LIMIT ?"""
        return [_layer(row) for row in self._reader.execute(sql, (limit,))]

    async def has_layer(self, layer_id: str) -> bool:
        return self._reader.execute("SELECT 1 FROM layers WHERE layer_id = ?", (layer_id,)).fetchone() is not None

    async def unused_layers(self, created_before: float, limit: int) -> list[LayerRecord]:
        sql = f"""SELECT {_LAYER} FROM layers WHERE created_at < ?
                  AND NOT EXISTS (SELECT 1 FROM image_layers i WHERE i.layer_id = layers.layer_id) ORDER BY created_at LIMIT ?"""
        return [_layer(row) for row in self._reader.execute(sql, (created_before, limit))]

    async def forget_layer(self, layer_id: str) -> bool:
        sql = """DELETE FROM layers WHERE layer_id = ?
                 AND NOT EXISTS (SELECT 1 FROM image_layers i WHERE i.layer_id = layers.layer_id)"""
        return await self._writer.execute(sql, (layer_id,)) == 1

    async def digests(self) -> set[str]:
        return {row[0] for row in self._reader.execute("SELECT DISTINCT digest FROM layers WHERE digest <> ''")}

    async def used_by(self, image_id: str) -> int:
        count: int = self._reader.execute("SELECT count(*) FROM sandboxes WHERE image = ? AND state <> 4", (image_id,)).fetchone()[0]
        return count


def _add(db: sqlite3.Connection, image: ImageRecord, key: bytes, *, replace: bool) -> ImageRecord:
    if key and not replace and (known := _find(db, image.workspace, key)):
        return known
    add_image(db, image)
    if key:
        db.execute("INSERT OR REPLACE INTO image_keys VALUES (?, ?, ?, ?)", (image.workspace, key, image.image_id, image.created_at))
    return image


def add_image(db: sqlite3.Connection, image: ImageRecord) -> None:
    """Insert an image whose id is new, and those of its layers that are."""
    values = (
        image.image_id,
        image.workspace,
        image.source,
        image.description,
        image.parent_image_id,
        image.sandbox_id,
        image.base,
        image.config,
        image.created_at,
    )
    db.execute(f"INSERT INTO images ({_IMAGE}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
    for position, layer in enumerate(image.layers):
        row = (layer.layer_id, layer.source, layer.node_id, layer.digest, layer.diff_id, layer.size_bytes, layer.created_at)
        db.execute(f"INSERT INTO layers ({_LAYER}) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (layer_id) DO NOTHING", row)
        db.execute("INSERT INTO image_layers VALUES (?, ?, ?)", (image.image_id, position, layer.layer_id))


def _find(db: sqlite3.Connection, workspace: str, key: bytes) -> ImageRecord | None:
    condition = "WHERE image_id = (SELECT image_id FROM image_keys WHERE workspace = ? AND key = ?)"
    return next(_read(db, condition, (workspace, key)), None)


def _read(db: sqlite3.Connection, condition: str, values: Sequence[object]) -> Iterator[ImageRecord]:
    for row in db.execute(f"SELECT {_IMAGE} FROM images {condition}", values).fetchall():
        sql = f"""SELECT {", ".join(f"l.{name}" for name in _LAYER.split(", "))} FROM image_layers i JOIN layers l USING (layer_id)
                  WHERE i.image_id = ? ORDER BY i.position"""
        layers = tuple(_layer(found) for found in db.execute(sql, (row[0],)))
        names = _IMAGE.split(", ")
        yield ImageRecord(**{**dict(zip(names, row, strict=True)), "image_id": ImageId(row[0])}, layers=layers)


def _layer(row: Sequence[Any]) -> LayerRecord:
    layer_id, source, node_id, digest, diff_id, size_bytes, created_at = row
    return LayerRecord(
        layer_id=layer_id,
        source=source,
        node_id=NodeId(node_id),
        digest=digest,
        diff_id=diff_id,
        size_bytes=size_bytes,
        created_at=created_at,
    )
