"""Content-addressed store of layers, images, checkpoints and volumes."""
