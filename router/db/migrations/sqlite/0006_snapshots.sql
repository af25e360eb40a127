-- Memory snapshots. The files are an image like any other; the memory is on the node that took it, and in the store once it has a digest.
-- A deleted one stays as a row until its memory is removed and no sandbox that was restored from it runs.

CREATE TABLE snapshots (
    snapshot_id TEXT PRIMARY KEY,
    workspace TEXT NOT NULL,
    sandbox_id TEXT NOT NULL,          -- whose it is
    parent_snapshot_id TEXT NOT NULL,  -- '' = that sandbox was created afresh
    app_id TEXT NOT NULL,
    image_id TEXT NOT NULL UNIQUE REFERENCES images (image_id),
    node_id TEXT NOT NULL,
    taken BLOB NOT NULL,               -- cove.v1.MemorySnapshotResponse
    digest TEXT NOT NULL DEFAULT '',
    diff_id TEXT NOT NULL DEFAULT '',
    size_bytes INTEGER NOT NULL DEFAULT 0,
    created_at REAL NOT NULL,
    expires_at REAL NOT NULL DEFAULT 0,
    pinned INTEGER NOT NULL DEFAULT 0,
    deleted_at REAL NOT NULL DEFAULT 0,
    memory_removed INTEGER NOT NULL DEFAULT 0
);

CREATE INDEX snapshots_by_workspace ON snapshots (workspace, created_at DESC, snapshot_id DESC);
CREATE INDEX snapshots_by_sandbox ON snapshots (workspace, sandbox_id, created_at DESC, snapshot_id DESC);
CREATE INDEX snapshots_unstored ON snapshots (created_at) WHERE digest = '' AND deleted_at = 0;
CREATE INDEX snapshots_expiring ON snapshots (expires_at) WHERE expires_at > 0 AND pinned = 0 AND deleted_at = 0;
CREATE INDEX snapshots_deleted ON snapshots (deleted_at) WHERE deleted_at > 0;

ALTER TABLE sandboxes ADD COLUMN snapshot_id TEXT NOT NULL DEFAULT '';  -- what it was restored from
CREATE INDEX sandboxes_restored ON sandboxes (snapshot_id) WHERE snapshot_id <> '' AND state <> 4;
