"""Layers as files and as archives.

A *layer directory* is an overlayfs upper: plain files, whiteouts as character device 0:0, opaque directories by the attribute
``trusted.overlay.opaque``. A *layer archive* is an OCI image layer: tar with ``.wh.`` names, compressed. ``archives`` is what daemons call;
``pack`` and ``unpack`` are programs that it starts; ``flatten`` and ``diff`` work on directories.
"""
