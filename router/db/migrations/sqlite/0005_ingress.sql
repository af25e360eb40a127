-- Ways into sandboxes: tunnels to ports, and the HTTP entrance (kind 3) that connect tokens open.

CREATE TABLE entrances (
    name TEXT PRIMARY KEY,
    sandbox_id TEXT NOT NULL REFERENCES sandboxes (sandbox_id) ON DELETE CASCADE,
    port INTEGER NOT NULL,        -- inside
    kind INTEGER NOT NULL,
    created_at REAL NOT NULL,
    plain_port INTEGER NOT NULL DEFAULT 0,  -- outside; 0 = not bound
    tls_port INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

CREATE UNIQUE INDEX entrances_by_port ON entrances (sandbox_id, port, kind = 3);

CREATE TABLE connect_tokens (
    token_id TEXT PRIMARY KEY,
    sandbox_id TEXT NOT NULL REFERENCES sandboxes (sandbox_id) ON DELETE CASCADE,
    user_metadata TEXT NOT NULL,
    created_at REAL NOT NULL,
    expires_at REAL NOT NULL,
    revoked_at REAL NOT NULL DEFAULT 0
) WITHOUT ROWID;

CREATE INDEX connect_tokens_by_sandbox ON connect_tokens (sandbox_id, created_at, token_id);
