-- Terminals for web browsers. One-time tokens and cookies are kept as hashes only.
CREATE TABLE terminals (
    terminal_id TEXT PRIMARY KEY,
    sandbox_id TEXT NOT NULL,
    token_id TEXT NOT NULL,
    exec_id TEXT NOT NULL,
    request BLOB NOT NULL,        -- cove.v1.TerminalCreateRequest
    ticket_hash BLOB NOT NULL,    -- x'' = used
    ticket_expires_at REAL NOT NULL,
    created_at REAL NOT NULL,
    expires_at REAL NOT NULL,
    session_hash BLOB NOT NULL,   -- x'' = not opened yet
    used_at REAL NOT NULL,
    started_at REAL NOT NULL      -- 0 = not yet
) WITHOUT ROWID;

CREATE INDEX terminals_by_sandbox ON terminals (sandbox_id);
