"""Client for OCI registries: what images are called, how they are described there, pulling and pushing them.

Layers arrive and leave here as opaque, verified blobs; ``snapshots.layers`` knows what is in them.
Source: OCI distribution specification 1.1, OCI image specification 1.1, Docker image manifest version 2, schema 2.
"""
