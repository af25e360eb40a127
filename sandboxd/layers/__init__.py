"""Layers of images on this node: made from sandboxes' changes, fetched from the store, brought to it."""

from sandboxd.layers.blobs import BlobClient
from sandboxd.layers.cache import LayerCache, check_layer_id

__all__ = ["BlobClient", "LayerCache", "check_layer_id"]
