"""What a sandbox may do, as data and pure functions. No I/O."""
