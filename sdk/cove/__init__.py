"""cove: secure sandboxes on machines you own."""
