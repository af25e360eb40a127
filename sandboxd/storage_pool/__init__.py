"""Where sandboxes' writable files live: one btrfs file system a node, one subvolume with an exact limit a sandbox."""

from sandboxd.storage_pool.pool import StoragePool, Upper

__all__ = ["StoragePool", "Upper"]
