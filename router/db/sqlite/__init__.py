"""The database of a single router: one SQLite file, one writer thread."""
