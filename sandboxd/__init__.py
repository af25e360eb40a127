"""The node daemon: one actor per sandbox, and every kernel facility a sandbox needs."""
