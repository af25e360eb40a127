-- Sandboxes whose memory is on disk.
ALTER TABLE sandboxes ADD COLUMN paused_at REAL NOT NULL DEFAULT 0;
