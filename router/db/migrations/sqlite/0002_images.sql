-- An image is a base (what every node makes itself; '' = none) and layers over it. A layer is on the node that made it, and in the store
-- once it has a digest.

CREATE TABLE layers (
    layer_id TEXT PRIMARY KEY,
    source TEXT NOT NULL,     -- build, snapshot or registry
    node_id TEXT NOT NULL,    -- where it was made; '' = came from a registry
    digest TEXT NOT NULL DEFAULT '',
    diff_id TEXT NOT NULL DEFAULT '',
    size_bytes INTEGER NOT NULL DEFAULT 0,
    created_at REAL NOT NULL
) WITHOUT ROWID;

CREATE INDEX layers_unstored ON layers (created_at) WHERE digest = '';

CREATE TABLE images (
    image_id TEXT PRIMARY KEY,
    workspace TEXT NOT NULL,
    source TEXT NOT NULL,     -- build, snapshot or registry
    description TEXT NOT NULL,
    parent_image_id TEXT NOT NULL,  -- '' = none
    sandbox_id TEXT NOT NULL,       -- '' = not of a snapshot
    base TEXT NOT NULL,
    config BLOB NOT NULL,     -- cove.v1.ImageConfig
    created_at REAL NOT NULL
);

CREATE INDEX images_by_workspace ON images (workspace, created_at DESC, image_id DESC);

CREATE TABLE image_layers (
    image_id TEXT NOT NULL REFERENCES images (image_id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    layer_id TEXT NOT NULL REFERENCES layers (layer_id),
    PRIMARY KEY (image_id, position)
) WITHOUT ROWID;

CREATE INDEX image_layers_by_layer ON image_layers (layer_id);

-- What was built from which definition, or taken at which request.
CREATE TABLE image_keys (
    workspace TEXT NOT NULL,
    key BLOB NOT NULL,
    image_id TEXT NOT NULL REFERENCES images (image_id) ON DELETE CASCADE,
    created_at REAL NOT NULL,
    PRIMARY KEY (workspace, key)
) WITHOUT ROWID;

CREATE INDEX image_keys_by_image ON image_keys (image_id);

ALTER TABLE sandboxes ADD COLUMN image TEXT NOT NULL DEFAULT '';  -- image id, debian:VERSION or rootfs:PATH
CREATE INDEX sandboxes_by_image ON sandboxes (image) WHERE state <> 4;
