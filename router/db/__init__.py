"""What the router remembers: one protocol, backends behind it, numbered SQL migrations."""
