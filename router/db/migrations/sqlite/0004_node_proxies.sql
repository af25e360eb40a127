-- Proxies that a node has for its sandboxes; names separated by commas.
ALTER TABLE nodes ADD COLUMN proxies TEXT NOT NULL DEFAULT '';
