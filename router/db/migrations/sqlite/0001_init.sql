-- Times are Unix seconds, 0 where something has not happened. Every object has a workspace from the start, so that
-- no later migration has to guess one.

CREATE TABLE tokens (
    token_id TEXT PRIMARY KEY,
    workspace TEXT NOT NULL,
    name TEXT NOT NULL,
    secret_hash BLOB NOT NULL,
    created_at REAL NOT NULL,
    last_used_at REAL NOT NULL DEFAULT 0,
    revoked_at REAL NOT NULL DEFAULT 0
) WITHOUT ROWID;

CREATE TABLE apps (
    app_id TEXT PRIMARY KEY,
    workspace TEXT NOT NULL,
    environment TEXT NOT NULL,
    name TEXT NOT NULL,
    created_at REAL NOT NULL,
    UNIQUE (workspace, environment, name)
) WITHOUT ROWID;

CREATE TABLE nodes (
    node_id TEXT PRIMARY KEY,
    grpc_address TEXT NOT NULL,
    http_url TEXT NOT NULL,
    cpu_millis INTEGER NOT NULL,
    memory_bytes INTEGER NOT NULL,
    version TEXT NOT NULL,
    runsc_version TEXT NOT NULL,
    debian_pythons TEXT NOT NULL,  -- separated by commas
    session_hash BLOB NOT NULL,
    registered_at REAL NOT NULL,
    last_seen_at REAL NOT NULL,
    reserved_cpu_millis INTEGER NOT NULL DEFAULT 0,
    reserved_memory_bytes INTEGER NOT NULL DEFAULT 0,
    draining INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

CREATE TABLE sandboxes (
    sandbox_id TEXT PRIMARY KEY,
    task_id TEXT NOT NULL UNIQUE,
    workspace TEXT NOT NULL,
    environment TEXT NOT NULL,
    app_id TEXT NOT NULL REFERENCES apps (app_id),
    name TEXT NOT NULL,  -- '' = unnamed
    created_at REAL NOT NULL,
    node_id TEXT NOT NULL,
    terminate_asked_at REAL NOT NULL DEFAULT 0,
    state INTEGER NOT NULL CHECK (state BETWEEN 1 AND 4),
    started_at REAL NOT NULL DEFAULT 0,
    expires_at REAL NOT NULL DEFAULT 0,
    idle_since REAL NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT '',
    exit_code INTEGER NOT NULL DEFAULT 0,
    message TEXT NOT NULL DEFAULT '',
    ended_at REAL NOT NULL DEFAULT 0
);

-- A name is taken until its holder has completely stopped.
CREATE UNIQUE INDEX sandboxes_name ON sandboxes (app_id, name) WHERE name <> '' AND state <> 4;
CREATE INDEX sandboxes_by_environment ON sandboxes (workspace, environment, created_at DESC, sandbox_id DESC);
CREATE INDEX sandboxes_by_app ON sandboxes (app_id, created_at DESC, sandbox_id DESC);
CREATE INDEX sandboxes_unstopped ON sandboxes (node_id) WHERE state <> 4;
CREATE INDEX sandboxes_terminating ON sandboxes (terminate_asked_at) WHERE terminate_asked_at > 0 AND state <> 4;
CREATE INDEX sandboxes_ended ON sandboxes (ended_at) WHERE state = 4;

CREATE TABLE sandbox_tags (
    sandbox_id TEXT NOT NULL REFERENCES sandboxes (sandbox_id) ON DELETE CASCADE,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (sandbox_id, key)
) WITHOUT ROWID;

CREATE INDEX sandbox_tags_by_value ON sandbox_tags (key, value, sandbox_id);

CREATE TABLE idempotency (
    workspace TEXT NOT NULL,
    key TEXT NOT NULL,
    request_hash BLOB NOT NULL,
    sandbox_id TEXT NOT NULL,
    created_at REAL NOT NULL,
    PRIMARY KEY (workspace, key)
) WITHOUT ROWID;

CREATE INDEX idempotency_by_sandbox ON idempotency (sandbox_id);
CREATE INDEX idempotency_by_age ON idempotency (created_at);
