"""Memory snapshots: taking, keeping, removing them, and sandboxes that go on from one."""
